/**
 * Memory for the stable copies of what is being written, bounded: who finds none waits for the next that is given back, in order.
 *
 * Every leg is written from one copy, and the caller's bytes are read once: whoever changes them while the write is under way changes
 * what is written, perhaps, but on all legs alike. A kernel of 2008 wrote each leg from the page of the application; legs differed
 * silently wherever somebody wrote to a page that was on its way (docs/format/mirror-log.md, section 12 (c)).
 *
 * Sizes are powers of two, and buffers are kept by size, so that a stream of equal writes allocates nothing.
 */

/** Bytes of the smallest buffer. */
const SMALLEST = 4096;

export class CopyBuffers {
  readonly #most: number;
  #nrBytes = 0;
  readonly #free = new Map<number, Uint8Array[]>();
  #nrBytesFree = 0;
  readonly #waiting: { readonly size: number; readonly give: (buffer: Uint8Array) => void }[] = [];

  /** @param most bytes in use at once, at least those of the largest buffer that is asked for */
  constructor(most: number) {
    this.#most = most;
  }

  /** Bytes that are in use. */
  get nrBytesInUse(): number {
    return this.#nrBytes;
  }

  /** A buffer of at least `length` bytes, if there is one now and nobody waits. */
  tryTake(length: number): Uint8Array | undefined {
    const size = sizeFor(length);
    if (this.#waiting.length > 0 || this.#nrBytes + size > this.#most) return undefined;
    return this.#take(size);
  }

  take(length: number): Promise<Uint8Array> {
    const buffer = this.tryTake(length);
    if (buffer !== undefined) return Promise.resolve(buffer);
    return new Promise((give) => {
      this.#waiting.push({ size: sizeFor(length), give });
    });
  }

  /** The copy, in `buffer`. */
  copy(from: Uint8Array, buffer: Uint8Array): Uint8Array {
    const copied = buffer.subarray(0, from.byteLength);
    copied.set(from);
    return copied;
  }

  giveBack(buffer: Uint8Array): void {
    const size = buffer.byteLength;
    this.#nrBytes -= size;
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [buffer]);
    else free.push(buffer);
    this.#nrBytesFree += size;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#nrBytes + next.size > this.#most) return;
      this.#waiting.shift();
      next.give(this.#take(next.size));
    }
  }

  #take(size: number): Uint8Array {
    this.#nrBytes += size;
    const kept = this.#free.get(size)?.pop();
    if (kept !== undefined) {
      this.#nrBytesFree -= size;
      return kept;
    }
    if (this.#nrBytes + this.#nrBytesFree > this.#most) this.#free.clear(); // of other sizes
    if (this.#free.size === 0) this.#nrBytesFree = 0;
    return new Uint8Array(size);
  }
}

function sizeFor(length: number): number {
  let size = SMALLEST;
  while (size < length) size *= 2;
  return size;
}
