/**
 * Reference counts of a device other than the metadata device: a pool's data blocks. Its bitmaps and trees are metadata
 * blocks like any others, so nothing here recurses.
 *
 * Index entries live in a tree (key: bitmap number). Those in use are kept in memory and written back by `settle`. The path to
 * an entry is copied as soon as its bitmap is, so that settling overwrites in place: a transaction that had room for its
 * changes has room for its commit.
 *
 * Blocks added by `extend` are not handed out, nor counted as free, before the commit.
 *
 * Format: docs/format/space-maps.md, sections 4 and 6; 7 for creating and growing.
 */
import { CorruptBlockError } from '@pdata/device';
import { BTree } from '../btree/tree.js';
import type { ValueType } from '../btree/value-type.js';
import { NoSpaceError } from '../transaction/errors.js';
import type { SealableSpaceMap, SealedCounts } from '../transaction/space-map.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { nrBitmapsFor } from './bitmap.js';
import { BitmapCounts, type BitmapIndex, type BitmapState, refCountType } from './bitmap-counts.js';
import { FreedBlocks } from './freed-blocks.js';
import { INDEX_ENTRY_SIZE, type IndexEntry, readIndexEntry, writeIndexEntry } from './index-entry.js';
import { refuseRange } from './range.js';
import type { SpaceMapRoot } from './root.js';

export const indexEntryType: ValueType<IndexEntry> = {
  size: INDEX_ENTRY_SIZE,
  decode: readIndexEntry,
  encode: writeIndexEntry,
};

/** Entries kept from one transaction to the next: enough for 66 million blocks. */
const MAX_CLEAN_ENTRIES = 4096;

class DataIndex implements BitmapIndex {
  readonly tree: BTree<IndexEntry>;
  states = new Map<number, BitmapState>();
  /** States that are kept, besides the one sealed last. */
  older: readonly SealedState[] = [];
  #latestNr = -1;
  #latest: BitmapState | undefined;

  constructor(tree: BTree<IndexEntry>) {
    this.tree = tree;
  }

  get(bitmapNr: number): BitmapState {
    if (this.#latestNr === bitmapNr && this.#latest !== undefined) return this.#latest;
    let state = this.states.get(bitmapNr);
    if (state === undefined) {
      const entry = this.tree.lookup(bitmapNr);
      if (entry === undefined) {
        throw new CorruptBlockError({
          structure: 'space-map index tree',
          blockNr: this.tree.root,
          field: `entry ${bitmapNr}`,
          found: 'missing',
          expected: 'a bitmap block',
        });
      }
      state = { ...entry, committedBlockNr: entry.blockNr, dirty: false };
      this.states.set(bitmapNr, state);
    }
    this.#latestNr = bitmapNr;
    this.#latest = state;
    return state;
  }

  add(bitmapNr: number, entry: IndexEntry): void {
    this.states.set(bitmapNr, { ...entry, committedBlockNr: 0, dirty: true });
    this.#latest = undefined;
    this.tree.insert(bitmapNr, entry);
  }

  moved(bitmapNr: number, state: BitmapState): void {
    this.tree.insert(bitmapNr, state);
  }

  sealed(bitmapNr: number): readonly number[] {
    if (this.older.length === 0) return NO_BITMAPS;
    const { blockNr, committedBlockNr } = this.get(bitmapNr);
    const found: number[] = [];
    for (const { index, nrBlocks } of this.older) {
      const older = bitmapNr < nrBitmapsFor(nrBlocks) ? (index.lookup(bitmapNr)?.blockNr ?? 0) : 0;
      if (older !== 0 && older !== blockNr && older !== committedBlockNr && !found.includes(older)) found.push(older);
    }
    return found;
  }

  /** As they are now; the function returned puts them back. */
  remember(): () => void {
    const { root } = this.tree;
    const states = [...this.states].map(([bitmapNr, state]) => [bitmapNr, { ...state }] as const);
    return () => {
      this.tree.root = root;
      this.states = new Map(states.map(([bitmapNr, state]) => [bitmapNr, { ...state }]));
      this.#latest = undefined;
    };
  }

  writeBack(): void {
    const dirty = [...this.states].filter(([, state]) => state.dirty).sort(([a], [b]) => a - b);
    for (const [bitmapNr, state] of dirty) {
      this.tree.insert(bitmapNr, state);
      state.dirty = false;
    }
  }

  /** From here on the entries of now are those to compare with. */
  seal(): void {
    if (this.states.size > MAX_CLEAN_ENTRIES) {
      this.states.clear();
      this.#latest = undefined;
      return;
    }
    for (const state of this.states.values()) state.committedBlockNr = state.blockNr;
  }
}

const NO_BITMAPS: readonly number[] = [];

/** A state that was sealed: the last commit, one on its way, one that is being read. */
interface SealedState {
  readonly index: BTree<IndexEntry>;
  readonly nrBlocks: number;
  kept: boolean;
}

export class DataSpaceMap implements SealableSpaceMap {
  readonly #tm: TransactionManager;
  readonly #index: DataIndex;
  readonly #counts: BitmapCounts;
  #cursor = 0;
  /** Freed since `withholdFreed`. */
  #withheld: FreedBlocks | undefined;
  /** The state sealed last; without others it is the last commit. */
  #latest: SealedState;

  private constructor(tm: TransactionManager, root: SpaceMapRoot, committed: boolean) {
    this.#tm = tm;
    this.#index = new DataIndex(new BTree(tm, indexEntryType, root.bitmapRoot));
    this.#counts = new BitmapCounts(tm, this.#index, root);
    this.#latest = this.#stateOf(root.bitmapRoot, committed ? root.nrBlocks : 0);
  }

  static open(tm: TransactionManager, root: SpaceMapRoot): DataSpaceMap {
    return new DataSpaceMap(tm, root, true);
  }

  /** A map of no blocks: two empty trees. */
  static create(tm: TransactionManager): DataSpaceMap {
    return tm.blocks.hold(() => {
      const bitmapRoot = BTree.create(tm, indexEntryType).root;
      const refCountRoot = BTree.create(tm, refCountType).root;
      return new DataSpaceMap(tm, { nrBlocks: 0, nrAllocated: 0, bitmapRoot, refCountRoot }, false);
    });
  }

  get nrBlocks(): number {
    return this.#counts.nrBlocks;
  }

  /** Blocks of the last commit: what may be handed out already. */
  get committedNrBlocks(): number {
    return this.#latest.nrBlocks;
  }

  /** Frees of this transaction count at once, although those blocks are handed out only after the commit. */
  get nrFree(): number {
    return Math.max(0, this.#latest.nrBlocks - this.#counts.nrAllocated);
  }

  get nrAllocated(): number {
    return this.#counts.nrAllocated;
  }

  /** What the superblock is to say after `settle`. */
  get root(): SpaceMapRoot {
    const { nrBlocks, nrAllocated, overflow } = this.#counts;
    return { nrBlocks, nrAllocated, bitmapRoot: this.#index.tree.root, refCountRoot: overflow.root };
  }

  count(blockNr: number): number {
    refuseRange(blockNr, blockNr + 1, this.#counts.nrBlocks);
    return this.#counts.count(blockNr);
  }

  isShared(blockNr: number): boolean {
    refuseRange(blockNr, blockNr + 1, this.#counts.nrBlocks);
    return this.#counts.bitmapValue(blockNr) > 1;
  }

  inc(begin: number, end = begin + 1): void {
    this.#each(begin, end, true);
  }

  dec(begin: number, end = begin + 1): void {
    this.#each(begin, end, false);
  }

  setCount(blockNr: number, count: number): void {
    refuseRange(blockNr, blockNr + 1, this.#counts.nrBlocks);
    this.#tm.blocks.hold(() => this.#counts.set(blockNr, count));
  }

  newBlock(): number {
    const found = this.#findFree();
    this.#cursor = found + 1;
    this.inc(found);
    return found;
  }

  extend(nr: number): void {
    if (!Number.isSafeInteger(nr) || nr < 0) throw new RangeError(`cannot extend a space map by ${nr} blocks`);
    this.#tm.blocks.hold(() => this.#counts.extend(this.#counts.nrBlocks + nr));
  }

  /**
   * Gives all blocks of bitmap `bitmapNr` (from `bitmapNr` x 16 320 on), none of which is in use, their counts at once:
   * `countOf(entry)` for entry 0, 1, … For restoring, where counting one by one would cost a bitmap look-up a mapping.
   */
  fillBitmap(bitmapNr: number, countOf: (entry: number) => number): void {
    this.#tm.blocks.hold(() => this.#counts.fillBitmap(bitmapNr, countOf));
  }

  /**
   * From here on, what becomes free is not handed out before the function returned is called: if all this is rolled back, it is in use
   * again, and whoever writes to blocks as they are handed out must not have written there.
   */
  withholdFreed(): () => void {
    this.#withheld = new FreedBlocks();
    return () => {
      this.#withheld = undefined;
    };
  }

  /** Writes entries kept in memory into the index tree; `root` is final then. To be called before the metadata map settles. */
  settle(): void {
    this.#index.writeBack();
  }

  /** The committed state is now the current one. */
  committed(): void {
    this.#latest.kept = false; // the commit before this one
    this.seal();
  }

  /** After `settle`, and together with the transaction manager's own `seal`. */
  seal(): SealedCounts {
    if (this.#latest.kept) this.#index.older = [...this.#index.older, this.#latest];
    this.#index.seal();
    const sealed = this.#stateOf(this.#index.tree.root, this.#counts.nrBlocks);
    this.#latest = sealed;
    return this.latestSealed();
  }

  latestSealed(): SealedCounts {
    const sealed = this.#latest;
    return {
      release: () => {
        sealed.kept = false; // the latest one stays until the next is sealed
        this.#index.older = this.#index.older.filter((other) => other !== sealed);
      },
    };
  }

  remember(): () => void {
    const putBack = this.#index.remember();
    const cursor = this.#cursor;
    const { nrBlocks, nrAllocated, overflow } = this.#counts;
    const refCountRoot = overflow.root;
    return () => {
      putBack();
      this.#cursor = cursor;
      this.#counts.nrBlocks = nrBlocks;
      this.#counts.nrAllocated = nrAllocated;
      overflow.root = refCountRoot;
    };
  }

  #stateOf(indexRoot: number, nrBlocks: number): SealedState {
    return { index: new BTree(this.#tm, indexEntryType, indexRoot), nrBlocks, kept: true };
  }

  #each(begin: number, end: number, up: boolean): void {
    refuseRange(begin, end, this.#counts.nrBlocks);
    const { blocks } = this.#tm;
    for (let blockNr = begin; blockNr < end; blockNr++) {
      blocks.enter();
      try {
        if (up) this.#counts.inc(blockNr);
        else {
          this.#counts.dec(blockNr);
          if (this.#withheld !== undefined && this.#counts.bitmapValue(blockNr) === 0) this.#withheld.add(blockNr);
        }
      } finally {
        blocks.leave();
      }
    }
  }

  #findFree(): number {
    const committed = this.#latest.nrBlocks;
    for (const [begin, end, hints] of [
      [this.#cursor, committed, true],
      [0, Math.min(this.#cursor, committed), true],
      [0, committed, false],
    ] as const) {
      let found = this.#counts.findFree(begin, end, committed, hints);
      while (found >= 0 && this.#withheld?.has(found)) found = this.#counts.findFree(found + 1, end, committed, hints);
      if (found >= 0) return found;
    }
    const orFreed = this.#withheld === undefined ? '' : ', or were freed by this very transaction';
    throw new NoSpaceError(
      'data',
      `no data block is free: all ${committed} are in use, now or by the last commit${orFreed}`,
    );
  }
}
