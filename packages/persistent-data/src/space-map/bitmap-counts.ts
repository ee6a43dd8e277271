/**
 * Reference counts of one device as they lie on disk: bitmaps for 0, 1 and 2, a tree for 3 and more. Shared by both kinds of
 * space map; they differ in where the entries of the bitmaps are kept (`BitmapIndex`) and in who may ask when.
 *
 * Invariants, all checked by an audit (test/audit.ts) after every model run:
 *   1. a block is in the reference-count tree exactly when its bitmap pair is 3, with its count there, at least 3;
 *   2. nrAllocated is the number of blocks whose count is above 0;
 *   3. of each bitmap, nrFree is the number of pairs that are 0, and no pair below noneFreeBefore is 0.
 *
 * Not here: queueing (metadata-space-map.ts), which free block is the right one (each kind).
 * Format: docs/format/space-maps.md, sections 1 to 4.
 */
import { CorruptBlockError, invariant } from '@pdata/device';
import type { Block } from '../block/block.js';
import { BTree } from '../btree/tree.js';
import type { ValueType } from '../btree/value-type.js';
import { CountRangeError } from '../transaction/errors.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import {
  bitmapEntry,
  bitmapValidator,
  ENTRIES_PER_BITMAP,
  findFreeEntry,
  MANY,
  nrBitmapsFor,
  setBitmapEntry,
} from './bitmap.js';
import type { IndexEntry } from './index-entry.js';
import type { SpaceMapRoot } from './root.js';

/** The largest count there is room for. The kernel adds one to it all the same, and loses the block. */
export const MAX_COUNT = 0xffffffff;

/** An index entry in memory. */
export interface BitmapState extends IndexEntry {
  /** The bitmap block that the last commit reaches; 0 when this bitmap is new. */
  committedBlockNr: number;
  dirty: boolean;
}

/** Where the entries are: in one block (metadata kind) or in a tree (data kind). */
export interface BitmapIndex {
  /** @throws {@link CorruptBlockError} when there is none for `bitmapNr` */
  get(bitmapNr: number): BitmapState;
  add(bitmapNr: number, entry: IndexEntry): void;
  /** Bitmap `bitmapNr` was copied, for the first time in this transaction. */
  moved?(bitmapNr: number, state: BitmapState): void;
  /** The bitmaps `bitmapNr` of the other states that are kept, besides that of the last commit. */
  sealed?(bitmapNr: number): readonly number[];
}

export const refCountType: ValueType<number> = {
  size: 4,
  decode: (view, at) => view.getUint32(at, true),
  encode: (view, at, count) => view.setUint32(at, count, true),
};

const NONE: readonly number[] = [];

export class BitmapCounts {
  readonly tm: TransactionManager;
  readonly index: BitmapIndex;
  readonly overflow: BTree<number>;
  nrBlocks: number;
  nrAllocated: number;

  constructor(
    tm: TransactionManager,
    index: BitmapIndex,
    root: Pick<SpaceMapRoot, 'nrBlocks' | 'nrAllocated' | 'refCountRoot'>,
  ) {
    this.tm = tm;
    this.index = index;
    this.nrBlocks = root.nrBlocks;
    this.nrAllocated = root.nrAllocated;
    this.overflow = new BTree(tm, refCountType, root.refCountRoot);
  }

  /** 0, 1 or 2, or {@link MANY}. */
  bitmapValue(blockNr: number): number {
    const bitmapNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    const bitmap = this.tm.read(this.index.get(bitmapNr).blockNr, bitmapValidator);
    return bitmapEntry(bitmap, blockNr - bitmapNr * ENTRIES_PER_BITMAP);
  }

  count(blockNr: number): number {
    const value = this.bitmapValue(blockNr);
    return value === MANY ? this.#overflowCount(blockNr) : value;
  }

  inc(blockNr: number): void {
    const { bitmap, entry, state } = this.#writable(blockNr);
    const value = bitmapEntry(bitmap, entry);
    if (value === MANY) {
      const count = this.#overflowCount(blockNr);
      if (count === MAX_COUNT) {
        throw new CountRangeError(`block ${blockNr} has ${MAX_COUNT} references, the most that can be counted`);
      }
      this.overflow.insert(blockNr, count + 1);
      return;
    }
    setBitmapEntry(bitmap, entry, value + 1);
    if (value === 0) this.#becameUsed(state, entry);
    else if (value === 2) this.overflow.insert(blockNr, 3);
  }

  dec(blockNr: number): void {
    const { bitmap, entry, state } = this.#writable(blockNr);
    const value = bitmapEntry(bitmap, entry);
    if (value === 0) {
      throw new CountRangeError(
        `block ${blockNr} has no reference left to give up: it was given up twice, or the counts on ${this.tm.blocks.device.name} are wrong; check them`,
      );
    }
    if (value === MANY) {
      const count = this.#overflowCount(blockNr);
      if (count > 3) {
        this.overflow.insert(blockNr, count - 1);
        return;
      }
      this.overflow.remove(blockNr);
      setBitmapEntry(bitmap, entry, 2);
      return;
    }
    setBitmapEntry(bitmap, entry, value - 1);
    if (value === 1) this.#becameFree(state, entry);
  }

  set(blockNr: number, count: number): void {
    if (!Number.isInteger(count) || count < 0 || count > MAX_COUNT) {
      throw new RangeError(`a reference count is a whole number from 0 to ${MAX_COUNT}, not ${count}`);
    }
    const { bitmap, entry, state } = this.#writable(blockNr);
    const value = bitmapEntry(bitmap, entry);
    setBitmapEntry(bitmap, entry, Math.min(count, MANY));
    if (value === 0 && count > 0) this.#becameUsed(state, entry);
    if (value > 0 && count === 0) this.#becameFree(state, entry);
    if (count >= MANY) this.overflow.insert(blockNr, count);
    else if (value === MANY) this.overflow.remove(blockNr);
  }

  /**
   * Fills bitmap `bitmapNr`, so far empty, with counts at once: `countOf(entry)` for each of its blocks. For restoring.
   */
  fillBitmap(bitmapNr: number, countOf: (entry: number) => number): void {
    const first = bitmapNr * ENTRIES_PER_BITMAP;
    const { bitmap, state } = this.#writable(first);
    const nr = Math.min(ENTRIES_PER_BITMAP, this.nrBlocks - first);
    let nrUsed = 0;
    let noneFreeBefore = -1;
    for (let entry = 0; entry < nr; entry++) {
      const count = countOf(entry);
      if (count === 0) {
        if (noneFreeBefore < 0) noneFreeBefore = entry;
        continue;
      }
      nrUsed++;
      setBitmapEntry(bitmap, entry, Math.min(count, MANY));
      if (count >= MANY) this.overflow.insert(first + entry, count);
    }
    invariant(state.nrFree === ENTRIES_PER_BITMAP, 'a bitmap filled at once must be empty');
    state.nrFree -= nrUsed;
    state.noneFreeBefore = noneFreeBefore < 0 ? nr : noneFreeBefore;
    state.dirty = true;
    this.nrAllocated += nrUsed;
  }

  /** Registers empty bitmaps for blocks up to `nrBlocks`; growth inside the last bitmap needs none. */
  extend(nrBlocks: number): void {
    const wanted = nrBitmapsFor(nrBlocks);
    for (let bitmapNr = nrBitmapsFor(this.nrBlocks); bitmapNr < wanted; bitmapNr++) {
      const blockNr = this.tm.newBlock(bitmapValidator).nr;
      this.index.add(bitmapNr, { blockNr, nrFree: ENTRIES_PER_BITMAP, noneFreeBefore: 0 });
    }
    this.nrBlocks = nrBlocks;
  }

  /** The first block in `begin`..`end` (exclusive) that is free now, and in the last commit and all states kept; -1 for none. */
  findFree(begin: number, end: number, committedNrBlocks: number, trustHints = true): number {
    const last = Math.ceil(end / ENTRIES_PER_BITMAP);
    for (let bitmapNr = Math.floor(begin / ENTRIES_PER_BITMAP); bitmapNr < last; bitmapNr++) {
      const state = this.index.get(bitmapNr);
      if (trustHints && state.nrFree === 0) continue;
      const first = bitmapNr * ENTRIES_PER_BITMAP;
      const stop = Math.min(end - first, ENTRIES_PER_BITMAP);
      let from = Math.max(begin - first, 0);
      if (trustHints) from = Math.max(from, state.noneFreeBefore);
      const committedFrom = first < committedNrBlocks ? state.committedBlockNr : 0;
      const others = this.index.sealed?.(bitmapNr) ?? NONE;
      const found = this.#findFreeInAll(state.blockNr, committedFrom, others, from, stop);
      if (found >= 0) return first + found;
    }
    return -1;
  }

  /** How many blocks `findFree` would find one after the other. O(blocks). */
  countFree(committedNrBlocks: number): number {
    let nr = 0;
    for (let found = -1; ; nr++) {
      found = this.findFree(found + 1, this.nrBlocks, committedNrBlocks);
      if (found < 0) return nr;
    }
  }

  #findFreeInAll(
    bitmapNr: number,
    committedBitmapNr: number,
    others: readonly number[],
    from: number,
    to: number,
  ): number {
    const { blocks } = this.tm;
    for (let entry = from; ; entry++) {
      entry = findFreeEntry(blocks.read(bitmapNr, bitmapValidator), entry, to);
      if (entry < 0) return entry;
      if (committedBitmapNr !== 0 && committedBitmapNr !== bitmapNr) {
        if (bitmapEntry(blocks.read(committedBitmapNr, bitmapValidator), entry) !== 0) continue;
      }
      let free = true;
      for (let i = 0; i < others.length && free; i++)
        free = bitmapEntry(blocks.read(others[i] as number, bitmapValidator), entry) === 0;
      if (free) return entry;
    }
  }

  #overflowCount(blockNr: number): number {
    const count = this.overflow.lookup(blockNr);
    if (count === undefined) {
      throw new CorruptBlockError({
        structure: 'reference-count tree',
        blockNr: this.overflow.root,
        field: `count of block ${blockNr}`,
        found: 'missing',
        expected: '3 or more, for its bitmap says so',
      });
    }
    return count;
  }

  /** The bitmap of `blockNr`, shadowed; one object for all calls. */
  readonly #place: { bitmap: Block; entry: number; state: BitmapState } = {} as never;
  #writable(blockNr: number): { bitmap: Block; entry: number; state: BitmapState } {
    const bitmapNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    const state = this.index.get(bitmapNr);
    const bitmap = this.tm.shadow(state.blockNr, bitmapValidator, undefined);
    if (bitmap.nr !== state.blockNr) {
      state.blockNr = bitmap.nr;
      state.dirty = true;
      this.index.moved?.(bitmapNr, state);
    }
    const place = this.#place;
    place.bitmap = bitmap;
    place.entry = blockNr - bitmapNr * ENTRIES_PER_BITMAP;
    place.state = state;
    return place;
  }

  #becameUsed(state: BitmapState, entry: number): void {
    this.nrAllocated++;
    if (state.nrFree > 0) state.nrFree--; // a foreign tool's figure may be too low
    if (state.noneFreeBefore === entry) state.noneFreeBefore = entry + 1;
    state.dirty = true;
  }

  #becameFree(state: BitmapState, entry: number): void {
    if (this.nrAllocated > 0) this.nrAllocated--;
    state.nrFree++;
    if (entry < state.noneFreeBefore) state.noneFreeBefore = entry;
    state.dirty = true;
  }
}
