/**
 * Where metadata lives: numbered blocks of 4096 bytes, read and written synchronously.
 *
 * Trees are walked millions of times a second and their blocks are cached, so a promise a block would cost more than the
 * block. What may take long, a flush, has an asynchronous form besides.
 *
 * Contract, kept by every implementation and tested by one suite (`metadataDeviceConformance` of `@pdata/testing`):
 *   1. What `write` returned from, `read` returns; what a completed `flush` covered survives a loss of power.
 *   2. Between two flushes writes may reach the medium in any order, or in part: callers must not rely on order.
 *   3. `read` and `write` move whole runs of blocks in one request, and throw `RangeError` outside the device.
 *   4. A failure is a `DeviceError` that names device, operation and blocks; after `close` everything is a `ClosedError`.
 *   5. A failed flush is not made good by a later one: each later flush fails too, until the device is opened anew.
 */

/** Bytes in a metadata block. The only size the kernel's formats know. */
export const BLOCK_SIZE = 4096;

export interface MetadataDevice {
  /** Name for messages: a path, or something like "memory". */
  readonly name: string;
  /** Size in blocks of 4096 bytes; bytes behind the last whole block are not used. */
  readonly nrBlocks: number;
  readonly readOnly: boolean;
  /**
   * True when a flush is a transaction: all that was written since the last one becomes durable together, or nothing of it. A
   * commit then needs one flush instead of two.
   */
  readonly flushIsAtomic?: boolean;
  /** Fills `into` (a whole number of blocks) from block `firstBlockNr` on. */
  read(firstBlockNr: number, into: Uint8Array): void;
  /** Writes `from` (a whole number of blocks) from block `firstBlockNr` on. Not durable before a flush. */
  write(firstBlockNr: number, from: Uint8Array): void;
  /** Returns when everything written so far would survive a loss of power. */
  flush(): void;
  /** As `flush`, without holding up the event loop. Covers the writes that returned before the call. */
  flushAsync(): Promise<void>;
  /**
   * Enlarges the device where that is in our hands (memory, regular files); a block device is re-measured instead, and may
   * turn out larger than asked. Nothing is said about what the new blocks contain. Durable with the next flush.
   * @throws {@link DeviceError} when the device cannot reach `nrBlocks`
   * @throws {RangeError} when `nrBlocks` is less than the device has: devices do not shrink
   */
  grow(nrBlocks: number): void;
  /** Gives the device, and its lock, free. Does not flush. Harmless on a device that is closed already. */
  close(): void;
}
