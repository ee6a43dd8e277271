/**
 * Where data lives: a range of bytes, read and written asynchronously in whole sectors of 512 bytes.
 *
 * Files, memory and an NBD export implement it, and so does every engine: a thin volume *is* a `DataDevice`. So targets
 * stack, as under device-mapper, and whatever serves one of them serves all.
 *
 * Contract, kept by every implementation and tested by one suite (`dataDeviceConformance` of `@pdata/testing`):
 *   1. What a `write` that has resolved put down, every `read` that begins later returns.
 *   2. A `flush` that has resolved made durable what had resolved before it was called; `fua` makes one request durable.
 *   3. Requests in flight at once may be done in any order; where two of them overlap, each sector is one of theirs, whole.
 *   4. `from` must not change, and `into` must not be read, until the promise settles; neither is kept after it.
 *   5. A range that is not whole sectors or leaves the device is a `RangeError`; a length of 0 is fine, and does nothing.
 *   6. What the medium refuses is a `DeviceError` with the system's error as its `cause`; a write to a device that is
 *      read-only is a `ReadOnlyError` (a `flush` of one resolves: there is nothing to make durable); after `close` everything is a
 *      `ClosedError`. All of it as rejections, never thrown.
 *   7. A failed flush is not made good by a later one: each later flush fails too, until the device is opened anew.
 *   8. `close` waits for what is in flight. It does not flush.
 */

/** Bytes in a sector: the unit of every offset and length, and of the kernel's tables. */
export const SECTOR_SIZE = 512;

export interface DataDevice {
  /** Name for messages: a path, or something like "memory". */
  readonly name: string;
  /** Bytes, a multiple of {@link SECTOR_SIZE}. May grow while the device is open. */
  readonly size: number;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  /** Fills `into` from byte `offset` on. */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** Writes `from` from byte `offset` on. */
  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void>;
  /** Afterwards the range reads as zeros. Gives its space back where it can, unless `keepAllocated`. */
  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void>;
  /**
   * The content of the range is not needed any more. A hint: all, a part or nothing of it may be given back; what was reads as
   * zeros or as it was, until it is written again.
   */
  discard(offset: number, length: number, options?: WriteOptions): Promise<void>;
  /** Resolves when everything whose promise has resolved so far would survive a loss of power. */
  flush(): Promise<void>;
  /**
   * What lies at `offset`, as extents in order without gaps, the first at `offset`, none empty, neighbours different. It may end
   * before `offset + length`, so that an answer has a bound, but not at `offset` (unless `length` is 0); it never goes beyond.
   * Who does not know says `data`.
   */
  allocation(offset: number, length: number): Promise<AllocationExtent[]>;
  close(): Promise<void>;
}

export interface WriteOptions {
  /** Force unit access: resolve only when this request is durable, and what is needed to read it back. */
  readonly fua?: boolean;
}

export interface WriteZeroesOptions extends WriteOptions {
  /** Keep space for the range, so that a later write there cannot fail for want of it. */
  readonly keepAllocated?: boolean;
}

/** What suits the device; nobody has to obey. */
export interface DataDeviceHints {
  /** Bytes of a request that costs least, a power of two ≥ 512: a page, a pool's data block. */
  readonly preferredSize: number;
  /** Only whole, aligned units of so many bytes are discarded; 0 when `discard` does nothing. */
  readonly discardGranularity: number;
  /** Whether `writeZeroes` is much quicker than writing zeros. */
  readonly fastZeroes: boolean;
}

export interface AllocationExtent {
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
  /** `data`: anything; `zero`: has its space, reads as zeros; `hole`: takes no space, reads as zeros. */
  readonly state: 'data' | 'zero' | 'hole';
}
