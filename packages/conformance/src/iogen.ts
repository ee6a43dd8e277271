/** The block numbers that oracle/iogen.c touches, so that a test can repeat what a guest did. */

const MASK = (1n << 64n) - 1n;

/** The `count` slots of `slotSize` bytes that `iogen write|discard DEV seed count slotSize 0 length` picks, in order. */
export function* randomSlots(seed: number, count: number, slotSize: number, length: number): Generator<number> {
  const nrSlots = BigInt(Math.floor(length / slotSize));
  let state = (BigInt(seed) * 1000003n) & MASK;
  for (let i = 0; i < count; i++) {
    // splitmix64, as iogen.c's next()
    state = (state + 0x9e3779b97f4a7c15n) & MASK;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    yield Number((z ^ (z >> 31n)) % nrSlots);
  }
}
