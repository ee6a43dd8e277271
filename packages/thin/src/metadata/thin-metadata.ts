/**
 * A pool's metadata: the transactional operations of the kernel's thin-pool target on it, to the bit.
 *
 * Life: opened or formatted; changed; committed or aborted, any number of times; closed. What is not committed when it is
 * closed is gone. Between commits readers of the device see the last commit.
 *
 * What can go wrong, and what it leaves:
 *   a request that makes no sense    refused before anything changes
 *   too little metadata space        refused before anything changes; a reserve is kept so that `commit` still works
 *   a change that fails half-way     (device, corrupt block): only `abort` is possible from then on
 *   a commit that fails              the last commit is shown, read-only, until the metadata is opened again
 *
 * Not here: I/O to data blocks, modes, messages: the engine's. Data blocks have to be durable before a commit that maps
 * them; `preCommit` is where to see to that.
 *
 * Format: docs/format/thin.md, sections 2 to 7.
 */
import { ClosedError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import {
  AbortRequiredError,
  BlockManager,
  type BlockManagerOptions,
  CountRangeError,
  isUnformatted,
  MAX_COUNT,
  MAX_METADATA_BLOCKS,
  NoSpaceError,
  nrBitmapsFor,
  wipeSuperblock,
  withWriterClaim,
} from '@pdata/persistent-data';
import type { DeviceDetails } from '../format/device-details.js';
import { checkDataBlockSize, metadataReserve } from '../format/limits.js';
import { NEEDS_CHECK } from '../format/superblock.js';
import { type ChangedRange, nextChangedRange } from './changed-ranges.js';
import * as devices from './devices.js';
import { CommitError, MetadataSnapshotError, NotFormattedError, ResizeError, TransactionIdError } from './errors.js';
import { LowWaterMark } from './low-water-mark.js';
import type { MappedRange, Mapping } from './mappings.js';
import * as mappings from './mappings.js';
import * as metadataSnapshot from './metadata-snapshot.js';
import { PoolState } from './pool-state.js';
import { PoolTransaction } from './pool-transaction.js';
import { refuseBlock, refuseNrDataBlocks, refuseRange, refuseTooSmall, refuseUnsupported } from './refusals.js';

export interface ThinMetadataOptions extends BlockManagerOptions {
  /**
   * Called by every commit before anything is written: makes the data blocks durable that the commit is about to map. What
   * it throws fails the commit.
   */
  readonly preCommit?: () => void;
}

export interface OpenThinMetadataOptions extends ThinMetadataOptions {
  /** Sectors; when given, the metadata must have been formatted with the same. */
  readonly dataBlockSize?: number;
}

export interface FormatThinMetadataOptions extends ThinMetadataOptions {
  /** Sectors per data block: a multiple of 128 (64 KiB) up to 2 097 152 (1 GiB). Fixed for the life of the metadata. */
  readonly dataBlockSize: number;
  /** Data blocks of the pool; 0 unless told, as the kernel leaves it before the pool is first resumed. */
  readonly nrDataBlocks?: number;
}

/**
 * The metadata of one pool. Begin with {@link ThinMetadata.open} or {@link ThinMetadata.format}.
 *
 * All changes since the last {@link ThinMetadata.commit} are one transaction: visible here at once, durable all together or
 * not at all. Once a change has failed half-way everything but {@link ThinMetadata.abort} and {@link ThinMetadata.close}
 * throws {@link AbortRequiredError}; after `close` everything throws {@link ClosedError}. Every change throws
 * {@link ReadOnlyError} when the metadata is read-only, and {@link NoSpaceError} (`of` is `metadata`) when it would leave too few
 * free metadata blocks: refused before it began, or, if it turned out larger than expected, with only an abort left.
 */
export class ThinMetadata {
  readonly #transaction: PoolTransaction;

  private constructor(transaction: PoolTransaction) {
    this.#transaction = transaction;
  }

  /**
   * Opens formatted metadata; read-only if `device` is.
   *
   * @throws {@link NotFormattedError} when block 0 is all zero
   * @throws {@link UnsupportedMetadataError} for feature flags or a data block size that do not fit
   * @throws {@link CorruptBlockError} when what opening reads is damaged
   * @throws {@link DeviceBusyError} when this process has the same device open for writing already
   */
  static open(device: MetadataDevice, options: OpenThinMetadataOptions = {}): ThinMetadata {
    return withWriterClaim(device, (unclaim) => {
      const blocks = new BlockManager(device, options);
      if (isUnformatted(device)) {
        throw new NotFormattedError(
          `${device.name} holds no thin metadata: its first block is empty; if a pool was here, restore a dump into it, else format it`,
        );
      }
      const state = PoolState.open(blocks);
      refuseUnsupported(device, state, options.dataBlockSize);
      return new ThinMetadata(new PoolTransaction(blocks, state, unclaim, options.preCommit));
    });
  }

  /**
   * Makes new, empty metadata and commits it. Whatever the device held is lost; asking first is the caller's. A crash on the
   * way leaves the device unformatted, or formatted; never what it held before in part.
   *
   * @throws {@link NoSpaceError} for a device below 8 blocks; with data blocks, below about 12: formatted then, without them
   * @throws RangeError for a data block size or a number of data blocks outside the limits
   */
  static format(device: MetadataDevice, options: FormatThinMetadataOptions): ThinMetadata {
    const { dataBlockSize, nrDataBlocks = 0 } = options;
    const problem = checkDataBlockSize(dataBlockSize);
    if (problem !== undefined) throw new RangeError(`the data block size is ${problem}, not ${dataBlockSize}`);
    refuseNrDataBlocks(nrDataBlocks);
    return withWriterClaim(device, (unclaim) => {
      if (device.readOnly) throw new ReadOnlyError(`${device.name} is open for reading only and cannot be formatted`);
      refuseTooSmall(device);
      const blocks = new BlockManager(device, options);
      wipeSuperblock(device);
      const state = PoolState.format(blocks, dataBlockSize);
      state.commit({ formatting: true });
      const metadata = new ThinMetadata(new PoolTransaction(blocks, state, unclaim, options.preCommit));
      if (nrDataBlocks > 0) {
        metadata.resizeData(nrDataBlocks);
        metadata.commit();
      }
      return metadata;
    });
  }

  /** Whether changes are refused: the device is open for reading, or a commit has failed. */
  get readOnly(): boolean {
    return this.#transaction.readOnly;
  }

  /** Whether a change has failed half-way, so that only {@link ThinMetadata.abort} and `close` are possible. */
  get abortRequired(): boolean {
    return this.#transaction.abortRequired;
  }

  /** Sectors per data block. */
  get dataBlockSize(): number {
    return this.#open.superblock.dataBlockSize;
  }

  /** User space's own number; the kernel, like us, only keeps it and stamps new devices with it. */
  get transactionId(): bigint {
    return this.#open.superblock.transactionId;
  }

  /** Snapshots taken so far: the pool's clock. */
  get time(): number {
    return this.#open.superblock.time;
  }

  /** Data blocks of the pool, growth of this transaction included. */
  get nrDataBlocks(): number {
    return this.#open.dataSpaceMap.nrBlocks;
  }

  /**
   * Free data blocks, as the kernel counts them: those that this transaction gave back are in, although they can be had only
   * after the commit; those that it added are not.
   */
  get nrFreeDataBlocks(): number {
    return this.#open.dataSpaceMap.nrFree;
  }

  /** Metadata blocks that the pool makes use of, at most 4 161 600; the device may have more. Growth of this transaction included. */
  get nrMetadataBlocks(): number {
    return this.#open.tm.spaceMap.nrBlocks;
  }

  /** Metadata blocks that this transaction can still take, those in reserve included. Those it gave back come with the commit. */
  get nrFreeMetadataBlocks(): number {
    return this.#open.tm.spaceMap.nrFree;
  }

  /**
   * Metadata blocks that changes leave alone, so that there is room to commit: a tenth, at most 4096. Deleting, discarding and
   * releasing may use half of it. The kernel's status line counts it as used.
   */
  get metadataReserve(): number {
    return metadataReserve(this.nrMetadataBlocks);
  }

  /** Block of the metadata snapshot, if one is held. */
  get heldRoot(): number | undefined {
    return this.#open.superblock.heldRoot || undefined;
  }

  /** Whether the pool says of itself that it has to be checked; see {@link setNeedsCheck}. */
  get needsCheck(): boolean {
    return (this.#open.superblock.flags & NEEDS_CHECK) !== 0;
  }

  /** Every device, in order of ids, as this transaction sees it. The pool may be changed meanwhile. */
  *devices(): Generator<{ readonly thinId: number; readonly details: DeviceDetails }> {
    for (
      let device = devices.nextDevice(this.#open, 0);
      device !== undefined;
      device = devices.nextDevice(this.#open, device.thinId + 1)
    ) {
      yield device;
    }
  }

  /** The record of device `thinId`; undefined when there is none. */
  details(thinId: number): DeviceDetails | undefined {
    if (!devices.hasDevice(this.#open, thinId)) return undefined;
    return devices.snapshotOf(devices.openDetails(this.#open, thinId));
  }

  /**
   * A new device without mappings. Ids are whole numbers from 0 to 2^24 - 1.
   * @throws {@link DeviceExistsError}
   */
  createThin(thinId: number): void {
    devices.refuseExisting(this.#open, thinId);
    this.#transaction.change('grows', (state) => devices.createThin(state, thinId));
  }

  /**
   * A new device with the mappings that `originId` has now, which may be a snapshot itself; both go their own ways from here.
   * Costs the same however large the origin is, and a unit of the pool's time. The origin should not be written to meanwhile:
   * what is in flight may or may not be in the snapshot.
   * @throws {@link DeviceExistsError}, {@link NoSuchDeviceError}
   * @throws {@link PoolTimeError} when 2^24 - 1 snapshots have been taken
   */
  createSnapshot(thinId: number, originId: number): void {
    devices.refuseExisting(this.#open, thinId);
    devices.openDetails(this.#open, originId);
    devices.refuseLateSnapshot(this.#open);
    this.#transaction.change('grows', (state) => devices.createSnapshot(state, thinId, originId));
  }

  /**
   * Deletes a device, and gives back what nobody shares with it. Whether somebody uses it is for the caller to know.
   * @throws {@link NoSuchDeviceError}
   */
  deleteDevice(thinId: number): void {
    devices.openDetails(this.#open, thinId);
    this.#transaction.change('frees', (state) => devices.deleteDevice(state, thinId));
  }

  /** The mapping of a virtual block; undefined when it has none. @throws {@link NoSuchDeviceError} */
  find(thinId: number, virtualBlock: number): Mapping | undefined {
    refuseBlock('virtual block', virtualBlock, Number.MAX_SAFE_INTEGER);
    return mappings.find(this.#open, thinId, virtualBlock);
  }

  /**
   * The first run of mappings in virtual blocks `begin`..`end` (exclusive), cut off at `end`; undefined when none is mapped.
   * Costs its length; at `mostBlocks` it is cut off, too.
   * @throws {@link NoSuchDeviceError}
   */
  findRange(
    thinId: number,
    begin: number,
    end: number,
    mostBlocks = Number.POSITIVE_INFINITY,
  ): MappedRange | undefined {
    refuseRange('virtual blocks', begin, end, Number.MAX_SAFE_INTEGER);
    return mappings.findRange(this.#open, thinId, begin, end, mostBlocks);
  }

  /** All runs of a device, or of a part of it, in order. The pool may be changed meanwhile. @throws {@link NoSuchDeviceError} */
  *mappedRanges(thinId: number, begin = 0, end = Number.MAX_SAFE_INTEGER): Generator<MappedRange> {
    for (
      let range = this.findRange(thinId, begin, end);
      range !== undefined;
      range = this.findRange(thinId, range.end, end)
    ) {
      yield range;
    }
  }

  /**
   * The ranges in which device `thinId` may differ from `baseId`, in order: virtual blocks that do not have the same data block
   * in both. Costs what has changed since the one was a snapshot of the other, or both of a third, however large they are. The
   * pool may be changed meanwhile: each range tells of the pool as it is then. @throws {@link NoSuchDeviceError}
   */
  *changedRanges(thinId: number, baseId: number, begin = 0, end = Number.POSITIVE_INFINITY): Generator<ChangedRange> {
    refuseRange('virtual blocks', begin, Math.min(end, Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
    for (
      let range = nextChangedRange(this.#open, thinId, baseId, begin, end);
      range !== undefined;
      range = nextChangedRange(this.#open, thinId, baseId, range.end, end)
    ) {
      yield range;
    }
  }

  /** The highest mapped virtual block; undefined when none is mapped. @throws {@link NoSuchDeviceError} */
  highestMapped(thinId: number): number | undefined {
    devices.openDetails(this.#open, thinId);
    return this.#open.mappings.subtree([thinId])?.last()?.key;
  }

  /**
   * A free data block, with the one reference that {@link insert} will take over. Whoever does not insert it gives it back by
   * {@link decDataBlocks}; committed without either, it is lost.
   * @throws {@link NoSpaceError} (`of` is `data`) when no data block is free, now and in the last commit: nothing has changed, and
   * a commit makes those free that this transaction gave back
   */
  allocateDataBlock(): number {
    const { dataSpaceMap } = this.#open;
    if (dataSpaceMap.nrFree <= 0) {
      throw new NoSpaceError(
        'data',
        `the pool has no free data block: all ${dataSpaceMap.committedNrBlocks} are in use; grow it, or discard and commit`,
      );
    }
    let block = -1;
    this.#transaction.change('grows', () => {
      block = dataSpaceMap.newBlock();
    });
    return block;
  }

  /**
   * Maps `virtualBlock` to `dataBlock`, in place of what it was mapped to; true when it was not mapped. Takes over the reference
   * of {@link allocateDataBlock}, unless it is the data block that was mapped there before, whose reference stays.
   * The data block's content is to be written first: a crash after the commit would show what it held before.
   * @throws {@link NoSuchDeviceError}, {@link PoolTimeError}
   * @throws {@link CountRangeError} when `dataBlock` is free
   */
  insert(thinId: number, virtualBlock: number, dataBlock: number): boolean {
    devices.openDetails(this.#open, thinId);
    refuseBlock('virtual block', virtualBlock, Number.MAX_SAFE_INTEGER);
    refuseBlock('data block', dataBlock, this.nrDataBlocks);
    devices.refuseLateMapping(this.#open);
    if (this.dataBlockCount(dataBlock) === 0) {
      throw new CountRangeError(`data block ${dataBlock} is free: allocate it, then map it`);
    }
    let isNew = false;
    this.#transaction.change('grows', (state) => {
      isNew = mappings.insert(state, thinId, virtualBlock, dataBlock);
    });
    return isNew;
  }

  /** Removes one mapping; false when there is none. @throws {@link NoSuchDeviceError} */
  remove(thinId: number, virtualBlock: number): boolean {
    return this.removeRange(thinId, virtualBlock, virtualBlock + 1) === 1;
  }

  /**
   * Removes the mappings of virtual blocks `begin`..`end` (exclusive); returns how many there were. Their data blocks can be had
   * again after the commit, if nobody shares them.
   * @throws {@link NoSuchDeviceError}
   */
  removeRange(thinId: number, begin: number, end: number): number {
    devices.openDetails(this.#open, thinId);
    refuseRange('virtual blocks', begin, end, Number.MAX_SAFE_INTEGER);
    if (this.findRange(thinId, begin, end, 1) === undefined) return 0;
    let nr = 0;
    this.#transaction.change('frees', (state) => {
      nr = mappings.removeRange(state, thinId, begin, end);
    });
    return nr;
  }

  /**
   * References to a data block: from leaves of mappings, which devices may share and then count once, and from
   * {@link incDataBlocks}.
   */
  dataBlockCount(dataBlock: number): number {
    return this.#open.dataSpaceMap.count(dataBlock);
  }

  /** Whether more than one reference leads to a data block: the exact test, where {@link Mapping.shared} is one-sided. */
  isDataBlockShared(dataBlock: number): boolean {
    return this.#open.dataSpaceMap.isShared(dataBlock);
  }

  /**
   * One more reference to each of data blocks `begin`..`end` (exclusive), free ones included: so they are not reused while a
   * discard of them is on its way.
   */
  incDataBlocks(begin: number, end: number): void {
    this.#refuseCounts(begin, end, (count) => count < MAX_COUNT, `has ${MAX_COUNT} references, the most there can be`);
    this.#transaction.change('grows', ({ dataSpaceMap }) => dataSpaceMap.inc(begin, end));
  }

  /**
   * One reference less to each of `begin`..`end` (exclusive), of those that {@link allocateDataBlock} or
   * {@link incDataBlocks} gave. The last one frees the block, for use after the commit.
   * @throws {@link CountRangeError} when one of them has none
   */
  decDataBlocks(begin: number, end: number): void {
    this.#refuseCounts(begin, end, (count) => count > 0, 'has no reference to give up');
    // Not held up by the reserve: whoever was refused a mapping must be able to give back the block it was for.
    this.#transaction.change('none', ({ dataSpaceMap }) => dataSpaceMap.dec(begin, end));
  }

  /**
   * Sets {@link transactionId} to `next`, any 64 bits, if it is `current`.
   * @throws {@link TransactionIdError} if it is another: nothing is changed
   */
  setTransactionId(current: bigint, next: bigint): void {
    if (next < 0n || next >= 2n ** 64n) throw new RangeError(`a transaction id has 64 bits; ${next} does not fit`);
    if (this.transactionId !== current) {
      throw new TransactionIdError(
        `the transaction id is ${this.transactionId}, not ${current}: somebody else has changed the pool; see what it holds now`,
      );
    }
    this.#transaction.change('none', ({ superblock }) => {
      superblock.transactionId = next;
    });
  }

  /**
   * Commits, then takes a metadata snapshot, which the next commit makes real; returns its block. Whatever it reaches stays as
   * it is until it is released, so that others can read it (with the device open without a lock) while the pool goes on.
   * @throws {@link MetadataSnapshotError} when one is held
   * @throws {@link CommitError}
   */
  reserveMetadataSnapshot(): number {
    if (this.heldRoot !== undefined) {
      throw new MetadataSnapshotError(
        `a metadata snapshot is held already, at block ${this.heldRoot}: release it first`,
      );
    }
    this.commit();
    this.#transaction.change('grows', (state) => metadataSnapshot.reserve(state));
    return this.#open.superblock.heldRoot;
  }

  /** Gives back what only the metadata snapshot holds. @throws {@link MetadataSnapshotError} when none is held */
  releaseMetadataSnapshot(): void {
    if (this.heldRoot === undefined)
      throw new MetadataSnapshotError('no metadata snapshot is held: there is nothing to release');
    this.#transaction.change('frees', (state) => metadataSnapshot.release(state));
  }

  /**
   * Grows the pool to `nrDataBlocks`; the new ones can be allocated after the commit. Takes a metadata block for each 16 320.
   * @throws {@link ResizeError} for fewer than there are, or while a check is due
   */
  resizeData(nrDataBlocks: number): void {
    refuseNrDataBlocks(nrDataBlocks);
    this.#refuseResize('data', nrDataBlocks, this.nrDataBlocks);
    if (nrDataBlocks === this.nrDataBlocks) return;
    const nrBitmaps = nrBitmapsFor(nrDataBlocks) - nrBitmapsFor(this.nrDataBlocks);
    if (nrBitmaps > this.nrFreeMetadataBlocks - this.metadataReserve) {
      throw new NoSpaceError(
        'metadata',
        `${nrDataBlocks} data blocks take ${nrBitmaps} more metadata blocks and some for the commit: of ${this.nrMetadataBlocks}, ${this.nrFreeMetadataBlocks} are free and ${this.metadataReserve} of those kept for commits; grow the metadata first`,
      );
    }
    this.#transaction.change('grows', ({ dataSpaceMap }) => dataSpaceMap.extend(nrDataBlocks - dataSpaceMap.nrBlocks));
  }

  /**
   * Makes use of a metadata device that has grown (or is to be grown here, if the device can) to `nrBlocks`, of which 4 161 600
   * are used at most. The new blocks serve at once, but count as free only after the commit.
   * @throws {@link ResizeError} for fewer than there are, or while a check is due
   * @throws {@link DeviceError} when the device cannot be made that large: nothing has changed
   */
  resizeMetadata(nrBlocks: number): void {
    if (!Number.isSafeInteger(nrBlocks) || nrBlocks < 0)
      throw new RangeError(`metadata blocks: ${nrBlocks} is not a number of blocks`);
    const usable = Math.min(nrBlocks, MAX_METADATA_BLOCKS);
    this.#refuseResize('metadata', usable, this.nrMetadataBlocks);
    if (usable === this.nrMetadataBlocks) return;
    this.#transaction.refuseReadOnly();
    const { device } = this.#transaction;
    if (device.nrBlocks < nrBlocks) device.grow(nrBlocks);
    // It brings the room it needs.
    this.#transaction.change('none', ({ tm }) => {
      tm.deviceGrew();
      tm.spaceMap.extend(usable - tm.spaceMap.nrBlocks);
    });
  }

  /** Says on the device that it has to be checked; with the next commit, as all changes. Only tools take it back. */
  setNeedsCheck(): void {
    this.#transaction.change('none', ({ superblock }) => {
      superblock.flags |= NEEDS_CHECK;
    });
  }

  /**
   * Calls `reached` when a change or a commit leaves `nrFree` free metadata blocks or fewer, those in reserve included; again
   * only after there were more. It is called when the change is complete, and may change the pool, or grow it. One at a time:
   * a second call replaces the first. It outlasts commits and aborts.
   */
  onMetadataLow(nrFree: number, reached: () => void): void {
    this.#transaction.metadataLow = new LowWaterMark(nrFree, reached);
  }

  /** As {@link onMetadataLow}, for free data blocks. */
  onDataLow(nrFree: number, reached: () => void): void {
    this.#transaction.dataLow = new LowWaterMark(nrFree, reached);
  }

  /**
   * Makes this transaction durable; returns false, having done nothing, when it changed nothing. Two flushes, and one write of
   * the superblock between them.
   * @throws {@link CommitError} when that failed: from then on the last commit is shown, read-only. Which of the two is on the
   * device is known when it is opened again: whole in either case
   */
  commit(): boolean {
    return this.#transaction.commit();
  }

  /**
   * As {@link commit}, without holding up the event loop while the device makes it durable. Until it has settled, reading shows
   * the transaction being committed, and everything else throws {@link CommitRunningError}.
   * @throws {@link CommitError} as `commit`
   */
  commitAsync(): Promise<boolean> {
    return this.#transaction.commitAsync();
  }

  /**
   * Forgets this transaction: everything is again as the last commit left it.
   * @throws {@link DeviceError}, {@link CorruptBlockError} when that cannot be read; another attempt may succeed
   */
  abort(): void {
    this.#transaction.abort();
  }

  /** Lets go of the device, which stays open: it is the caller's. What is not committed is lost. */
  close(): void {
    this.#transaction.close();
  }

  get #open(): PoolState {
    return this.#transaction.state;
  }

  #refuseResize(what: string, wanted: number, present: number): void {
    if (wanted < present)
      throw new ResizeError(`the ${what} device cannot shrink: it has ${present} blocks, not ${wanted}`);
    if (this.needsCheck)
      throw new ResizeError(
        `the ${what} device cannot grow until the metadata has been checked: needs_check is set; check it, and have the check clear the flag`,
      );
  }

  #refuseCounts(begin: number, end: number, fine: (count: number) => boolean, problem: string): void {
    refuseRange('data blocks', begin, end, this.nrDataBlocks);
    for (let block = begin; block < end; block++) {
      if (!fine(this.dataBlockCount(block))) throw new CountRangeError(`data block ${block} ${problem}`);
    }
  }
}
