/**
 * A metadata device in one array of bytes: for tests, for images that were downloaded or unpacked, and for browsers.
 *
 * Nothing outlives the process, so a flush has nothing to do; it is still refused where a real device refuses it, so that
 * code tested here behaves the same on a disk. `@pdata/testing` wraps devices to record, tear and fail their writes.
 */
import { nrBlocksOfRun, requireDeviceSize } from './block-run.js';
import { ClosedError, DeviceError, DeviceOpenError, ReadOnlyError } from './errors.js';
import { BLOCK_SIZE, type MetadataDevice } from './metadata-device.js';

/** Either a size, for a device of zeroes, or the bytes to use. */
export type MemoryMetadataDeviceOptions =
  | {
      /** Name for messages; "memory" when left out. */
      readonly name?: string;
      readonly nrBlocks: number;
      readonly bytes?: never;
      readonly readOnly?: never;
    }
  | {
      /** Name for messages; "memory" when left out. */
      readonly name?: string;
      /** Used in place, not copied: what is written to the device is written here. A part of a block at the end is ignored. */
      readonly bytes: Uint8Array;
      /** Default false. */
      readonly readOnly?: boolean;
      readonly nrBlocks?: never;
    };

export class MemoryMetadataDevice implements MetadataDevice {
  readonly name: string;
  readonly readOnly: boolean;
  #bytes: Uint8Array;
  #isClosed = false;

  /**
   * @throws {RangeError} when `nrBlocks` is no size
   * @throws {@link DeviceOpenError} when `bytes` is shorter than a block, or the memory cannot be had
   */
  constructor(options: MemoryMetadataDeviceOptions) {
    this.name = options.name ?? 'memory';
    this.readOnly = options.readOnly ?? false;
    if (options.bytes !== undefined) {
      const nrBlocks = Math.floor(options.bytes.byteLength / BLOCK_SIZE);
      if (nrBlocks === 0) {
        throw new DeviceOpenError(
          `cannot use ${this.name}: it holds ${options.bytes.byteLength} bytes, less than one block of ${BLOCK_SIZE}`,
        );
      }
      this.#bytes = options.bytes.subarray(0, nrBlocks * BLOCK_SIZE);
    } else {
      requireDeviceSize(this.name, options.nrBlocks, 1);
      try {
        this.#bytes = new Uint8Array(options.nrBlocks * BLOCK_SIZE);
      } catch (cause) {
        throw new DeviceOpenError(`cannot create ${this.name}: no memory for ${options.nrBlocks} blocks`, { cause });
      }
    }
  }

  get nrBlocks(): number {
    return this.#bytes.byteLength / BLOCK_SIZE;
  }

  /** All blocks, live: for tests that look at or damage them. `grow` replaces the array. Readable after `close` too. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#requireOpen();
    const nr = nrBlocksOfRun(this, 'read', firstBlockNr, into);
    into.set(this.#bytes.subarray(firstBlockNr * BLOCK_SIZE, (firstBlockNr + nr) * BLOCK_SIZE));
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.#requireWritable('write');
    nrBlocksOfRun(this, 'write', firstBlockNr, from);
    this.#bytes.set(from, firstBlockNr * BLOCK_SIZE);
  }

  flush(): void {
    this.#requireWritable('flush');
  }

  async flushAsync(): Promise<void> {
    this.flush();
  }

  grow(nrBlocks: number): void {
    this.#requireWritable('grow');
    requireDeviceSize(this.name, nrBlocks, this.nrBlocks);
    if (nrBlocks === this.nrBlocks) return;
    let grown: Uint8Array;
    try {
      grown = new Uint8Array(nrBlocks * BLOCK_SIZE);
    } catch (cause) {
      throw new DeviceError(`cannot grow ${this.name} to ${nrBlocks} blocks: no memory for them`, { cause });
    }
    grown.set(this.#bytes);
    this.#bytes = grown;
  }

  close(): void {
    this.#isClosed = true;
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`${this.name} is closed`);
  }

  #requireWritable(operation: string): void {
    this.#requireOpen();
    if (this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }
}
