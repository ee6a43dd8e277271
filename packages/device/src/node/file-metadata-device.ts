/**
 * A metadata device in a regular file or on a block device.
 *
 * A run of blocks is one `pread` or `pwrite` at its place (more only when the kernel moves less than was asked, or in
 * direct I/O, in steps of 1 MiB); a flush is `fdatasync`, which on a block device empties the disk's own cache too.
 *
 * Invariants:
 *   1. A device opened for reading never changes its input: no write access, nothing created beside it.
 *   2. After a failed flush no later flush succeeds: descriptor-sync.ts.
 *   3. The descriptor is closed when no system call of ours can still use its number: a running flush closes it at its end.
 *
 * Not here: which paths may be opened (open-descriptor.ts), who may open them (file-lock.ts), caching (block manager).
 */
import { closeSync, ftruncateSync, unlinkSync } from 'node:fs';
import { blocksInWords, nrBlocksOfRun, requireDeviceSize } from '../block-run.js';
import { ClosedError, DeviceBusyError, DeviceError, DeviceOpenError, ReadOnlyError } from '../errors.js';
import { BLOCK_SIZE, type MetadataDevice } from '../metadata-device.js';
import { bounceMemory } from './aligned-memory.js';
import { DescriptorSync } from './descriptor-sync.js';
import { sizeInBytes } from './device-size.js';
import { lockFile, unlockFile } from './file-lock.js';
import { createDescriptor, type Descriptor, openDescriptor } from './open-descriptor.js';
import { readWholeSync, writeWholeSync } from './positional-transfer.js';
import { reasonOf } from './system-problem.js';

export type OpenFileMetadataDeviceOptions =
  | {
      /** Shared with other readers, unless it is a block device. */
      readonly mode: 'read';
      /**
       * Default true: refuses while somebody writes. False for a metadata snapshot of a pool that is in use: nothing else
       * on the device can then be relied on.
       */
      readonly lock?: boolean;
    }
  | {
      /** Excludes every other opener. */
      readonly mode: 'write';
      /** Default true. With false, the caller promises that nobody else has the device open. */
      readonly lock?: boolean;
      /** Makes a new regular file of that many zeroed blocks. Refused when the path exists. */
      readonly create?: { readonly nrBlocks: number };
    };

/**
 * Opens a regular file or a block device as metadata. A part of a block at its end is ignored.
 *
 * The lock goes with `close`, or with the process. `close` does not flush.
 *
 * @param path also the device's name in messages
 * @throws {@link DeviceOpenError} missing, neither file nor block device, no permission, smaller than a block, cannot be locked
 * @throws {@link DeviceBusyError} held by somebody else, in this process, in another, or in the kernel
 * @throws {RangeError} when `create.nrBlocks` is no size
 */
export function openFileMetadataDevice(path: string, options: OpenFileMetadataDeviceOptions): MetadataDevice {
  const { mode, lock: isLocked = true } = options;
  const create = options.mode === 'write' ? options.create : undefined;
  if (create !== undefined) requireDeviceSize(path, create.nrBlocks, 1);
  const descriptor =
    create === undefined
      ? openDescriptor(path, { mode, content: 'metadata', isExclusive: isLocked })
      : createDescriptor(path, create.nrBlocks * BLOCK_SIZE);
  try {
    if (isLocked) lockFile(descriptor.fd, path, mode === 'read' ? 'shared' : 'exclusive');
    const size = sizeInBytes(descriptor.fd, path);
    if (size < BLOCK_SIZE) {
      throw new DeviceOpenError(
        `cannot open ${path}: it holds ${size} bytes, less than one metadata block of ${BLOCK_SIZE} bytes`,
      );
    }
    return new FileMetadataDevice(path, descriptor, { readOnly: mode === 'read', isLocked, size });
  } catch (error) {
    closeSync(descriptor.fd);
    // Busy: whoever was quicker at locking our new file may be using it by now.
    if (create !== undefined && !(error instanceof DeviceBusyError)) unlinkSync(path);
    throw error;
  }
}

class FileMetadataDevice implements MetadataDevice {
  readonly readOnly: boolean;
  readonly #isLocked: boolean;
  readonly #fd: number;
  readonly #sync: DescriptorSync;
  readonly #isBlockDevice: boolean;
  /** For direct I/O: the aligned memory that its bytes pass through. */
  readonly #bounce: Uint8Array | undefined;
  #nrBlocks: number;
  #isClosed = false;
  #nrFlushesRunning = 0;

  constructor(
    readonly name: string,
    { fd, isBlockDevice, isDirect }: Descriptor,
    state: { readOnly: boolean; isLocked: boolean; size: number },
  ) {
    this.readOnly = state.readOnly;
    this.#isLocked = state.isLocked;
    this.#fd = fd;
    this.#sync = new DescriptorSync(fd, name);
    this.#isBlockDevice = isBlockDevice;
    this.#bounce = isDirect ? bounceMemory() : undefined;
    this.#nrBlocks = Math.floor(state.size / BLOCK_SIZE);
  }

  get nrBlocks(): number {
    return this.#nrBlocks;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#requireOpen();
    const nr = nrBlocksOfRun(this, 'read', firstBlockNr, into);
    try {
      readWholeSync(this.#fd, into, firstBlockNr * BLOCK_SIZE, this.#bounce);
    } catch (cause) {
      throw this.#failure(`read ${blocksInWords(firstBlockNr, nr)} of ${this.name}`, cause);
    }
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.#requireWritable('write');
    const nr = nrBlocksOfRun(this, 'write', firstBlockNr, from);
    try {
      writeWholeSync(this.#fd, from, firstBlockNr * BLOCK_SIZE, this.#bounce);
    } catch (cause) {
      throw this.#failure(`write ${blocksInWords(firstBlockNr, nr)} of ${this.name}`, cause);
    }
  }

  flush(): void {
    this.#requireWritable('flush');
    this.#sync.now();
  }

  async flushAsync(): Promise<void> {
    this.#requireWritable('flush');
    this.#nrFlushesRunning++;
    try {
      await this.#sync.soon();
    } finally {
      this.#nrFlushesRunning--;
      if (this.#isClosed && this.#nrFlushesRunning === 0) closeSync(this.#fd);
    }
  }

  grow(nrBlocks: number): void {
    this.#requireWritable('grow');
    requireDeviceSize(this.name, nrBlocks, this.#nrBlocks);
    try {
      if (!this.#isBlockDevice && sizeInBytes(this.#fd, this.name) < nrBlocks * BLOCK_SIZE) {
        ftruncateSync(this.#fd, nrBlocks * BLOCK_SIZE);
      }
    } catch (cause) {
      throw this.#failure(`grow ${this.name} to ${nrBlocks} blocks`, cause);
    }
    this.#nrBlocks = Math.floor(sizeInBytes(this.#fd, this.name) / BLOCK_SIZE);
    if (this.#nrBlocks < nrBlocks) {
      throw new DeviceError(
        `cannot grow ${this.name} to ${nrBlocks} blocks: the block device has ${this.#nrBlocks}; enlarge it first`,
      );
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#nrFlushesRunning === 0) closeSync(this.#fd);
    else if (this.#isLocked) unlockFile(this.#fd, this.name); // the next opener need not wait for the flush
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`${this.name} is closed`);
  }

  #requireWritable(operation: string): void {
    this.#requireOpen();
    if (this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }

  #failure(attempted: string, cause: unknown): DeviceError {
    return new DeviceError(`cannot ${attempted}: ${reasonOf(cause)}`, { cause });
  }
}
