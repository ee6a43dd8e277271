/**
 * A data device in a regular file, sparse where the file system can, or on a block device.
 *
 * A request is one `pread` or `pwrite` at its place, done at once or by a thread: in-place-policy.ts says when which. A flush
 * is `fdatasync`, always by a thread. Whole units of 64 KiB are given back by punching holes (`writeZeroes`, `discard`);
 * which units are holes is remembered (hole-map.ts), so that zeroing what is a hole costs nothing and `allocation` has an answer.
 *
 * Invariants:
 *   1. A device opened for reading never changes its input: no write access, nothing created beside it.
 *   2. A unit that the map calls a hole reads as zeros. So a write marks its units before it begins; a punch marks them when
 *      it is over, and only if no write to them was in flight at any moment of it.
 *   3. The descriptor is closed when no system call of ours can still use its number: `close` waits for all.
 *   4. After a failed flush no later flush succeeds: descriptor-sync.ts.
 *
 * Linux does writes to one file one after the other, so of two that overlap each sector is one of theirs, whole.
 *
 * A block device is claimed and read past the page cache, as metadata is (open-descriptor.ts), for the same reason: the
 * kernel's pool does not write through that cache.
 *
 * Not here: which paths may be opened (open-descriptor.ts), who may open them (file-lock.ts), caching (the system's).
 */
import { closeSync, fstatSync, ftruncate, statfsSync, unlinkSync } from 'node:fs';
import type { AllocationExtent, DataDeviceHints, WriteOptions, WriteZeroesOptions } from '../data-device.js';
import { SECTOR_SIZE } from '../data-device.js';
import { ClosedError, DeviceBusyError, DeviceError, DeviceOpenError, ReadOnlyError } from '../errors.js';
import type { GrowableDataDevice } from '../growable-data-device.js';
import { bytesInWords, requireDataSize, requireSectorRange, wholeSectors } from '../sector-range.js';
import { DescriptorSync } from './descriptor-sync.js';
import { logicalBlockSize, sizeInBytes } from './device-size.js';
import { readDirect, writeDirect } from './direct-transfer.js';
import { lockFile } from './file-lock.js';
import { HoleMap, UNIT_SIZE } from './hole-map.js';
import { HolePunch } from './hole-punch.js';
import { InPlacePolicy, READ_LIMITS, WRITE_LIMITS } from './in-place-policy.js';
import { createDescriptor, type Descriptor, openDescriptor } from './open-descriptor.js';
import { readWhole, readWholeSync, writeWhole, writeWholeSync } from './positional-transfer.js';
import { reasonOf } from './system-problem.js';

/** Zeros are written in pieces of this size where holes cannot be punched, or space is to be kept. */
const ZEROES_SIZE = 2 ** 20;

/**
 * Zeros over less than this are written, unless they lie on holes: to punch a hole into ext4 takes 90 to 600 µs however small
 * it is (more while what it held is on its way to the disk), to write 64 KiB of zeros 40 µs (2026-11). Discards always punch.
 */
const SMALLEST_ZEROES_PUNCHED = 256 * 1024;

const DONE = Promise.resolve();

export type OpenFileDataDeviceOptions =
  | {
      /** Shared with other readers, unless it is a block device. */
      readonly mode: 'read';
      /** Default true: refuses while somebody writes. */
      readonly lock?: boolean;
      /** Name for messages; the path when left out. */
      readonly name?: string;
    }
  | {
      /** Excludes every other opener. */
      readonly mode: 'write';
      /** Default true. With false, the caller promises that nobody else has the device open. */
      readonly lock?: boolean;
      /** Makes a new regular file of that many bytes, all zeros, that takes no space yet. Refused when the path exists. */
      readonly create?: { readonly size: number };
      readonly name?: string;
    };

/**
 * Opens a regular file or a block device as data. A part of a sector at its end is ignored, and left as it is.
 *
 * Small requests are done in place while the medium is quick, others by libuv's threads. There are four unless the
 * environment variable UV_THREADPOOL_SIZE says otherwise, for all of the process: a slow disk wants more.
 *
 * The lock goes with `close`, or with the process. `close` does not flush. Rejects with
 * a {@link DeviceOpenError} (missing, neither file nor block device, no permission, smaller than a sector, cannot be locked),
 * a {@link DeviceBusyError} (held by somebody else, in this process, in another, or in the kernel)
 * or a RangeError (`create.size` is no size).
 */
export async function openFileDataDevice(
  path: string,
  options: OpenFileDataDeviceOptions,
): Promise<GrowableDataDevice> {
  const { mode, lock: isLocked = true, name = path } = options;
  const create = options.mode === 'write' ? options.create : undefined;
  if (create !== undefined) requireDataSize(name, create.size, SECTOR_SIZE);
  const descriptor =
    create === undefined
      ? openDescriptor(path, { mode, content: 'data', isExclusive: isLocked })
      : createDescriptor(path, create.size);
  try {
    if (isLocked) lockFile(descriptor.fd, name, mode === 'read' ? 'shared' : 'exclusive');
    const size = sizeInBytes(descriptor.fd, name);
    if (size < SECTOR_SIZE) {
      throw new DeviceOpenError(
        `cannot open ${name}: it holds ${size} bytes, less than one sector of ${SECTOR_SIZE} bytes`,
      );
    }
    const isEmpty = create !== undefined || takesNoSpace(descriptor, size);
    return new FileDataDevice(name, descriptor, { readOnly: mode === 'read', size, isEmpty });
  } catch (error) {
    closeSync(descriptor.fd);
    // Busy: whoever was quicker at locking our new file may be using it by now.
    if (create !== undefined && !(error instanceof DeviceBusyError)) unlinkSync(path);
    throw error;
  }
}

class FileDataDevice implements GrowableDataDevice {
  readonly readOnly: boolean;
  readonly #fd: number;
  readonly #isBlockDevice: boolean;
  /** For direct I/O: what it must be aligned by. Then everything is done by threads, for no cache answers. */
  readonly #directBlockSize: number | undefined;
  readonly #sync: DescriptorSync;
  readonly #punch: HolePunch;
  readonly #holes: HoleMap;
  readonly #reads = new InPlacePolicy(READ_LIMITS);
  readonly #writes = new InPlacePolicy(WRITE_LIMITS);
  #size: number;
  #closing: Promise<void> | undefined;
  #nrInFlight = 0;
  /** Called when the last request in flight is over; set by `close`. */
  #whenIdle: (() => void) | undefined;

  constructor(
    readonly name: string,
    { fd, isBlockDevice, isDirect }: Descriptor,
    state: { readOnly: boolean; size: number; isEmpty: boolean },
  ) {
    this.readOnly = state.readOnly;
    this.#fd = fd;
    this.#isBlockDevice = isBlockDevice;
    this.#directBlockSize = isDirect ? logicalBlockSize(fd) : undefined;
    this.#sync = new DescriptorSync(fd, name);
    this.#size = wholeSectors(state.size);
    this.#holes = new HoleMap(Math.ceil(this.#size / UNIT_SIZE), state.isEmpty ? 'hole' : 'data');
    this.#punch = new HolePunch(fd, this.#holes);
  }

  get size(): number {
    return this.#size;
  }

  get hints(): DataDeviceHints {
    const canPunch = this.#punch.isSupported;
    const preferredSize = Math.max(4096, this.#directBlockSize ?? 0);
    return { preferredSize, discardGranularity: canPunch ? UNIT_SIZE : 0, fastZeroes: canPunch };
  }

  // Not async functions: in place, a request needs no promise of its own.

  read(offset: number, into: Uint8Array): Promise<void> {
    const length = into.byteLength;
    try {
      this.#requireOpen();
      requireSectorRange(this, 'read', offset, length);
      if (this.#directBlockSize !== undefined || !this.#reads.admits(length)) {
        return this.#inFlight(this.#readByThread(offset, into));
      }
      const start = performance.now();
      readWholeSync(this.#fd, into, offset);
      this.#reads.took(performance.now() - start, length);
      return DONE;
    } catch (error) {
      return Promise.reject(this.#failure(error, 'read', offset, length));
    }
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    const length = from.byteLength;
    try {
      this.#requireWritable('write');
      requireSectorRange(this, 'write', offset, length);
      const isInPlace = this.#writeNow(offset, from);
      if (isInPlace && !options?.fua) return DONE;
      return this.#inFlight(this.#finishWrite(offset, from, isInPlace, options?.fua ?? false));
    } catch (error) {
      return Promise.reject(this.#failure(error, 'write', offset, length));
    }
  }

  writeZeroes(offset: number, length: number, options: WriteZeroesOptions = {}): Promise<void> {
    try {
      this.#requireWritable('writeZeroes');
      requireSectorRange(this, 'writeZeroes', offset, length);
      if (!options.fua && this.#zeroNow(offset, length, options.keepAllocated ?? false)) return DONE;
      return this.#inFlight(this.#writeZeroes(offset, length, options));
    } catch (error) {
      return Promise.reject(this.#failure(error, 'write', offset, length));
    }
  }

  discard(offset: number, length: number, options: WriteOptions = {}): Promise<void> {
    try {
      this.#requireWritable('discard');
      requireSectorRange(this, 'discard', offset, length);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#inFlight(this.#discard(offset, length, options));
  }

  flush(): Promise<void> {
    try {
      this.#requireOpen();
    } catch (error) {
      return Promise.reject(error);
    }
    return this.readOnly ? DONE : this.#inFlight(this.#sync.soon());
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#requireOpen();
    requireSectorRange(this, 'allocation', offset, length);
    const end = offset + length;
    const extents = this.#holes.extents(Math.floor(offset / UNIT_SIZE), Math.ceil(end / UNIT_SIZE));
    return extents.flatMap((extent) => {
      const from = Math.max(offset, extent.offset);
      const to = Math.min(end, extent.offset + extent.length);
      return to > from ? [{ offset: from, length: to - from, state: extent.state }] : [];
    });
  }

  async grow(size: number): Promise<void> {
    this.#requireWritable('grow');
    requireDataSize(this.name, size, this.#size);
    await this.#inFlight(this.#grow(size));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #readByThread(offset: number, into: Uint8Array): Promise<void> {
    try {
      const blockSize = this.#directBlockSize;
      if (blockSize === undefined) await readWhole(this.#fd, into, offset);
      else await readDirect(this.#fd, into, offset, blockSize);
    } catch (error) {
      throw this.#failure(error, 'read', offset, into.byteLength);
    }
  }

  /** Writes in place where that is the thing to do; otherwise does nothing, and returns false. */
  #writeNow(offset: number, from: Uint8Array): boolean {
    const length = from.byteLength;
    if (this.#directBlockSize !== undefined || !this.#writes.admits(length)) return false;
    this.#punch.aboutToWrite(offset, length);
    const start = performance.now();
    writeWholeSync(this.#fd, from, offset);
    this.#writes.took(performance.now() - start, length);
    return true;
  }

  /** Zeros that are there already, or few enough to be written in place; otherwise does nothing, and returns false. */
  #zeroNow(offset: number, length: number, keepAllocated: boolean): boolean {
    if (!keepAllocated) {
      const [first, end] = [Math.floor(offset / UNIT_SIZE), Math.ceil((offset + length) / UNIT_SIZE)];
      if (this.#holes.areHoles(first, end)) return true;
      if (length > UNIT_SIZE) return false; // some of it may be holes, which are not to be filled
    }
    return length <= UNIT_SIZE && this.#writeNow(offset, zeroesOf(length));
  }

  async #finishWrite(offset: number, from: Uint8Array, isDone: boolean, fua: boolean): Promise<void> {
    if (!isDone) await this.#writeByThread(offset, from);
    if (fua) await this.#sync.soon();
  }

  async #writeByThread(offset: number, from: Uint8Array): Promise<void> {
    const done = this.#punch.beginWrite(offset, from.byteLength);
    try {
      const blockSize = this.#directBlockSize;
      if (blockSize === undefined) await writeWhole(this.#fd, from, offset);
      else await writeDirect(this.#fd, from, offset, blockSize);
    } catch (error) {
      throw this.#failure(error, 'write', offset, from.byteLength);
    } finally {
      done();
    }
  }

  async #writeZeroes(offset: number, length: number, { keepAllocated, fua }: WriteZeroesOptions): Promise<void> {
    const units = keepAllocated || length < SMALLEST_ZEROES_PUNCHED ? undefined : this.#wholeUnits(offset, length);
    if (units === undefined || !(await this.#punchOut(units))) {
      await this.#writeZeroBytes(offset, offset + length, keepAllocated ?? false);
    } else {
      await this.#writeZeroBytes(offset, units.from, false);
      await this.#writeZeroBytes(units.to, offset + length, false);
    }
    if (fua) await this.#sync.soon();
  }

  async #discard(offset: number, length: number, { fua }: WriteOptions): Promise<void> {
    const units = this.#wholeUnits(offset, length);
    if (units !== undefined) await this.#punchOut(units);
    if (fua) await this.#sync.soon();
  }

  /** The part of a range that is whole units; the last unit of the device is whole when the range reaches the end. */
  #wholeUnits(offset: number, length: number): { from: number; to: number } | undefined {
    const end = offset + length;
    const from = Math.ceil(offset / UNIT_SIZE) * UNIT_SIZE;
    const to = end === this.#size ? end : Math.floor(end / UNIT_SIZE) * UNIT_SIZE;
    return to > from ? { from, to } : undefined;
  }

  /** @returns false when the medium knows no holes: then nothing was changed */
  async #punchOut({ from, to }: { from: number; to: number }): Promise<boolean> {
    try {
      return await this.#punch.punch(from, to);
    } catch (error) {
      throw this.#failure(error, 'discard', from, to - from);
    }
  }

  /** Writes zeros, and leaves out what is a hole already, unless that is to have space. */
  async #writeZeroBytes(offset: number, end: number, keepAllocated: boolean): Promise<void> {
    for (let at = offset; at < end; ) {
      const unitNr = Math.floor(at / UNIT_SIZE);
      if (!keepAllocated && this.#holes.isHole(unitNr)) {
        at = (unitNr + 1) * UNIT_SIZE;
        continue;
      }
      // Up to the end of a unit where holes may be met, otherwise as much as can be.
      const piece =
        !keepAllocated && this.#holes.mayHaveHoles(unitNr, Math.ceil(end / UNIT_SIZE)) ? UNIT_SIZE : ZEROES_SIZE;
      const to = Math.min(end, (Math.floor(at / piece) + 1) * piece);
      const zeroes = zeroesOf(to - at);
      try {
        if (!this.#writeNow(at, zeroes)) await this.#writeByThread(at, zeroes);
      } catch (error) {
        throw this.#failure(error, 'write', at, to - at);
      }
      at = to;
    }
  }

  async #grow(size: number): Promise<void> {
    let before: number;
    try {
      before = sizeInBytes(this.#fd, this.name);
      if (!this.#isBlockDevice && before < size) await truncate(this.#fd, size);
    } catch (cause) {
      throw new DeviceError(`cannot grow ${this.name} to ${size} bytes: ${reasonOf(cause)}`, { cause });
    }
    const now = wholeSectors(sizeInBytes(this.#fd, this.name));
    if (now > this.#size) this.#growHoles(before, now);
    this.#size = Math.max(this.#size, now);
    if (this.#size < size) {
      throw new DeviceError(
        `cannot grow ${this.name} to ${size} bytes: the block device has ${this.#size}; enlarge it first`,
      );
    }
  }

  /** What lies behind the old size may be anything: a part of a sector, what somebody appended. What we appended is a hole. */
  #growHoles(sizeBefore: number, now: number): void {
    const nrUnits = Math.ceil(now / UNIT_SIZE);
    this.#holes.set(Math.floor(this.#size / UNIT_SIZE), Math.ceil(this.#size / UNIT_SIZE), 'data'); // a unit cut by the end
    this.#holes.grow(Math.min(nrUnits, Math.ceil(sizeBefore / UNIT_SIZE)), 'data');
    this.#holes.grow(nrUnits, 'hole');
  }

  async #close(): Promise<void> {
    if (this.#nrInFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    try {
      closeSync(this.#fd);
    } catch (cause) {
      throw new DeviceError(`cannot close ${this.name}: ${reasonOf(cause)}`, { cause });
    }
  }

  /** Counts a request until it is over. */
  async #inFlight(request: Promise<void>): Promise<void> {
    this.#nrInFlight++;
    try {
      await request;
    } finally {
      this.#nrInFlight--;
      // Not at once: whoever waits for the request hears of its end before whoever waits for the close.
      if (this.#nrInFlight === 0 && this.#whenIdle !== undefined) setImmediate(this.#whenIdle);
    }
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
  }

  #requireWritable(operation: string): void {
    this.#requireOpen();
    if (this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }

  /** What to reject with: a system error becomes a DeviceError, everything else stays what it is. */
  #failure(error: unknown, attempted: string, offset: number, length: number): unknown {
    if (error instanceof RangeError || error instanceof DeviceError) return error;
    if (error instanceof ClosedError || error instanceof ReadOnlyError) return error;
    const range = `${attempted} ${bytesInWords(offset, length)} of ${this.name}`;
    return new DeviceError(`cannot ${range}: ${reasonOf(error)}`, { cause: error });
  }
}

let zeroes: Uint8Array | undefined;

/** Up to 1 MiB of zeros, to be read only. */
function zeroesOf(length: number): Uint8Array {
  zeroes ??= new Uint8Array(ZEROES_SIZE);
  return zeroes.subarray(0, length);
}

function truncate(fd: number, size: number): Promise<void> {
  return new Promise((resolve, reject) => {
    ftruncate(fd, size, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** statfs(2) of file systems that count what is written but not yet placed, as ours were seen to do. */
const HONEST_ABOUT_BLOCKS = new Set([0xef53 /* ext2, 3, 4 */, 0x01021994 /* tmpfs */]);

/**
 * Whether an existing file is all hole: it has no blocks. Only on file systems that are known to count what is written at
 * once; others may say 0 of a file that has data (network file systems), or keep little data elsewhere (in the inode).
 */
function takesNoSpace({ fd, isBlockDevice }: Descriptor, size: number): boolean {
  if (isBlockDevice || process.platform !== 'linux' || size < UNIT_SIZE) return false;
  if (fstatSync(fd).blocks !== 0) return false;
  try {
    return HONEST_ABOUT_BLOCKS.has(statfsSync(`/proc/self/fd/${fd}`).type);
  } catch {
    return false; // no /proc here: then nothing is known
  }
}
