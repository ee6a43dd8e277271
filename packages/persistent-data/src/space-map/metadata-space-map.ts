/**
 * Reference counts of the metadata device, kept in blocks of that very device.
 *
 * Changing a count may copy the bitmap that holds it (one block allocated, one freed) and change the reference-count tree
 * (more of both): changes to the map that is being changed. So a request that arrives meanwhile is only queued, and the
 * outermost one drains the queue when it has done its own work.
 *
 * First in, first out. Within one outermost operation a fresh block can be counted and given up again (a leaf copied, then
 * merged away): `inc R'`, …, `dec R'`. In any other order the decrement meets a count of 0.
 *
 * The queue ends because a block shadowed in this transaction is changed in place from then on: each entry touches at most
 * one bitmap and one path of the reference-count tree.
 *
 * Bootstrap mode (creating, growing): the bitmaps for the blocks being handed out do not exist yet, so the map answers from
 * a cursor alone and queues all counting until they do.
 *
 * Format: docs/format/space-maps.md, sections 4 to 7.
 */
import { CorruptBlockError, invariant } from '@pdata/device';
import { BTree } from '../btree/tree.js';
import { NoSpaceError } from '../transaction/errors.js';
import type { SealedCounts } from '../transaction/space-map.js';
import type { MetadataSpaceMapInTransaction, TransactionManager } from '../transaction/transaction-manager.js';
import { ENTRIES_PER_BITMAP, nrBitmapsFor } from './bitmap.js';
import { BitmapCounts, type BitmapIndex, type BitmapState, refCountType } from './bitmap-counts.js';
import {
  ENTRIES_PER_INDEX_BLOCK,
  type IndexEntry,
  indexBlockValidator,
  indexEntryOffset,
  readIndexEntry,
  writeIndexEntry,
} from './index-entry.js';
import { PendingCounts } from './pending-counts.js';
import { refuseRange } from './range.js';
import type { SpaceMapRoot } from './root.js';

/** 255 bitmaps of 16 320 blocks: 15.9 GiB. What lies behind on a larger device is never used. */
export const MAX_METADATA_BLOCKS = ENTRIES_PER_INDEX_BLOCK * ENTRIES_PER_BITMAP;

const nothing = (): void => {};

/** All index entries of the metadata kind fit in one block, so they are all in memory. */
class MetadataIndex implements BitmapIndex {
  states: BitmapState[] = [];
  /** States that are kept, besides the latest one sealed. */
  older: readonly SealedState[] = [];
  readonly #blockNr: () => number;

  constructor(blockNr: () => number) {
    this.#blockNr = blockNr;
  }

  get(bitmapNr: number): BitmapState {
    const state = this.states[bitmapNr];
    if (state !== undefined) return state;
    throw new CorruptBlockError({
      structure: 'metadata index',
      blockNr: this.#blockNr(),
      field: `entry ${bitmapNr}`,
      found: 'missing',
      expected: 'a bitmap block',
    });
  }

  add(bitmapNr: number, entry: IndexEntry): void {
    this.states[bitmapNr] = { ...entry, committedBlockNr: 0, dirty: true };
  }

  sealed(bitmapNr: number): readonly number[] {
    if (this.older.length === 0) return NO_BITMAPS;
    const { blockNr, committedBlockNr } = this.get(bitmapNr);
    const found: number[] = [];
    for (const { bitmaps } of this.older) {
      const older = bitmaps[bitmapNr];
      if (older !== undefined && older !== blockNr && older !== committedBlockNr && !found.includes(older))
        found.push(older);
    }
    return found;
  }
}

const NO_BITMAPS: readonly number[] = [];

/** A state that was sealed: the last commit, one on its way, one that is being read. */
interface SealedState {
  /** Its bitmaps; empty for the latest one, whose bitmaps the index entries remember. */
  bitmaps: readonly number[];
  readonly nrBlocks: number;
  readonly nrAllocated: number;
  /** Blocks that had ever been handed out when it was sealed. */
  readonly nrHandedOut: number;
  kept: boolean;
}

export class MetadataSpaceMap implements MetadataSpaceMapInTransaction {
  readonly #tm: TransactionManager;
  readonly #index: MetadataIndex;
  readonly #counts: BitmapCounts;
  #indexBlock: number;
  /** The index block that the last commit reaches. */
  #committedIndexBlock: number;
  readonly #pending = new PendingCounts();
  /** Depth of changes under way: above 0, requests are queued. */
  #changing = 0;
  #bootstrap = false;
  /** Bootstrap mode hands out blocks below this one. */
  #bootstrapEnd = 0;
  #cursor: number;
  /** The state sealed last, and those before it that are kept still. Without others it is the last commit. */
  #latest: SealedState;
  /** Blocks handed out so far, ever. */
  #nrHandedOut = 0;
  /** What a count of the blocks that can be handed out found, and when. */
  #counted: { readonly nrFree: number; readonly nrHandedOut: number } | undefined;
  #threshold: { nrFree: number; reached: () => void; below: boolean } | undefined;

  private constructor(tm: TransactionManager, root: SpaceMapRoot) {
    this.#tm = tm;
    this.#indexBlock = root.bitmapRoot;
    this.#committedIndexBlock = root.bitmapRoot;
    this.#index = new MetadataIndex(() => this.#indexBlock);
    this.#counts = new BitmapCounts(tm, this.#index, root);
    this.#cursor = 0;
    this.#latest = { bitmaps: [], nrBlocks: root.nrBlocks, nrAllocated: root.nrAllocated, nrHandedOut: 0, kept: true };
    tm.attach(this);
  }

  /** The map of a committed device. */
  static open(tm: TransactionManager, root: SpaceMapRoot): MetadataSpaceMap {
    const nrBitmaps = nrBitmapsFor(root.nrBlocks);
    if (root.nrBlocks > tm.blocks.nrBlocks || nrBitmaps > ENTRIES_PER_INDEX_BLOCK) {
      throw new CorruptBlockError({
        structure: 'metadata space map',
        blockNr: root.bitmapRoot,
        field: 'nrBlocks',
        found: root.nrBlocks,
        expected: `at most ${Math.min(tm.blocks.nrBlocks, MAX_METADATA_BLOCKS)}, the size of the device (cut short?)`,
      });
    }
    const map = new MetadataSpaceMap(tm, root);
    const { view } = tm.read(root.bitmapRoot, indexBlockValidator);
    for (let i = 0; i < nrBitmaps; i++) {
      const entry = readIndexEntry(view, indexEntryOffset(i));
      map.#index.states.push({ ...entry, committedBlockNr: entry.blockNr, dirty: false });
    }
    return map;
  }

  /**
   * The map of an empty device, block 0 taken by the superblock: index block 1, reference-count tree 2, bitmaps from 3 on.
   */
  static create(tm: TransactionManager, nrBlocks: number): MetadataSpaceMap {
    const map = new MetadataSpaceMap(tm, { nrBlocks: 0, nrAllocated: 0, bitmapRoot: 0, refCountRoot: 0 });
    map.#bootstrap = true;
    map.#cursor = 1;
    map.#bootstrapEnd = Math.min(nrBlocks, MAX_METADATA_BLOCKS);
    tm.blocks.hold(() => {
      map.#indexBlock = tm.newBlock(indexBlockValidator).nr;
      map.#counts.overflow.root = BTree.create(tm, refCountType).root;
      map.#counts.extend(map.#bootstrapEnd);
      map.#bootstrap = false;
      map.inc(0, map.#cursor);
    });
    // Nothing is on the device yet, but what it is to say is known: from here on, free blocks can be told.
    const { nrBlocks: nr, nrAllocated } = map.#counts;
    map.#latest = { bitmaps: [], nrBlocks: nr, nrAllocated, nrHandedOut: map.#nrHandedOut, kept: true };
    return map;
  }

  get nrBlocks(): number {
    return this.#counts.nrBlocks;
  }

  get nrFree(): number {
    // Blocks that a growth has added can be handed out at once, but are not counted before the commit.
    return this.#nrObtainableOf(this.#latest.nrBlocks);
  }

  get nrObtainable(): number {
    return this.#nrObtainableOf(this.#counts.nrBlocks);
  }

  /**
   * Counts the blocks that can be handed out, for the figures above to be exact: with states kept from before the last
   * commit they are too low, by the blocks that came and went since. O(blocks).
   */
  countFree(): void {
    invariant(this.#changing === 0 && !this.#bootstrap, 'counting while the space map is being changed');
    this.#counted = { nrFree: this.#counts.countFree(this.#latest.nrBlocks), nrHandedOut: this.#nrHandedOut };
  }

  get nrAllocated(): number {
    return this.#counts.nrAllocated;
  }

  /** What the superblock is to say after `settle`. */
  get root(): SpaceMapRoot {
    const { nrBlocks, nrAllocated, overflow } = this.#counts;
    return { nrBlocks, nrAllocated, bitmapRoot: this.#indexBlock, refCountRoot: overflow.root };
  }

  /** Bitmap entries as they are now, for audits and inspection. */
  get bitmaps(): readonly Readonly<BitmapState>[] {
    return this.#index.states;
  }

  /** `reached` is called when an allocation brings the free blocks down to `nrFree`, and again only after they rose above. */
  setThreshold(nrFree: number, reached: () => void): void {
    this.#threshold = { nrFree, reached, below: false };
  }

  count(blockNr: number): number {
    if (this.#bootstrap) return blockNr < this.#cursor ? 1 : 0;
    refuseRange(blockNr, blockNr + 1, this.#counts.nrBlocks);
    const count = this.#counts.count(blockNr);
    return this.#pending.isEmpty ? count : count + this.#pending.sum(blockNr);
  }

  isShared(blockNr: number): boolean {
    if (this.#bootstrap) return false;
    if (blockNr >= this.#counts.nrBlocks) return false; // outside; reading it will say so
    const value = this.#counts.bitmapValue(blockNr);
    if (this.#pending.isEmpty) return value > 1;
    return this.count(blockNr) > 1;
  }

  inc(begin: number, end = begin + 1): void {
    this.#request(1, begin, end);
  }

  dec(begin: number, end = begin + 1): void {
    this.#request(-1, begin, end);
  }

  setCount(blockNr: number, count: number): void {
    refuseRange(blockNr, blockNr + 1, this.#counts.nrBlocks);
    invariant(this.#changing === 0 && !this.#bootstrap, 'setCount while the space map is being changed');
    this.#change(() => this.#counts.set(blockNr, count));
  }

  newBlock(): number {
    if (this.#bootstrap) return this.#bootstrapBlock();
    const found = this.#findFree();
    this.#cursor = found + 1;
    this.#nrHandedOut++;
    this.#request(1, found, found + 1);
    this.#checkThreshold();
    return found;
  }

  extend(nr: number): void {
    if (!Number.isSafeInteger(nr) || nr < 0) throw new RangeError(`cannot extend a space map by ${nr} blocks`);
    const oldNrBlocks = this.#counts.nrBlocks;
    const newNrBlocks = oldNrBlocks + nr;
    if (newNrBlocks > MAX_METADATA_BLOCKS) {
      throw new RangeError(`a metadata device has at most ${MAX_METADATA_BLOCKS} usable blocks, not ${newNrBlocks}`);
    }
    if (newNrBlocks > this.#tm.blocks.nrBlocks) {
      throw new RangeError(`the device has ${this.#tm.blocks.nrBlocks} blocks, fewer than ${newNrBlocks}`);
    }
    if (nr === 0) return;
    invariant(this.#changing === 0, 'extend while the space map is being changed');
    this.#tm.blocks.hold(() => {
      // All that growing allocates comes from the new part, whose bitmaps may not exist yet.
      this.#cursor = oldNrBlocks;
      this.#bootstrapEnd = newNrBlocks;
      this.#bootstrap = true;
      this.#counts.extend(newNrBlocks);
      for (let counted = oldNrBlocks; counted < this.#cursor; ) {
        const end = this.#cursor;
        this.#pending.push(1, counted, end);
        counted = end;
        this.#change(nothing);
        this.#writeIndex();
      }
      this.#bootstrap = false;
    });
  }

  get nrBlocksToSettle(): number {
    const { states } = this.#index;
    if (this.#indexBlock !== this.#committedIndexBlock || !states.some(({ dirty }) => dirty)) return 0;
    // The index block is copied; counting the copy and the original may copy bitmaps not copied yet, and counting those, more.
    let nr = 1;
    for (const { blockNr, committedBlockNr } of states) if (blockNr === committedBlockNr) nr++;
    return nr;
  }

  settle(): void {
    // Copying the index block changes counts, and so entries: the copy is filled afterwards, and is complete.
    this.#writeIndex();
    invariant(this.#pending.isEmpty, 'count changes pending at the commit');
  }

  committed(): void {
    this.#latest.kept = false; // the commit before this one
    this.seal();
    if (this.#threshold !== undefined && this.nrFree > this.#threshold.nrFree) this.#threshold.below = false;
  }

  seal(): SealedCounts {
    const { states, older } = this.#index;
    if (this.#latest.kept) {
      this.#latest.bitmaps = states.map(({ committedBlockNr }) => committedBlockNr).filter((nr) => nr !== 0);
      this.#index.older = [...older, this.#latest];
    }
    for (const state of states) state.committedBlockNr = state.blockNr;
    this.#committedIndexBlock = this.#indexBlock;
    const { nrBlocks, nrAllocated } = this.#counts;
    const sealed = { bitmaps: [], nrBlocks, nrAllocated, nrHandedOut: this.#nrHandedOut, kept: true };
    this.#latest = sealed;
    return this.latestSealed();
  }

  latestSealed(): SealedCounts {
    const sealed = this.#latest;
    return { release: () => this.#release(sealed) };
  }

  remember(): () => void {
    invariant(this.#changing === 0 && !this.#bootstrap, 'remembering while the space map is being changed');
    const [indexBlock, cursor, nrHandedOut, counted] = [
      this.#indexBlock,
      this.#cursor,
      this.#nrHandedOut,
      this.#counted,
    ];
    const states = this.#index.states.map((state) => ({ ...state }));
    const { nrBlocks, nrAllocated, overflow } = this.#counts;
    const refCountRoot = overflow.root;
    return () => {
      this.#indexBlock = indexBlock;
      this.#cursor = cursor;
      this.#nrHandedOut = nrHandedOut;
      this.#counted = counted;
      this.#index.states = states.map((state) => ({ ...state }));
      this.#counts.nrBlocks = nrBlocks;
      this.#counts.nrAllocated = nrAllocated;
      overflow.root = refCountRoot;
      // A change that failed half-way may have left these.
      this.#pending.clear();
      this.#changing = 0;
      this.#bootstrap = false;
    };
  }

  #release(sealed: SealedState): void {
    sealed.kept = false; // the latest one stays until the next is sealed: that is what this transaction copies from
    this.#index.older = this.#index.older.filter((other) => other !== sealed);
  }

  /** Of a map of `nrBlocks`, at least: as if nothing that was handed out since a state was sealed had come back. */
  #nrObtainableOf(nrBlocks: number): number {
    const handedOut = this.#nrHandedOut;
    const left = (state: SealedState): number => nrBlocks - state.nrAllocated - (handedOut - state.nrHandedOut);
    let nr = left(this.#latest);
    if (this.#index.older.length > 0) {
      for (const state of this.#index.older) nr = Math.min(nr, left(state));
      if (this.#counted !== undefined)
        nr = Math.max(nr, this.#counted.nrFree - (handedOut - this.#counted.nrHandedOut));
    }
    return Math.max(0, nr);
  }

  #writeIndex(): void {
    const { states } = this.#index;
    if (!states.some((state) => state.dirty)) return;
    const block = this.#tm.shadow(this.#indexBlock, indexBlockValidator, undefined);
    this.#indexBlock = block.nr;
    states.forEach((state, i) => {
      writeIndexEntry(block.view, indexEntryOffset(i), state);
      state.dirty = false;
    });
  }

  /**
   * Every change goes through the queue, the outermost too: while it is being applied it counts as pending, so that a block
   * just found free is not found again by an allocation that its own counting needs.
   */
  #request(delta: 1 | -1, begin: number, end: number): void {
    if (this.#changing > 0 || this.#bootstrap) {
      this.#pending.push(delta, begin, end);
      return;
    }
    refuseRange(begin, end, this.#counts.nrBlocks);
    this.#pending.push(delta, begin, end);
    this.#change(nothing);
  }

  /** Runs `own`, then whatever changes have been queued, oldest first. */
  #change(own: () => void): void {
    const { blocks } = this.#tm;
    blocks.enter();
    this.#changing++;
    try {
      own();
      while (!this.#pending.isEmpty) {
        // One block at a time, each pending until it is applied: neither lost nor seen twice.
        const { oldest } = this.#pending;
        refuseRange(oldest.begin, oldest.end, this.#counts.nrBlocks);
        for (; oldest.begin < oldest.end; oldest.begin++) {
          if (oldest.delta === 1) this.#counts.inc(oldest.begin);
          else this.#counts.dec(oldest.begin);
        }
        this.#pending.shift();
      }
    } finally {
      this.#changing--;
      blocks.leave();
    }
  }

  #findFree(): number {
    const { nrBlocks } = this.#counts;
    const committed = this.#latest.nrBlocks;
    // From the cursor on, then from the start; then without the hints, which a foreign tool may have left wrong.
    for (const [begin, end, hints] of [
      [this.#cursor, nrBlocks, true],
      [0, Math.min(this.#cursor, nrBlocks), true],
      [0, nrBlocks, false],
    ] as const) {
      let found = this.#counts.findFree(begin, end, committed, hints);
      // A queued increment is a block handed out moments ago. The kernel relies on its cursor not coming round to it.
      while (found >= 0 && !this.#pending.isEmpty && this.#pending.increments(found)) {
        found = this.#counts.findFree(found + 1, end, committed, hints);
      }
      if (found >= 0) return found;
    }
    throw new NoSpaceError(
      'metadata',
      `the metadata device ${this.#tm.blocks.device.name} is full: all ${nrBlocks} blocks are in use, now or by the last commit; grow it, or delete something and commit`,
    );
  }

  #bootstrapBlock(): number {
    if (this.#cursor >= this.#bootstrapEnd) {
      throw new NoSpaceError(
        'metadata',
        this.#latest.nrBlocks === 0
          ? `${this.#bootstrapEnd} blocks are too few for the metadata device ${this.#tm.blocks.device.name}: they do not even hold its space map`
          : `growing the metadata device ${this.#tm.blocks.device.name} to ${this.#bootstrapEnd} blocks adds too few to hold the bitmaps for them: grow it by more`,
      );
    }
    return this.#cursor++;
  }

  #checkThreshold(): void {
    const threshold = this.#threshold;
    if (threshold === undefined) return;
    const below = this.nrFree <= threshold.nrFree;
    const reached = below && !threshold.below;
    threshold.below = below;
    if (reached) threshold.reached();
  }
}
