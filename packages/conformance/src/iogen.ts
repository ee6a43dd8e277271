/** What oracle/iogen.c does: the places that it touches, and what it writes there, so that a test can repeat what a guest did. */

const MASK = (1n << 64n) - 1n;

/** The `count` slots of `slotSize` bytes that `iogen write|discard DEV seed count slotSize 0 length` picks, in order. */
export function* randomSlots(seed: number, count: number, slotSize: number, length: number): Generator<number> {
  const nrSlots = BigInt(Math.floor(length / slotSize));
  const random = splitmix64((BigInt(seed) * 1000003n) & MASK);
  for (let i = 0; i < count; i++) yield Number(random() % nrSlots);
}

/** As iogen.c's next(). */
function splitmix64(state: bigint): () => bigint {
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & MASK;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    return z ^ (z >> 31n);
  };
}

/** The requests of `iogen write DEV seed count size start length`: where each goes, and what it holds. */
export function* written(
  seed: number,
  count: number,
  size: number,
  length: number,
  start = 0,
): Generator<{ readonly offset: number; readonly bytes: Uint8Array }> {
  let index = 0n;
  for (const slot of randomSlots(seed, count, size, length)) {
    const offset = start + slot * size;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    const random = splitmix64(BigInt(seed) ^ (index++ << 20n) ^ BigInt(offset));
    // One random word in eight, as iogen.c's fill().
    for (let at = 0; at < size; at += 64) view.setBigUint64(at, random(), true);
    yield { offset, bytes };
  }
}
