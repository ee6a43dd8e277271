/**
 * Buffers for data on its way through, used again and again.
 *
 * A buffer has room in front of its data, so that the header of a reply is written directly before what the device read and both
 * leave as one piece. Sizes are powers of two; free buffers are kept up to a number of bytes, the rest is left to the collector.
 * Views of the usual size are remembered with the buffer: a client that reads 4 KiB a million times makes few of them.
 *
 * A buffer belongs to one request until that request's reply has been handed to the system. What it holds is old data, possibly
 * of another export: only ranges that a device has filled may leave.
 */

/** Room for the largest header: extended reply (32) and the offset of a data chunk (8). */
export const HEADROOM = 64;
const SMALLEST = 4096;
const LARGEST_KEPT = 2 ** 20;

export class PoolBuffer {
  readonly bytes: Buffer;
  #data: Buffer | undefined;
  #wire: Buffer | undefined;
  #wireStart = 0;

  constructor(readonly capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(HEADROOM + capacity);
  }

  /** The first `length` bytes of the data. */
  data(length: number): Buffer {
    if (this.#data?.length !== length) this.#data = this.bytes.subarray(HEADROOM, HEADROOM + length);
    return this.#data;
  }

  /** The bytes from `start` to `end`, positions in {@link bytes}. */
  wire(start: number, end: number): Buffer {
    if (this.#wire?.length !== end - start || this.#wireStart !== start) {
      this.#wire = this.bytes.subarray(start, end);
      this.#wireStart = start;
    }
    return this.#wire;
  }
}

export class BufferPool {
  readonly #free: PoolBuffer[][] = [];
  #freeBytes = 0;
  constructor(private readonly keepBytes: number) {}

  /** A buffer with room for `length` bytes of data, whose content is anything. */
  take(length: number): PoolBuffer {
    if (length > LARGEST_KEPT) return new PoolBuffer(length);
    const sizeClass = classOf(length);
    const buffer = this.#free[sizeClass]?.pop();
    if (buffer === undefined) return new PoolBuffer(SMALLEST * 2 ** sizeClass);
    this.#freeBytes -= buffer.capacity;
    return buffer;
  }

  give(buffer: PoolBuffer): void {
    if (buffer.capacity > LARGEST_KEPT || this.#freeBytes + buffer.capacity > this.keepBytes) return;
    const sizeClass = classOf(buffer.capacity);
    this.#free[sizeClass] ??= [];
    this.#free[sizeClass].push(buffer);
    this.#freeBytes += buffer.capacity;
  }
}

/** 0 for up to 4096 bytes, 1 for up to 8192… */
const classOf = (length: number): number => (length <= SMALLEST ? 0 : 32 - Math.clz32((length - 1) >>> 12));
