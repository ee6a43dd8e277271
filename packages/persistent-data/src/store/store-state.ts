/**
 * Everything that a store is in memory: what a superblock says, and all that was opened from it. Thrown away whole when a commit
 * has failed, and opened again from what is durable.
 *
 * It knows how to come back to a point of a transaction (`remember`), and how to be sealed for a commit or a reader. When that is
 * allowed, and what comes of it, is the store's affair.
 *
 * Format: docs/format/store.md.
 */

import { corrupt, setU64At, u64At } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import { BTree } from '../btree/tree.js';
import type { ValueType } from '../btree/value-type.js';
import { DataSpaceMap } from '../space-map/data-space-map.js';
import { createTransactionManagerOn, openTransactionManagerOn } from '../space-map/open.js';
import type { SpaceMapRoot } from '../space-map/root.js';
import type { SealedCounts } from '../transaction/space-map.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { Catalogue } from './catalogue.js';
import { Definitions } from './definitions.js';
import { type Directory, readDirectory, type StoredDirectory, writeDirectory } from './directory.js';
import { Head, type HeadOwner, releaseState } from './head.js';
import { initState } from './init-state.js';
import { readStoreRoots, type StoreRoots, storeSuperblockValidator } from './superblock.js';

/** A commit that is kept: its table, and when it was made. */
export interface HistoryEntry {
  readonly stateNr: number;
  readonly time: number;
}

export const historyType: ValueType<HistoryEntry> = {
  size: 16,
  decode: (view, at) => ({ stateNr: u64At(view, at), time: u64At(view, at + 8) }),
  encode(view, at, { stateNr, time }) {
    setU64At(view, at, stateNr);
    setU64At(view, at + 8, time);
  },
};

/** A space map's root as the tree of maps has it. */
export const mapRootType: ValueType<SpaceMapRoot> = {
  size: 32,
  decode: (view, at) => ({
    nrBlocks: u64At(view, at),
    nrAllocated: u64At(view, at + 8),
    bitmapRoot: u64At(view, at + 16),
    refCountRoot: u64At(view, at + 24),
  }),
  encode(view, at, root) {
    setU64At(view, at, root.nrBlocks);
    setU64At(view, at + 8, root.nrAllocated);
    setU64At(view, at + 16, root.bitmapRoot);
    setU64At(view, at + 24, root.refCountRoot);
  },
};

/** A state that stays as it is until it is released, and what a superblock says of it. */
export interface SealedStore extends SealedCounts {
  readonly roots: StoreRoots;
  readonly spaceMap: SpaceMapRoot;
}

export class StoreState {
  readonly tm: TransactionManager;
  readonly #owner: HeadOwner;
  commitNr: number;
  #time: number;
  directory: Directory;
  #stored: StoredDirectory;
  definitions: Definitions;
  readonly catalogue: Catalogue;
  readonly history: BTree<HistoryEntry>;
  historyLength: number;
  readonly #mapRoots: BTree<SpaceMapRoot>;
  readonly maps: ReadonlyMap<number, DataSpaceMap>;
  main: Head;
  /** Clones that were used since the state was opened. */
  readonly clones = new Map<string, Head>();

  private constructor(tm: TransactionManager, owner: HeadOwner, roots: StoreRoots, directory: Directory) {
    this.tm = tm;
    this.#owner = owner;
    this.commitNr = roots.commitNr;
    this.#time = roots.time;
    this.directory = directory;
    this.#stored = { directoryNr: roots.directoryNr, directoryLength: roots.directoryLength };
    this.catalogue = new Catalogue(tm, roots.catalogueRoot);
    this.history = new BTree(tm, historyType, roots.historyRoot);
    this.historyLength = roots.historyLength;
    this.#mapRoots = new BTree(tm, mapRootType, roots.mapsRoot);
    const maps = new Map<number, DataSpaceMap>();
    for (const { key, value } of this.#mapRoots) maps.set(key, DataSpaceMap.open(tm, value));
    this.maps = maps;
    this.definitions = new Definitions(directory, maps);
    for (const { id, kind } of this.definitions.byId.values())
      if (kind === undefined && !maps.has(id))
        corrupt({ nr: roots.mapsRoot }, 'tree of space maps', `map of collection ${id}`, 'missing', 'a root');
    this.main = new Head(owner, this.definitions.current, roots.stateNr);
  }

  /** From the superblock on the device. `makeOwner` is told of the transaction manager before anything is opened with it. */
  static open(blocks: BlockManager, makeOwner: (tm: TransactionManager) => HeadOwner): StoreState {
    const { spaceMap, ...roots } = readStoreRoots(blocks.read(0, storeSuperblockValidator));
    return StoreState.openAt(blocks, makeOwner, roots, spaceMap);
  }

  /** What a superblock said, whatever block 0 may hold by now. @throws {@link CorruptBlockError} */
  static openAt(
    blocks: BlockManager,
    makeOwner: (tm: TransactionManager) => HeadOwner,
    roots: StoreRoots,
    spaceMap: SpaceMapRoot,
  ): StoreState {
    const tm = openTransactionManagerOn(blocks, spaceMap);
    return new StoreState(tm, makeOwner(tm), roots, readDirectory(tm, roots));
  }

  /** New, with empty collections. Nothing is on the device before the first commit. */
  static format(
    blocks: BlockManager,
    makeOwner: (tm: TransactionManager) => HeadOwner,
    directory: Directory,
  ): StoreState {
    const tm = createTransactionManagerOn(blocks);
    const mapsTree = BTree.create(tm, mapRootType);
    const maps = new Map<number, DataSpaceMap>();
    for (const { id, shape } of directory.collections) {
      if (shape.kind !== 'spaceMap') continue;
      const map = DataSpaceMap.create(tm);
      map.settle();
      maps.set(id, map);
      mapsTree.insert(id, map.root);
    }
    const roots: StoreRoots = {
      commitNr: 0,
      time: 0,
      stateNr: initState(tm, new Definitions(directory, maps).current),
      catalogueRoot: Catalogue.create(tm).root,
      historyRoot: BTree.create(tm, historyType).root,
      historyLength: 0,
      mapsRoot: mapsTree.root,
      ...writeDirectory(tm, directory),
    };
    return new StoreState(tm, makeOwner(tm), roots, directory);
  }

  /** The clone called `name`, opened. @throws {@link NameError} */
  clone(name: string): Head {
    let head = this.clones.get(name);
    if (head === undefined) {
      head = new Head(this.#owner, this.definitions.current, this.catalogue.get(name).stateNr);
      this.clones.set(name, head);
    }
    return head;
  }

  /** Gives up a state that nothing names any more. */
  release(stateNr: number): void {
    releaseState(this.tm, stateNr, this.definitions.byId);
  }

  /** Writes what the heads keep in memory into their tables. */
  settleHeads(): void {
    this.main.settle();
    for (const [name, head] of this.clones) {
      head.settle();
      this.catalogue.move(name, head.stateNr);
    }
  }

  /** Everything as it is now, but for blocks; the function returned puts it back, the blocks having been put back. */
  remember(): () => void {
    this.settleHeads();
    const main = this.main.stateNr;
    const clones = [...this.clones].map(([name, head]) => [name, head, head.stateNr] as const);
    const catalogueRoot = this.catalogue.root;
    const [historyRoot, historyLength, mapsRoot] = [this.history.root, this.historyLength, this.#mapRoots.root];
    const [directory, stored, commitNr, time] = [this.directory, this.#stored, this.commitNr, this.#time];
    const maps = [...this.maps.values()].map((map) => map.remember());
    return () => {
      this.history.root = historyRoot;
      this.historyLength = historyLength;
      this.#mapRoots.root = mapsRoot;
      this.directory = directory;
      this.#stored = stored;
      this.commitNr = commitNr;
      this.#time = time;
      for (const putBack of maps) putBack();
      this.catalogue.reset(catalogueRoot);
      this.main.reset(main);
      this.clones.clear();
      for (const [name, head, stateNr] of clones) {
        head.reset(stateNr);
        this.clones.set(name, head);
      }
    };
  }

  /** Units freed from here on are not handed out before the function returned is called. */
  withholdFreedUnits(): () => void {
    const handBack = [...this.maps.values()].map((map) => map.withholdFreed());
    return () => {
      for (const each of handBack) each();
    };
  }

  /** Replaces the directory; the heads are opened anew by the caller. */
  replaceDirectory(directory: Directory): void {
    this.#stored = writeDirectory(this.tm, directory, this.#stored);
    this.directory = directory;
    this.definitions = new Definitions(directory, this.maps);
  }

  /** Adds an empty space map for the collection `id`. */
  addMap(id: number): void {
    const map = DataSpaceMap.create(this.tm);
    map.settle();
    (this.maps as Map<number, DataSpaceMap>).set(id, map);
    this.#mapRoots.insert(id, map.root);
  }

  /** Settles everything that a commit says, for `seal` to have little left that could fail. */
  prepareCommit(keptInHistory: number, now: number): void {
    this.settleHeads();
    this.commitNr++;
    this.#time = now;
    if (keptInHistory > 0) {
      this.history.insert(this.commitNr, { stateNr: this.main.share(), time: now });
      this.historyLength++;
    }
    while (this.historyLength > keptInHistory) this.forgetOldest();
    // Last: letting go of a state may free units.
    for (const [id, map] of this.maps) {
      this.tm.blocks.hold(() => map.settle());
      this.#mapRoots.insert(id, map.root);
    }
  }

  /** Lets go of the oldest commit of the history. @throws {@link CorruptBlockError} when it has fewer than the superblock says */
  forgetOldest(): void {
    const oldest = this.history.first();
    if (oldest === undefined)
      corrupt({ nr: 0 }, 'store superblock', 'historyLength', this.historyLength, 'as many as the history has');
    this.history.remove(oldest.key);
    this.historyLength--;
    this.release(oldest.value.stateNr);
  }

  /** Seals what there is; with `settling`, for a commit. */
  seal(settling: boolean): SealedStore {
    if (!settling) {
      this.settleHeads();
      for (const map of this.maps.values()) this.tm.blocks.hold(() => map.settle());
    }
    const metadata = this.tm.seal(settling);
    const parts: SealedCounts[] = [metadata, ...[...this.maps.values()].map((map) => map.seal())];
    return {
      roots: this.roots,
      spaceMap: metadata.root,
      release: () => {
        for (const part of parts) part.release();
      },
    };
  }

  /** What was opened, or committed last: sealed already, to be released when a later commit is durable. */
  latestSealed(): SealedCounts {
    const parts = [this.tm.spaceMap.latestSealed(), ...[...this.maps.values()].map((map) => map.latestSealed())];
    return {
      release: () => {
        for (const part of parts) part.release();
      },
    };
  }

  get roots(): StoreRoots {
    return {
      commitNr: this.commitNr,
      time: this.#time,
      stateNr: this.main.stateNr,
      catalogueRoot: this.catalogue.root,
      historyRoot: this.history.root,
      historyLength: this.historyLength,
      mapsRoot: this.#mapRoots.root,
      ...this.#stored,
    };
  }
}
