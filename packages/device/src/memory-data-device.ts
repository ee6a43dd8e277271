/**
 * A data device in memory: for tests, for images that were downloaded or unpacked, and for browsers.
 *
 * Over bytes of the caller's it works in place. Otherwise it is sparse: pages of 64 KiB are made when something is first
 * written to them and dropped when they are discarded or zeroed whole, so that a device of 1 TiB costs what it holds. 64 KiB
 * because that is a thin pool's usual data block, and because a page costs about 200 bytes and half a microsecond besides
 * its bytes, which at 4 KiB would show.
 *
 * `allocation` knows holes by their missing page, and tells zeros from data by looking, 4 KiB at a time: so its answer is
 * true even when a test has changed `bytes` behind the device's back.
 *
 * Every request is done before its method returns; nothing is ever in flight, and who awaits one request after the other
 * never lets the event loop turn. Nothing outlives the process, so a flush has
 * nothing to do. `@pdata/testing` wraps devices to record, hold up, tear and fail their requests.
 */
import { appendExtent } from './allocation-extents.js';
import {
  type AllocationExtent,
  type DataDeviceHints,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from './data-device.js';
import { ClosedError, DeviceError, DeviceOpenError, ReadOnlyError } from './errors.js';
import type { GrowableDataDevice } from './growable-data-device.js';
import { requireDataSize, requireSectorRange, wholeSectors } from './sector-range.js';

const PAGE_SIZE = 64 * 1024;
const ALLOCATION_UNIT = 4096;
/** An answer ends after so many steps: 16 MiB of content looked at (3 ms if all of it is zeros), or 256 MiB of holes. */
const MOST_STEPS = 4096;

const DONE = Promise.resolve();

/** Either a size, for a sparse device of zeros, or the bytes to use. */
export type MemoryDataDeviceOptions =
  | {
      /** Name for messages; "memory" when left out. */
      readonly name?: string;
      /** Bytes, a multiple of 512. */
      readonly size: number;
      readonly bytes?: never;
      /** Default false. */
      readonly readOnly?: boolean;
    }
  | {
      /** Name for messages; "memory" when left out. */
      readonly name?: string;
      /** Used in place, not copied: what is written to the device is written here. A part of a sector at the end is ignored. */
      readonly bytes: Uint8Array;
      readonly size?: never;
      /** Default false. */
      readonly readOnly?: boolean;
    };

export class MemoryDataDevice implements GrowableDataDevice {
  readonly name: string;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  #size: number;
  /** The caller's bytes; undefined for a sparse device. */
  #bytes: Uint8Array | undefined;
  /** The pages of a sparse device that hold something, by number. */
  readonly #pages = new Map<number, Uint8Array>();
  /** Pages that a copy of this device, or the one it was copied from, may hold too: replaced before they are written. */
  readonly #shared = new Set<number>();
  #isClosed = false;

  /**
   * @throws {RangeError} when `size` is no size
   * @throws {@link DeviceOpenError} when `bytes` is shorter than a sector
   */
  constructor(options: MemoryDataDeviceOptions) {
    this.name = options.name ?? 'memory';
    this.readOnly = options.readOnly ?? false;
    if (options.bytes !== undefined) {
      this.#size = wholeSectors(options.bytes.byteLength);
      if (this.#size === 0) {
        throw new DeviceOpenError(
          `cannot use ${this.name}: it holds ${options.bytes.byteLength} bytes, less than one sector of ${SECTOR_SIZE}`,
        );
      }
      this.#bytes = options.bytes.subarray(0, this.#size);
    } else {
      requireDataSize(this.name, options.size, SECTOR_SIZE);
      this.#size = options.size;
    }
    const discardGranularity = this.#bytes === undefined ? PAGE_SIZE : SECTOR_SIZE;
    this.hints = { preferredSize: 4096, discardGranularity, fastZeroes: true };
  }

  get size(): number {
    return this.#size;
  }

  /** All bytes, live, of a device that was made over bytes; `grow` replaces the array. Readable after `close` too. */
  get bytes(): Uint8Array | undefined {
    return this.#bytes;
  }

  /** Memory in use for content, in bytes: what a sparse device holds, rounded up to pages. */
  get allocatedBytes(): number {
    return this.#bytes?.byteLength ?? this.#pages.size * PAGE_SIZE;
  }

  /**
   * A writable device of the same content, independent of this one. Pages of a sparse device are copied when either side
   * writes to them, so a copy costs little: crash tests make thousands. Works after `close` too.
   */
  copy(name = this.name): MemoryDataDevice {
    if (this.#bytes !== undefined) return new MemoryDataDevice({ name, bytes: new Uint8Array(this.#bytes) });
    const copy = new MemoryDataDevice({ name, size: this.#size });
    for (const [nr, page] of this.#pages) {
      copy.#pages.set(nr, page);
      copy.#shared.add(nr);
      this.#shared.add(nr);
    }
    return copy;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    try {
      this.#requireOpen();
      requireSectorRange(this, 'read', offset, into.byteLength);
      if (this.#bytes !== undefined) into.set(this.#bytes.subarray(offset, offset + into.byteLength));
      else this.#readPages(offset, into);
      return DONE;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  write(offset: number, from: Uint8Array, _options?: WriteOptions): Promise<void> {
    try {
      this.#requireWritable('write');
      requireSectorRange(this, 'write', offset, from.byteLength);
      if (this.#bytes !== undefined) this.#bytes.set(from, offset);
      else this.#writePages(offset, from);
      return DONE;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    try {
      this.#requireWritable('writeZeroes');
      requireSectorRange(this, 'writeZeroes', offset, length);
      this.#zero(offset, length);
      if (options?.keepAllocated && this.#bytes === undefined) this.#allocate(offset, length);
      return DONE;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  discard(offset: number, length: number, _options?: WriteOptions): Promise<void> {
    try {
      this.#requireWritable('discard');
      requireSectorRange(this, 'discard', offset, length);
      this.#zero(offset, length);
      return DONE;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async flush(): Promise<void> {
    this.#requireOpen();
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#requireOpen();
    requireSectorRange(this, 'allocation', offset, length);
    const extents: AllocationExtent[] = [];
    const end = offset + length;
    for (let at = offset, nrSteps = 0; at < end && nrSteps < MOST_STEPS; nrSteps++) {
      const pageNr = Math.floor(at / PAGE_SIZE);
      const content = this.#bytes ?? this.#pages.get(pageNr);
      if (content === undefined) {
        const next = Math.min(end, this.#pages.size === 0 ? end : (pageNr + 1) * PAGE_SIZE);
        appendExtent(extents, at, next - at, 'hole');
        at = next;
        continue;
      }
      const next = Math.min(end, (Math.floor(at / ALLOCATION_UNIT) + 1) * ALLOCATION_UNIT);
      const contentStart = this.#bytes === undefined ? pageNr * PAGE_SIZE : 0;
      const state = isZero(content, at - contentStart, next - contentStart) ? 'zero' : 'data';
      appendExtent(extents, at, next - at, state);
      at = next;
    }
    return extents;
  }

  async grow(size: number): Promise<void> {
    this.#requireWritable('grow');
    requireDataSize(this.name, size, this.#size);
    if (this.#bytes !== undefined && size > this.#size) {
      const grown = this.#memory(size);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#size = size;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #readPages(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.byteLength; ) {
      const pageNr = Math.floor((offset + done) / PAGE_SIZE);
      const inPage = offset + done - pageNr * PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - inPage, into.byteLength - done);
      const page = this.#pages.get(pageNr);
      if (page === undefined) into.fill(0, done, done + length);
      else into.set(page.subarray(inPage, inPage + length), done);
      done += length;
    }
  }

  #writePages(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.byteLength; ) {
      const pageNr = Math.floor((offset + done) / PAGE_SIZE);
      const inPage = offset + done - pageNr * PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - inPage, from.byteLength - done);
      this.#pageForWriting(pageNr).set(from.subarray(done, done + length), inPage);
      done += length;
    }
  }

  #zero(offset: number, length: number): void {
    if (this.#bytes !== undefined) {
      this.#bytes.fill(0, offset, offset + length);
      return;
    }
    const end = offset + length;
    const firstPageNr = Math.floor(offset / PAGE_SIZE);
    const nrPages = Math.ceil(end / PAGE_SIZE) - firstPageNr;
    // Whichever is less: the pages of the range, or those that there are.
    if (nrPages <= this.#pages.size) {
      for (let nr = firstPageNr; nr < firstPageNr + nrPages; nr++) this.#zeroInPage(nr, offset, end);
    } else {
      for (const nr of this.#pages.keys()) this.#zeroInPage(nr, offset, end); // a Map bears deletion while iterated
    }
  }

  /** Zeroes what `offset`..`end` covers of a page, and drops the page when that is all of it. */
  #zeroInPage(pageNr: number, offset: number, end: number): void {
    const page = this.#pages.get(pageNr);
    if (page === undefined) return;
    const pageStart = pageNr * PAGE_SIZE;
    const from = Math.max(0, offset - pageStart);
    const to = Math.min(PAGE_SIZE, this.#size - pageStart, end - pageStart);
    if (to <= from) return;
    if (from === 0 && to === Math.min(PAGE_SIZE, this.#size - pageStart)) {
      this.#pages.delete(pageNr);
      this.#shared.delete(pageNr);
    } else this.#pageForWriting(pageNr).fill(0, from, to);
  }

  #allocate(offset: number, length: number): void {
    for (let nr = Math.floor(offset / PAGE_SIZE); nr * PAGE_SIZE < offset + length; nr++) {
      if (!this.#pages.has(nr)) this.#pages.set(nr, this.#memory(PAGE_SIZE));
    }
  }

  #pageForWriting(pageNr: number): Uint8Array {
    const found = this.#pages.get(pageNr);
    if (found !== undefined && !this.#shared.has(pageNr)) return found;
    const page = this.#memory(PAGE_SIZE);
    if (found !== undefined) page.set(found);
    this.#shared.delete(pageNr);
    this.#pages.set(pageNr, page);
    return page;
  }

  #memory(nrBytes: number): Uint8Array {
    try {
      return new Uint8Array(nrBytes);
    } catch (cause) {
      throw new DeviceError(`cannot store ${nrBytes} bytes more in ${this.name}: no memory for them`, { cause });
    }
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`${this.name} is closed`);
  }

  #requireWritable(operation: string): void {
    this.#requireOpen();
    if (this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}
