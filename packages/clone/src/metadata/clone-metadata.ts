/**
 * A clone's metadata: which regions are hydrated, as the kernel's clone target keeps it, to the bit.
 *
 * Two truths. *In memory* is what is hydrated now, and what every question here is answered from: a mark is seen at once, and
 * costs no I/O. *On the disk* is what a crash would leave: a bit there says that the destination holds valid data, and for ever.
 * So a bit must not reach the disk before the data is durable, and a commit has three steps:
 *
 *   preCommit()                     seals the marks made so far; later ones belong to the next commit
 *   (the caller)                    flushes the destination: all that was sealed is durable there now
 *   commit() or commitAsync()       writes what was sealed, and nothing else
 *
 * Sealing comes before the flush because a region that is marked *during* the flush is not covered by it.
 *
 * What can go wrong, and what it leaves:
 *   the destination cannot be flushed    `setReadOnly`, then `abort`: for the caller to do
 *   a commit that fails                  the last commit is shown, read-only, until the metadata is opened again; if even that
 *                                        cannot be read, the metadata is `failed`, and everything throws
 *
 * Not here: reading, writing and copying regions, modes, messages: the engine's.
 *
 * Format: docs/format/clone.md, sections 1 to 4 and 7.
 */
import { ClosedError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import {
  AbortRequiredError,
  BlockManager,
  type BlockManagerOptions,
  CommitError,
  CommitRunningError,
  isUnformatted,
  NotFormattedError,
  UnsupportedMetadataError,
  wipeSuperblock,
  withWriterClaim,
} from '@pdata/persistent-data';
import { nrRegionsFor, refuseGeometry } from '../format/limits.js';
import {
  CLONE_VERSION,
  type CloneSuperblock,
  cloneSuperblockValidator,
  readCloneSuperblock,
} from '../format/superblock.js';
import { CloneState } from './clone-state.js';
import { DirtyRegions } from './dirty-regions.js';
import { GeometryError } from './errors.js';
import { RegionMap } from './region-map.js';

export interface OpenCloneMetadataOptions extends BlockManagerOptions {
  /** Sectors per region; when given, the metadata must have been formatted with the same. */
  readonly regionSize?: number;
  /** Sectors of the whole clone; as `regionSize`. */
  readonly targetSize?: number;
}

export interface FormatCloneMetadataOptions extends BlockManagerOptions {
  /** Sectors per region: a power of two from 8 (4 KiB) to 2 097 152 (1 GiB). Fixed for the life of the metadata. */
  readonly regionSize: number;
  /** Sectors of the whole clone, at least 1; the last region may be short. At most 2^31 regions. Fixed as well. */
  readonly targetSize: number;
}

/**
 * The metadata of one clone. Begin with {@link CloneMetadata.openOrFormat}.
 *
 * Regions are numbered from 0. What they are asked for outside the clone is a RangeError. After `close`, and once `failed`,
 * everything throws {@link ClosedError}.
 */
export class CloneMetadata {
  /** Sectors per region. */
  readonly regionSize: number;
  /** Sectors of the whole clone. */
  readonly targetSize: number;
  /** The last one is short when `targetSize` is no multiple of `regionSize`. */
  readonly nrRegions: number;

  readonly #blocks: BlockManager;
  readonly #unclaim: () => void;
  #state: CloneState;
  /** The superblock of the last commit: what an abort goes back to. */
  #committed: CloneSuperblock;
  #regions: RegionMap;
  /** Takes the marks. */
  #current: DirtyRegions;
  /** What `preCommit` has sealed, until it is committed; else clean. */
  #sealed: DirtyRegions;
  #complete: boolean;
  #lostMarks = false;
  #readOnly: boolean;
  #committing = false;
  #closed = false;
  #failed = false;

  /** @param state just committed, or just opened */
  private constructor(blocks: BlockManager, state: CloneState, unclaim: () => void) {
    const { regionSize, targetSize } = state.superblock;
    this.regionSize = regionSize;
    this.targetSize = targetSize;
    this.nrRegions = nrRegionsFor(targetSize, regionSize);
    this.#blocks = blocks;
    this.#unclaim = unclaim;
    this.#state = state;
    this.#committed = { ...state.superblock };
    this.#regions = loadRegions(state, this.nrRegions);
    this.#current = new DirtyRegions(this.nrRegions);
    this.#sealed = new DirtyRegions(this.nrRegions);
    this.#complete = this.#regions.isFull;
    this.#readOnly = blocks.readOnly;
  }

  /**
   * Opens formatted metadata; read-only if `device` is. Reads all of the bits.
   *
   * @throws {@link NotFormattedError} when block 0 is all zero
   * @throws {@link UnsupportedMetadataError} for a version other than 1
   * @throws {@link GeometryError} when a size is given that is not that of the metadata
   * @throws {@link CorruptBlockError} when what opening reads is damaged
   * @throws {@link DeviceBusyError} when this process has the same device open for writing already
   */
  static open(device: MetadataDevice, options: OpenCloneMetadataOptions = {}): CloneMetadata {
    return withWriterClaim(device, (unclaim) => {
      const blocks = new BlockManager(device, options);
      if (isUnformatted(device)) {
        throw new NotFormattedError(
          `${device.name} holds no clone metadata: its first block is empty; format it, or restore a dump into it`,
        );
      }
      const superblock = readCloneSuperblock(blocks.read(0, cloneSuperblockValidator));
      refuseVersion(device, superblock);
      refuseOtherGeometry(device, superblock, options);
      return new CloneMetadata(blocks, CloneState.openAt(blocks, superblock), unclaim);
    });
  }

  /**
   * Makes new metadata, no region hydrated, and commits it. Whatever the device held is lost; asking first is the caller's. A
   * crash on the way leaves the device unformatted, or formatted; never what it held before in part.
   *
   * @throws {@link NoSpaceError} when the device is too small for so many regions: it takes 4 blocks, one for each 16 320 blocks
   *   of the device and one for each 32 576 regions, and nearly as many again for a commit that changes all of them
   * @throws RangeError for sizes outside the limits
   */
  static format(device: MetadataDevice, options: FormatCloneMetadataOptions): CloneMetadata {
    const { regionSize, targetSize } = options;
    refuseGeometry(regionSize, targetSize);
    return withWriterClaim(device, (unclaim) => {
      if (device.readOnly) throw new ReadOnlyError(`${device.name} is open for reading only and cannot be formatted`);
      const blocks = new BlockManager(device, options);
      wipeSuperblock(device);
      const state = CloneState.format(blocks, regionSize, targetSize);
      state.commit(new DirtyRegions(0), { formatting: true });
      return new CloneMetadata(blocks, state, unclaim);
    });
  }

  /**
   * What activating the kernel's target does: a device whose first block is all zero is formatted, any other opened, and refused
   * when it was made for other sizes.
   * @throws what {@link CloneMetadata.open} and {@link CloneMetadata.format} throw
   */
  static openOrFormat(device: MetadataDevice, options: FormatCloneMetadataOptions): CloneMetadata {
    refuseGeometry(options.regionSize, options.targetSize);
    return isUnformatted(device) ? CloneMetadata.format(device, options) : CloneMetadata.open(device, options);
  }

  /** Whether marks and commits are refused: the device is open for reading, a commit has failed, or {@link setReadOnly} was called. */
  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** Whether not even the last commit could be read after a commit that failed: everything throws {@link ClosedError}. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Regions hydrated now; may be ahead of the disk. */
  get nrHydrated(): number {
    return this.#regions.nrSet;
  }

  /**
   * Whether all regions are hydrated, durably: so found when opened, or made so by a commit. From then on nothing can change.
   * (`nrHydrated === nrRegions` is true earlier, before the commit.)
   */
  get isComplete(): boolean {
    return this.#complete;
  }

  isHydrated(regionNr: number): boolean {
    this.#refuseClosed();
    this.#refuseRegion(regionNr);
    return this.#regions.has(regionNr);
  }

  /** Whether all of regions `begin` to `end` (exclusive) are hydrated; of no region, they are. */
  isRangeHydrated(begin: number, end: number): boolean {
    this.#refuseClosed();
    this.#refuseRange(begin, end);
    return this.#regions.nextClear(begin) >= end;
  }

  /** The first region from `from` on that is not hydrated; {@link nrRegions} when there is none, and so for `from` at the end. */
  nextUnhydrated(from: number): number {
    this.#refuseClosed();
    this.#refuseRange(from, this.nrRegions);
    return this.#regions.nextClear(from);
  }

  /**
   * The destination holds valid data for this region from now on; on the disk with the next commit that is begun (`preCommit`)
   * after this call. No I/O; may be called while a commit is on its way. A region that is hydrated stays so, unchanged.
   * @throws {@link ReadOnlyError}
   */
  setHydrated(regionNr: number): void {
    this.#refuseRegion(regionNr);
    this.#mark(regionNr, regionNr + 1);
  }

  /** As {@link setHydrated}, for those of regions `begin` to `end` (exclusive) that are not hydrated. */
  setRangeHydrated(begin: number, end: number): void {
    this.#refuseRange(begin, end);
    this.#mark(begin, end);
  }

  /** Whether regions have been marked that no commit has written yet, sealed ones included. */
  get hasChanges(): boolean {
    return this.#current.changed || this.#sealed.changed;
  }

  /**
   * Whether an abort, or a commit that failed, has dropped marks: data that was acknowledged may be on the destination, in
   * regions that are shown as not hydrated. True until the metadata is opened again. The kernel goes on counting such marks as changes,
   * and so fails every flush from then on.
   */
  get hasLostMarks(): boolean {
    return this.#lostMarks;
  }

  /**
   * First step of a commit: seals the marks made so far. The destination is to be flushed next, then {@link commit} called, or
   * {@link abort} when the flush failed. Nothing happens when there are no marks.
   * @throws {@link ReadOnlyError}, {@link CommitRunningError}
   * @throws {@link AbortRequiredError} when an earlier seal was never committed: whether its flush succeeded is not known here
   */
  preCommit(): void {
    this.#refuseChange();
    this.#refuseCommitting();
    if (this.#sealed.changed) {
      throw new AbortRequiredError(
        'the regions that an earlier preCommit sealed were never committed: commit them, or abort',
      );
    }
    [this.#sealed, this.#current] = [this.#current, this.#sealed];
  }

  /**
   * Last step of a commit: writes what {@link preCommit} sealed, after the destination has been flushed. False, and nothing
   * written, when nothing was sealed. Two flushes of the metadata device, and one write of the superblock between them.
   * @throws {@link CommitError} when that failed: the last commit is shown now, read-only
   * @throws {@link ReadOnlyError}, {@link CommitRunningError}
   */
  commit(): boolean {
    this.#refuseChange();
    this.#refuseCommitting();
    if (!this.#sealed.changed) return false;
    try {
      this.#state.commit(this.#sealed);
    } catch (error) {
      this.#commitFailed(error);
    }
    this.#commitDone();
    return true;
  }

  /** As {@link commit}, without holding up the event loop while the device makes it durable. Regions can be marked meanwhile. */
  async commitAsync(): Promise<boolean> {
    this.#refuseChange();
    this.#refuseCommitting();
    if (!this.#sealed.changed) return false;
    this.#committing = true;
    try {
      await this.#state.commitAsync(this.#sealed);
    } catch (error) {
      this.#committing = false;
      this.#commitFailed(error);
    }
    this.#committing = false;
    this.#commitDone();
    return true;
  }

  /**
   * Forgets all marks since the last commit: reads it from disk anew, so that what has not reached the disk is not hydrated.
   * @throws {@link CommitRunningError}
   * @throws {@link DeviceError}, {@link CorruptBlockError} when it cannot be read: `failed` from then on
   */
  abort(): void {
    this.#refuseClosed();
    this.#refuseCommitting();
    this.#lostMarks ||= this.hasChanges;
    this.#blocks.drop();
    try {
      this.#state = CloneState.openAt(this.#blocks, this.#committed);
      this.#regions = loadRegions(this.#state, this.nrRegions);
    } catch (error) {
      this.#failed = true;
      this.close();
      throw error;
    }
    this.#current.clear();
    this.#sealed.clear();
    this.#complete = this.#regions.isFull;
  }

  /** From here on marks and commits are refused. What is marked stays so until an {@link abort}. */
  setReadOnly(): void {
    this.#refuseClosed();
    this.#readOnly = true;
  }

  /** Blocks of 4096 bytes that the metadata makes use of, at most 4 161 600; the device may have more. */
  get nrMetadataBlocks(): number {
    this.#refuseClosed();
    return this.#state.tm.spaceMap.nrBlocks;
  }

  get nrFreeMetadataBlocks(): number {
    this.#refuseClosed();
    return this.#state.tm.spaceMap.nrFree;
  }

  /** Lets go of the device, which stays open: it is the caller's. What is not committed is lost. @throws {@link CommitRunningError} */
  close(): void {
    if (this.#closed) return;
    this.#refuseCommitting();
    this.#closed = true;
    this.#unclaim();
  }

  #mark(begin: number, end: number): void {
    this.#refuseChange();
    this.#regions.addRange(begin, end, (half, mask) => this.#current.add(half, mask));
  }

  #commitDone(): void {
    this.#sealed.clear();
    this.#committed = { ...this.#state.superblock };
    this.#complete = this.#regions.isFull && !this.#current.changed;
  }

  #commitFailed(cause: unknown): never {
    this.#readOnly = true;
    this.#blocks.setReadOnly();
    let shown = 'what is shown now is the last commit, read-only';
    try {
      this.abort();
    } catch {
      shown = 'and the last commit cannot be read either';
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommitError(
      `the hydrated regions could not be committed to ${this.#blocks.device.name} (${why}); ${shown}: see to the device, then open it again`,
      { cause },
    );
  }

  /** @throws {@link ClosedError}, {@link ReadOnlyError} */
  #refuseChange(): void {
    this.#refuseClosed();
    if (!this.#readOnly) return;
    throw new ReadOnlyError(
      `the metadata on ${this.#blocks.device.name} is read-only: it was opened so, or something failed and it has to be opened again`,
    );
  }

  #refuseClosed(): void {
    if (!this.#closed) return;
    const { name } = this.#blocks.device;
    throw new ClosedError(
      this.#failed
        ? `the metadata on ${name} cannot be read any more: see to the device`
        : `the metadata on ${name} has been closed`,
    );
  }

  #refuseCommitting(): void {
    if (!this.#committing) return;
    throw new CommitRunningError(`a commit to ${this.#blocks.device.name} is on its way: await it first`);
  }

  #refuseRegion(regionNr: number): void {
    if (Number.isInteger(regionNr) && regionNr >= 0 && regionNr < this.nrRegions) return;
    throw new RangeError(`region ${regionNr} is outside the clone, which has ${this.nrRegions}`);
  }

  #refuseRange(begin: number, end: number): void {
    const whole = Number.isInteger(begin) && Number.isInteger(end);
    if (whole && begin >= 0 && begin <= end && end <= this.nrRegions) return;
    throw new RangeError(
      `regions ${begin} to ${end} (exclusive): expected whole numbers in order, none above ${this.nrRegions}`,
    );
  }
}

function loadRegions({ bitset }: CloneState, nrRegions: number): RegionMap {
  const regions = new RegionMap(nrRegions);
  bitset.walkWords((wordNr, low, high) => {
    regions.add(2 * wordNr, low);
    regions.add(2 * wordNr + 1, high);
  });
  return regions;
}

function refuseVersion({ name }: MetadataDevice, { version }: CloneSuperblock): void {
  if (version === CLONE_VERSION) return;
  throw new UnsupportedMetadataError(
    `${name} holds clone metadata of version ${version}; this version of pdata, like the kernel, knows only ${CLONE_VERSION}`,
  );
}

function refuseOtherGeometry(
  { name }: MetadataDevice,
  superblock: CloneSuperblock,
  { regionSize = superblock.regionSize, targetSize = superblock.targetSize }: OpenCloneMetadataOptions,
): void {
  if (regionSize === superblock.regionSize && targetSize === superblock.targetSize) return;
  throw new GeometryError(
    `${name} was made for a clone of ${superblock.targetSize} sectors in regions of ${superblock.regionSize}, not of ` +
      `${targetSize} in regions of ${regionSize}: both are fixed when the metadata is formatted`,
  );
}
