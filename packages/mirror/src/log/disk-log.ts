/**
 * The kernel's disk log, on a data device: it is read and written in whole sectors from its first byte, not in blocks of 4096.
 *
 * What goes out, and when: memory has the clean bits as they are to be, `#image` the bytes as they were written last. Where these differ,
 * there is something to flush; where `mark` follows `clear` before that, there is not. A flush is one write:
 *
 *   bits to be set     flush all legs first. Only what was cleared before that began, and not marked since, is written as clean
 *   any bit            write header and bits
 *   bits to be taken   then flush the log's device: the data may only be written when the mark is durable. A clean bit needs no flush;
 *                      losing it costs a copy
 *
 * Flushes that are asked for while one is running become one.
 *
 * Where the kernel is careless, this is not: a log of an unknown version, or a device that holds something else, is refused and left
 * untouched; a log that could not be read is not written over; `sync` and `nosync` act once.
 * Format: docs/format/mirror-log.md, sections 2 to 4.
 */
import { ClosedError, type DataDevice, invariant, SECTOR_SIZE } from '@pdata/device';
import {
  isKnownVersion,
  LOG_BITS_OFFSET,
  LOG_MAGIC,
  LOG_VERSION,
  logSize,
  nrBytesOfBits,
  OLD_LOG_VERSION,
  readLogHeader,
  writeLogHeader,
} from '../format/log-layout.js';
import { RegionBits } from '../format/region-bits.js';
import { BitmapLog, type BitmapLogOptions } from './bitmap-log.js';
import type { FlushLegs, LogHealth, LogStatus } from './dirty-log.js';
import { LogFailedError, LogTooSmallError, NotALogError, UnsupportedLogError } from './errors.js';
import { JoinedFlush } from './joined-flush.js';

export interface DiskLogOptions extends BitmapLogOptions {
  /** Of the log's device, in bytes: the log is read and written in multiples of it. Default 512. */
  readonly logicalBlockSize?: number;
  /** Let `sync` and `nosync` act at every resume, as in the kernel. Default false. */
  readonly syncAtEveryResume?: boolean;
  /**
   * When a flush of a leg fails, call every region dirty, as the kernel does, so that a restart copies everything. Default false: only what
   * that flush should have covered.
   */
  readonly dirtyAllOnLegFlushFailure?: boolean;
  /** Begin a new log whatever the device holds, as the kernel does, unless it is a log of an unknown version. Default: only where it holds zeros. */
  readonly overwrite?: boolean;
}

export class DiskLog extends BitmapLog {
  readonly kind = 'disk';
  readonly #device: DataDevice;
  readonly #options: DiskLogOptions;
  /** What was written last, or, while a write is under way or after it has failed, what was to be. */
  readonly #image: Uint8Array;
  /** The clean bits in `#image`. */
  readonly #imageBits: RegionBits;
  #flushLegs: FlushLegs | undefined;
  #hasResumed = false;
  #isClosed = false;
  #health: LogHealth = 'A';
  #hasLostLegFlush = false;
  /** The device holds what nobody knows: it could not be read, so it must not be written. */
  #isUnread = true;
  /** A write has failed: what of `#image` is on the device is not known. */
  #isInDoubt = false;
  /** Marks have been written that no flush of the device has covered. */
  #hasUnflushedMarks = false;
  /** Regions that are clean in the image and no more in memory; and the other way round. */
  #nrMarked = 0;
  #nrCleared = 0;
  /** While the legs are being flushed: what that flush covers. */
  #covered: RegionBits | undefined;
  readonly #flushes = new JoinedFlush(() => this.#flush());

  /**
   * Nothing is read before {@link resume}. The device stays the caller's.
   *
   * @throws {RangeError} when the kernel would not have the length or the region size
   * @throws {@link LogTooSmallError}
   */
  constructor(device: DataDevice, options: DiskLogOptions) {
    super(options);
    const { logicalBlockSize = SECTOR_SIZE } = options;
    if (!(logicalBlockSize >= SECTOR_SIZE && Number.isInteger(Math.log2(logicalBlockSize)))) {
      throw new RangeError(
        `logical block size of ${logicalBlockSize} bytes: expected a power of two, at least ${SECTOR_SIZE}`,
      );
    }
    const size = logSize(this.nrRegions, logicalBlockSize);
    if (device.size < size) {
      throw new LogTooSmallError(
        `the log on ${device.name} is too small: ${this.nrRegions} regions need ${size} bytes, and it has ${device.size}`,
      );
    }
    this.#device = device;
    this.#options = options;
    this.#image = new Uint8Array(size);
    this.#imageBits = new RegionBits(this.nrRegions, this.#image.subarray(LOG_BITS_OFFSET));
  }

  /** Whether bytes of `device` from `offset` on are the log's own: no leg may have them. */
  isOn(device: DataDevice, offset: number): boolean {
    return device === this.#device && offset < this.#image.length;
  }

  async resume(flushLegs: FlushLegs): Promise<void> {
    this.#requireOpen();
    await this.#flushes.settled();
    this.#flushLegs = flushLegs;
    this.#health = 'A';
    this.#isUnread = true;
    if (await this.#read()) await this.#takeOver();
    else {
      this.cleanBits.fill(false);
      this.syncBits.fill(false);
    }
    this.beginSearch();
  }

  async postsuspend(): Promise<void> {
    await this.flush();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.presuspend();
    await this.#flushes.settled();
  }

  flush(): Promise<void> {
    return this.#hasWork || this.#flushes.isRunning ? this.#flushes.run() : DONE;
  }

  isClean(regionNr: number): boolean {
    // In the image, too: what has only just been cleared waits for a flush of the legs.
    return this.cleanBits.has(regionNr) && this.#imageBits.has(regionNr);
  }

  async trustLegFlushes(): Promise<void> {
    this.#hasLostLegFlush = false;
  }

  status(): LogStatus {
    const { kind, nrRegions, syncCount } = this;
    const [health, hasLostLegFlush] = [this.#health, this.#hasLostLegFlush];
    return { kind, health, device: this.#device.name, hasLostLegFlush, nrRegions, syncCount };
  }

  statusText(): string {
    return `3 disk ${this.#device.name} ${this.#health}`;
  }

  tableText(): string {
    const { sync } = this.#options;
    const args = [this.#device.name, this.regionSize, ...(sync === undefined ? [] : [sync])];
    return ['disk', args.length, ...args].join(' ');
  }

  protected get mayBecomeClean(): boolean {
    return !this.#hasLostLegFlush;
  }

  protected cleanBitChanged(regionNr: number, clean: boolean): void {
    if (!clean) this.#covered?.set(regionNr, false);
    const isNewsToDisk = this.#imageBits.has(regionNr) !== clean;
    if (clean) this.#nrCleared += isNewsToDisk ? 1 : 0;
    else this.#nrMarked += isNewsToDisk ? 1 : 0;
    if (isNewsToDisk) return;
    // Back to what the device has: nothing to write any more.
    if (clean) this.#nrMarked--;
    else this.#nrCleared--;
  }

  /** @returns whether it could be read */
  async #read(): Promise<boolean> {
    const { name } = this.#device;
    try {
      await this.#device.read(0, this.#image);
    } catch {
      this.#health = 'D';
      return false;
    }
    const { magic, version } = readLogHeader(this.#image);
    if (magic !== LOG_MAGIC) {
      if (this.#options.overwrite || this.#image.every((byte) => byte === 0)) return true;
      throw new NotALogError(
        `${name} holds no mirror log, but something else: its magic is ${hex(magic)}, expected ${hex(LOG_MAGIC)}. A new log ` +
          'would destroy it: check the device, zero its beginning, or ask to overwrite it',
      );
    }
    if (!isKnownVersion(version)) {
      throw new UnsupportedLogError(
        `the log on ${name} has version ${version}; only ${OLD_LOG_VERSION} and ${LOG_VERSION} are known. It was left as it is: ` +
          'use what wrote it, or zero its beginning and let everything be copied',
      );
    }
    return true;
  }

  /** What was read becomes the state, and is written back in the present shape. */
  async #takeOver(): Promise<void> {
    const { sync, syncAtEveryResume = false } = this.#options;
    const { magic, nrRegions: nrDescribed } = readLogHeader(this.#image);
    const isToldAnew = sync !== undefined && (syncAtEveryResume || !this.#hasResumed);
    const nrKept = isToldAnew || magic !== LOG_MAGIC ? 0 : Math.min(nrDescribed, this.nrRegions);
    this.#hasResumed = true;
    this.#imageBits.setRange(nrKept, this.nrRegions, isToldAnew && sync === 'nosync');
    // The device may have shrunk: up to the end of the word no bit is left that a later growth would take for true.
    const padded = new RegionBits(nrBytesOfBits(this.nrRegions) * 8, this.#imageBits.bytes);
    padded.setRange(this.nrRegions, padded.nrRegions, false);
    writeLogHeader(this.#image, this.nrRegions);
    this.cleanBits.copyFrom(this.#imageBits);
    this.syncBits.copyFrom(this.#imageBits);
    this.#nrMarked = 0;
    this.#nrCleared = 0;
    this.#isUnread = false;
    this.#isInDoubt = true;
    await this.flush().catch(() => undefined); // the health says it
  }

  get #hasWork(): boolean {
    return this.#isUnread || this.#isInDoubt || this.#hasUnflushedMarks || this.#nrMarked > 0 || this.#nrCleared > 0;
  }

  async #flush(): Promise<void> {
    const { name } = this.#device;
    this.#requireOpen();
    if (!this.#hasWork) return; // the one before has done it
    if (this.#isUnread) {
      throw new LogFailedError(`the log on ${name} could not be read, so it is not written: nothing is recorded there`);
    }
    if (this.#nrCleared > 0) await this.#coverByLegFlush();
    if (this.#isInDoubt || this.#nrMarked > 0) this.#hasUnflushedMarks = true;
    this.#settleImage();
    try {
      // A flush alone may be what is missing; but a device that lost one may have lost the write with it.
      await this.#device.write(0, this.#image);
      this.#isInDoubt = false;
    } catch (cause) {
      this.#isInDoubt = true;
      throw this.#failed('D', `cannot write the log on ${name}`, cause);
    }
    if (!this.#hasUnflushedMarks) return;
    try {
      await this.#device.flush();
      this.#hasUnflushedMarks = false;
    } catch (cause) {
      throw this.#failed('F', `cannot flush the log on ${name}`, cause);
    }
  }

  /** Flushes the legs; leaves in `#covered` what may be called clean then. */
  async #coverByLegFlush(): Promise<void> {
    invariant(this.#flushLegs !== undefined, 'a log is flushed before it is resumed');
    this.#covered = new RegionBits(this.nrRegions);
    this.#covered.copyFrom(this.cleanBits);
    const failedLegs = await this.#flushLegs();
    if (failedLegs.length === 0) return;
    this.#hasLostLegFlush = true;
    // What is clean in the image, an earlier flush has covered.
    for (let nr = this.cleanBits.next(true, 0); nr < this.nrRegions; nr = this.cleanBits.next(true, nr + 1)) {
      if (this.#imageBits.has(nr) && this.#options.dirtyAllOnLegFlushFailure !== true) continue;
      this.cleanBits.set(nr, false);
      this.cleanBitChanged(nr, false);
    }
    this.#covered.copyFrom(this.cleanBits);
  }

  /** Puts into the image what may be written now, and counts anew what has to wait for the next flush. */
  #settleImage(): void {
    this.#imageBits.copyFrom(this.#covered ?? this.cleanBits);
    const nrWaiting = this.#covered === undefined ? 0 : this.cleanBits.count() - this.#covered.count();
    this.#covered = undefined;
    this.#nrMarked = 0;
    this.#nrCleared = nrWaiting;
  }

  #failed(health: LogHealth, what: string, cause: unknown): LogFailedError {
    this.#health = health;
    const why = cause instanceof Error ? cause.message : String(cause);
    return new LogFailedError(`${what}: ${why}. What it should record is not durable`, { cause });
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`the log on ${this.#device.name} is closed`);
  }
}

const DONE = Promise.resolve();
const hex = (nr: number): string => `0x${nr.toString(16).padStart(8, '0')}`;
