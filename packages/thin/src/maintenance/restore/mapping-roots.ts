/**
 * Builds devices' mapping trees over finished leaves, and settles in the end how often each leaf is used.
 *
 * Devices that consist of the same shared leaves get one tree: unchanged snapshots then cost as little as they did in the
 * pool that was dumped.
 */
import { BTreeBuilder, type TransactionManager, type ValueType } from '@pdata/persistent-data';
import type { DataCounts } from './data-counts.js';
import { forgetLeaf, type MappingLeaf } from './mapping-leaves.js';

/** Only its size matters: leaves are adopted whole. */
const mappingType: ValueType<never> = {
  size: 8,
  decode: () => {
    throw new TypeError('leaves are adopted whole');
  },
  encode: () => {
    throw new TypeError('leaves are adopted whole');
  },
};

interface SharedTree {
  readonly leaves: readonly MappingLeaf[];
  readonly rootNr: number;
  nrUses: number;
}

export class MappingRoots {
  readonly #tm: TransactionManager;
  readonly #trees = new Map<string, SharedTree[]>();

  constructor(tm: TransactionManager) {
    this.#tm = tm;
  }

  /** The root of a tree with exactly `leaves`. */
  rootOf(leaves: readonly MappingLeaf[]): number {
    const [first] = leaves as readonly [MappingLeaf];
    if (leaves.length === 1) {
      first.nrUses++;
      return first.blockNr;
    }
    if (!leaves.every(({ inDef }) => inDef)) return this.#build(leaves);
    const key = `${first.blockNr} ${leaves.length}`;
    const alike = this.#trees.get(key) ?? [];
    let tree = alike.find((other) => other.leaves.every((leaf, i) => leaf === leaves[i]));
    if (!tree) {
      tree = { leaves, rootNr: this.#build(leaves), nrUses: 0 };
      alike.push(tree);
      this.#trees.set(key, alike);
    }
    tree.nrUses++;
    return tree.rootNr;
  }

  /** Counts what is used more than once, and gives up what nobody used. @returns mappings given up */
  settle(shared: Iterable<MappingLeaf>, counts: DataCounts): number {
    let nrUnused = 0;
    for (const leaf of shared) {
      if (leaf.nrUses === 0) {
        forgetLeaf(this.#tm, counts, leaf);
        nrUnused += leaf.nr;
      }
      this.#count(leaf.blockNr, leaf.nrUses);
    }
    for (const alike of this.#trees.values()) for (const { rootNr, nrUses } of alike) this.#count(rootNr, nrUses);
    return nrUnused;
  }

  #count(blockNr: number, nrUses: number): void {
    // The first use is the reference the block was allocated with.
    if (nrUses > 1) this.#tm.spaceMap.setCount(blockNr, nrUses);
  }

  #build(leaves: readonly MappingLeaf[]): number {
    const builder = new BTreeBuilder(this.#tm, mappingType);
    for (const leaf of leaves) {
      leaf.nrUses++;
      builder.adoptLeaf(leaf, leaf.lastKey);
    }
    return builder.finish().root;
  }
}
