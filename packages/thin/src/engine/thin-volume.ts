/**
 * A thin volume: a data device whose blocks are provisioned when they are first written, and shared with its snapshots
 * until they are written again.
 *
 * Here requests are checked, split at block borders and counted; what happens in a block is block-io.ts. The parts of a
 * request go on at once. A request fails with the first error of its parts, when all of them have ended.
 *
 * The pool stores no size: it is given when the volume is opened, and may change.
 *
 * Format: docs/format/thin.md, sections 9 and 11.
 */
import {
  type AllocationExtent,
  appendExtent,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  type RangeOperation,
  ReadOnlyError,
  requireDataSize,
  requireSectorRange,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { AbortedChangesError, allEnded, inWords } from '@pdata/device/engine';
import { readInBlock, writeInBlock, zeroInBlock } from './block-io.js';
import { unmapBlocks } from './discards.js';
import { PoolModeError } from './errors.js';
import type { OpenThin } from './open-thin.js';
import type { PoolCore } from './pool-core.js';
import { canChange } from './pool-mode.js';
import { type ThinStatus, thinStatus, thinStatusLine } from './status.js';
import type { VolumeAccess } from './volume-access.js';

export interface OpenVolumeOptions {
  /** Bytes, a multiple of 512. Any: the pool does not record it. */
  readonly size: number;
  /** What unmapped blocks show. Never written. Stays the caller's: it is not closed with the volume. */
  readonly externalOrigin?: DataDevice;
  /** Default false. */
  readonly readOnly?: boolean;
  /** For messages; "thin ID" when left out. */
  readonly name?: string;
}

/** Extents of an answer to `allocation`, about, and virtual blocks looked at for it. */
const MOST_EXTENTS = 4096;
const MOST_BLOCKS = 65_536;

export class ThinVolume implements DataDevice {
  readonly name: string;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  readonly #access: VolumeAccess;
  readonly #core: PoolCore;
  readonly #thin: OpenThin;
  readonly #released: (volume: ThinVolume) => void;
  #size: number;
  #nrInFlight = 0;
  #closing: Promise<void> | undefined;
  #drained: (() => void) | undefined;

  /** @internal See `ThinPool.openVolume`. `released` is called once, when the volume has been closed. */
  constructor(core: PoolCore, thin: OpenThin, options: OpenVolumeOptions, released: (volume: ThinVolume) => void) {
    this.#core = core;
    this.#thin = thin;
    this.#access = { core, thin, externalOrigin: options.externalOrigin };
    this.#released = released;
    this.name = options.name ?? `thin ${thin.thinId}`;
    this.readOnly = (options.readOnly ?? false) || core.data.readOnly;
    requireDataSize(this.name, options.size, 0);
    this.#size = options.size;
    const { blockSize, settings } = core;
    this.hints = {
      preferredSize: powerOfTwoIn(blockSize),
      discardGranularity: settings.ignoreDiscard ? 0 : blockSize,
      fastZeroes: this.#zeroesByUnmapping,
    };
  }

  get thinId(): number {
    return this.#thin.thinId;
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /**
   * Changes what is visible of the volume. Nothing is unmapped by a smaller size: what lies behind it is there again when the
   * volume grows.
   */
  async resize(size: number): Promise<void> {
    this.#refuseClosed();
    requireDataSize(this.name, size, 0);
    this.#size = size;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#check('read', offset, into.byteLength, false);
    const { blockSize } = this.#core;
    const virtualBlock = Math.floor(offset / blockSize);
    const at = offset - virtualBlock * blockSize;
    if (into.byteLength === 0) return;
    this.#nrInFlight++;
    try {
      if (at + into.byteLength <= blockSize) await readInBlock(this.#access, virtualBlock, at, into);
      else await this.#readBlocks(offset, into);
    } finally {
      this.#ended();
    }
  }

  async write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    this.#check('write', offset, from.byteLength, true);
    const { blockSize } = this.#core;
    const { writers } = this.#thin;
    if (from.byteLength === 0 && !options?.fua) return;
    const virtualBlock = Math.floor(offset / blockSize);
    const at = offset - virtualBlock * blockSize;
    const fua = options?.fua ?? false;
    let durable = false;
    this.#nrInFlight++;
    try {
      if (from.byteLength === 0) {
        // nothing but the flush
      } else if (at + from.byteLength <= blockSize) {
        if (!writers.tryEnter()) await writers.enter();
        try {
          durable = await writeInBlock(this.#access, virtualBlock, at, from, fua);
        } finally {
          writers.leave();
        }
      } else {
        await this.#writeBlocks(offset, from);
      }
      if (fua && !durable) await this.#makeDurable();
    } finally {
      this.#ended();
    }
  }

  async writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    this.#check('writeZeroes', offset, length, true);
    this.#nrInFlight++;
    try {
      if (length > 0) await this.#zero(offset, offset + length, options?.keepAllocated ?? false);
      if (options?.fua) await this.#makeDurable();
    } finally {
      this.#ended();
    }
  }

  /** Unmaps whole blocks; with an external origin, that shows again. Reported as done in modes that do not allow it. */
  async discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    this.#check('discard', offset, length, true);
    this.#core.refuseFailed();
    if (this.#core.settings.ignoreDiscard) return;
    const { blockSize } = this.#core;
    this.#nrInFlight++;
    try {
      const begin = Math.ceil(offset / blockSize);
      const end = Math.floor((offset + length) / blockSize);
      if (begin < end && canChange(this.#core.mode)) {
        await this.#unmap(begin, end).catch((error) => {
          // The mode changed meanwhile.
          if (!(error instanceof PoolModeError) || this.#core.mode === 'fail') throw error;
        });
      }
      if (options?.fua) await this.#makeDurable();
    } finally {
      this.#ended();
    }
  }

  async flush(): Promise<void> {
    this.#refuseClosed();
    this.#nrInFlight++;
    try {
      await this.#makeDurable();
    } finally {
      this.#ended();
    }
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#check('allocation', offset, length, false);
    this.#core.refuseFailed();
    this.#nrInFlight++;
    try {
      return await this.#allocation(offset, offset + length);
    } finally {
      this.#ended();
    }
  }

  /** As the kernel's thin target reports it. @throws {@link PoolModeError} in fail mode */
  status(): ThinStatus {
    this.#refuseClosed();
    return thinStatus(this.#core, this.#thin.thinId);
  }

  /** The kernel's status line: sectors mapped, and the highest of them; `Fail` in fail mode. */
  statusLine(): string {
    this.#refuseClosed();
    return thinStatusLine(this.#core, this.#thin.thinId);
  }

  /** Waits for what is in flight; writes that wait for space are given up. Does not flush. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#core.space.leave(this.#access);
    if (this.#nrInFlight > 0) {
      await new Promise<void>((drained) => {
        this.#drained = drained;
      });
    }
    this.#released(this);
  }

  #ended(): void {
    this.#nrInFlight--;
    if (this.#nrInFlight === 0 && this.#drained !== undefined) this.#drained();
  }

  #check(operation: RangeOperation, offset: number, length: number, writes: boolean): void {
    this.#refuseClosed();
    requireSectorRange(this, operation, offset, length);
    if (writes && this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
  }

  #readBlocks(offset: number, into: Uint8Array): Promise<void> {
    return this.#inBlocks(offset, offset + into.byteLength, (virtualBlock, at, begin, length) =>
      readInBlock(this.#access, virtualBlock, at, into.subarray(begin - offset, begin - offset + length)),
    );
  }

  async #writeBlocks(offset: number, from: Uint8Array): Promise<void> {
    const end = offset + from.byteLength;
    await this.#asWriters(nrBlocksTouched(offset, end, this.#core.blockSize), (ended) =>
      this.#inBlocks(offset, end, (virtualBlock, at, begin, length) =>
        writeInBlock(
          this.#access,
          virtualBlock,
          at,
          from.subarray(begin - offset, begin - offset + length),
          false,
        ).finally(ended),
      ),
    );
  }

  /** Lets the `nr` parts of a request in together: so a snapshot has all of it or nothing. Each of them says when it has ended. */
  async #asWriters(nr: number, work: (ended: () => void) => Promise<void>): Promise<void> {
    const { writers } = this.#thin;
    if (!writers.tryEnter(nr)) await writers.enter(nr);
    await work(() => writers.leave());
  }

  /** Works on each block that bytes `offset`..`end` touch; fails when all have ended, with the first error. */
  async #inBlocks(
    offset: number,
    end: number,
    work: (virtualBlock: number, at: number, begin: number, length: number) => Promise<unknown>,
  ): Promise<void> {
    const { blockSize } = this.#core;
    const parts: Promise<unknown>[] = [];
    for (let begin = offset; begin < end; ) {
      const virtualBlock = Math.floor(begin / blockSize);
      const at = begin - virtualBlock * blockSize;
      const length = Math.min(blockSize - at, end - begin);
      parts.push(work(virtualBlock, at, begin, length));
      begin += length;
    }
    await allEnded(parts);
  }

  get #zeroesByUnmapping(): boolean {
    // A block that is provisioned without zeroing would show what it held before, in what was to be zeros.
    return this.#access.externalOrigin === undefined && !this.#core.settings.skipBlockZeroing;
  }

  /** The parts of blocks at the ends, and the whole blocks between them: let in together, so that a snapshot has all or nothing. */
  async #zero(begin: number, end: number, keepAllocated: boolean): Promise<void> {
    const { blockSize } = this.#core;
    const firstWhole = Math.ceil(begin / blockSize);
    const endWhole = Math.floor(end / blockSize);
    const unmaps = this.#zeroesByUnmapping && !keepAllocated && canChange(this.#core.mode);
    if (!unmaps || firstWhole >= endWhole) {
      await this.#zeroParts(begin, end, keepAllocated);
      return;
    }
    const ends = [
      [begin, firstWhole * blockSize],
      [endWhole * blockSize, end],
    ].filter((part): part is [number, number] => (part[0] as number) < (part[1] as number));
    await this.#asWriters(ends.length + 1, (ended) =>
      allEnded([
        ...ends.map(([from, to]) => this.#zeroBlocks(from, to, keepAllocated, ended)),
        unmapBlocks(this.#core, this.#thin, firstWhole, endWhole).finally(ended),
      ]),
    );
  }

  /** Block after block, a few at a time: a request may be as large as the volume. */
  async #zeroParts(begin: number, end: number, keepAllocated: boolean): Promise<void> {
    const { blockSize } = this.#core;
    const most = 64 * blockSize;
    for (let at = begin; at < end; ) {
      const next = Math.min(end, (Math.floor(at / most) + 1) * most);
      await this.#asWriters(nrBlocksTouched(at, next, blockSize), (ended) =>
        this.#zeroBlocks(at, next, keepAllocated, ended),
      );
      at = next;
    }
  }

  #zeroBlocks(begin: number, end: number, keepAllocated: boolean, ended: () => void): Promise<void> {
    const provisioned = keepAllocated || this.#core.settings.skipBlockZeroing;
    return this.#inBlocks(begin, end, (virtualBlock, at, _, length) => {
      const write = { virtualBlock, at, length, from: undefined, keepAllocated };
      return zeroInBlock(this.#access, write, provisioned).finally(ended);
    });
  }

  async #unmap(begin: number, end: number): Promise<void> {
    await this.#asWriters(1, (ended) => unmapBlocks(this.#core, this.#thin, begin, end).finally(ended));
  }

  async #makeDurable(): Promise<void> {
    const { abortedBy } = this.#thin;
    if (abortedBy !== undefined) {
      throw new AbortedChangesError(
        `${this.name} has lost what was written to it since the last flush that succeeded: ${inWords(abortedBy)}; open it again to go on`,
        { cause: abortedBy },
      );
    }
    this.#core.refuseFailed();
    if (this.#core.hasUncommitted(this.#thin)) await this.#core.commit();
    else if (!this.#core.data.readOnly) await this.#core.flushData();
  }

  async #allocation(offset: number, end: number): Promise<AllocationExtent[]> {
    const { metadata, blockSize } = this.#core;
    const extents: AllocationExtent[] = [];
    const endBlock = Math.ceil(end / blockSize);
    let nrLookedAt = 0;
    for (let at = offset; at < end && extents.length < MOST_EXTENTS && nrLookedAt < MOST_BLOCKS; ) {
      const block = Math.floor(at / blockSize);
      const mapped = metadata.findRange(this.#thin.thinId, block, endBlock, MOST_BLOCKS);
      const holeEnd = Math.min(end, (mapped?.begin ?? endBlock) * blockSize);
      if (at < holeEnd) at = await this.#unmappedAllocation(extents, at, holeEnd);
      if (at < holeEnd) break; // the origin's answer ended there
      if (mapped === undefined) continue;
      nrLookedAt += mapped.end - mapped.begin;
      const mappedEnd = Math.min(end, mapped.end * blockSize);
      appendExtent(extents, at, mappedEnd - at, 'data');
      at = mappedEnd;
    }
    return extents;
  }

  /** Returns how far it knows. */
  async #unmappedAllocation(extents: AllocationExtent[], begin: number, end: number): Promise<number> {
    const origin = this.#access.externalOrigin;
    let at = begin;
    const originEnd = Math.min(end, origin?.size ?? 0);
    if (origin !== undefined && at < originEnd) {
      for (const { offset, length, state } of await origin.allocation(at, originEnd - at)) {
        appendExtent(extents, offset, length, state);
        at = offset + length;
      }
      if (at < originEnd) return at;
    }
    appendExtent(extents, at, end - at, 'hole');
    return end;
  }
}

const nrBlocksTouched = (begin: number, end: number, blockSize: number): number =>
  Math.ceil(end / blockSize) - Math.floor(begin / blockSize);

/** The largest power of two that divides a block. */
function powerOfTwoIn(blockSize: number): number {
  let power = 512;
  while (blockSize % (2 * power) === 0) power *= 2;
  return power;
}
