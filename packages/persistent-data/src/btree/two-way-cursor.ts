/**
 * Reads a tree in key order, upwards or downwards, from any place. What a node looks like is the `NodeReader`'s affair, so that
 * one cursor serves trees with keys of any kind. It remembers block numbers, not blocks. Valid until the tree changes; then
 * `seek` places it anew.
 *
 * A tree has no more leaves than its device has blocks: in a damaged one that leads back into itself, the cursor stops there.
 *
 * Format: docs/format/btree.md, section 3.
 */
import { CorruptBlockError } from '@pdata/device';
import type { Block } from '../block/block.js';
import { childAt, floorIndex, isLeaf, keyAt, MAX_DEPTH, nodeValidator, nrEntries, valueSize } from './node.js';
import type { TreeHandle } from './tree-handle.js';

/** How the nodes of a tree are read. */
export interface NodeReader<K> {
  /** Of the tree as it is now. */
  readonly root: number;
  /** The most leaves there can be. */
  readonly nrBlocks: number;
  /** A node, validated; valid until the next call. */
  read(nr: number): Block;
  /** Whether `node` is what was read as block `nr`; if not, its frame has been used for something else. */
  isStill(node: Block, nr: number): boolean;
  isLeaf(node: Block): boolean;
  nrEntries(node: Block): number;
  childAt(node: Block, index: number): number;
  /** Index of the last key ≤ `key`, or -1. */
  floor(node: Block, key: K): number;
  isAt(node: Block, index: number, key: K): boolean;
}

/** The nodes of a {@link BTree}. */
export const btreeReader = <V>(tree: TreeHandle<V>): NodeReader<number> => ({
  get root() {
    return tree.root;
  },
  get nrBlocks() {
    return tree.tm.blocks.nrBlocks;
  },
  read(nr) {
    const node = tree.tm.blocks.read(nr, nodeValidator);
    if (isLeaf(node) && valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
    return node;
  },
  isStill: (node, nr) => node.nr === nr && tree.tm.blocks.isCached(nr, nodeValidator),
  isLeaf,
  nrEntries,
  childAt,
  floor: floorIndex,
  isAt: (node, index, key) => keyAt(node, index) === key,
});

export class TwoWayCursor<K> {
  readonly #nodes: NodeReader<K>;
  readonly #pathNrs: number[] = [];
  readonly #pathIndexes: number[] = [];
  #depth = 0;
  #leaf: Block | undefined;
  #leafNr = 0;
  #nrEntries = 0;
  #nrLeaves = 0;
  /** Entry within the leaf. */
  index = 0;
  /** Before the first entry or behind the last: nothing to read. */
  done = true;

  constructor(nodes: NodeReader<K>) {
    this.#nodes = nodes;
  }

  /**
   * To the least key ≥ `key`, or, downwards, to the greatest key ≤ `key`; without a key, to the first or the last entry.
   * `beyond`: not to `key` itself.
   */
  seek(key: K | undefined, downwards: boolean, beyond = false): void {
    const nodes = this.#nodes;
    this.#depth = 0;
    this.#nrLeaves = 0;
    this.done = false;
    const end = (node: Block): number => (downwards ? nodes.nrEntries(node) - 1 : 0);
    let index = this.#descend(nodes.root, key === undefined ? end : (node) => nodes.floor(node, key));
    if (key !== undefined) {
      const exact = index >= 0 && nodes.isAt(this.leaf, index, key);
      if (downwards && exact && beyond) index--;
      if (!downwards && !(exact && !beyond)) index++;
    }
    this.index = index;
    if (index < 0) this.#otherLeaf(-1);
    else if (index >= this.#nrEntries) this.#otherLeaf(1);
  }

  next(): void {
    if (++this.index >= this.#nrEntries && !this.done) this.#otherLeaf(1);
  }

  previous(): void {
    if (--this.index < 0 && !this.done) this.#otherLeaf(-1);
  }

  /** The leaf it stands in; valid until the next call to anything that reads. */
  get leaf(): Block {
    const leaf = this.#leaf;
    if (leaf !== undefined && this.#nodes.isStill(leaf, this.#leafNr)) return leaf;
    this.#leaf = this.#nodes.read(this.#leafNr);
    return this.#leaf;
  }

  #descend(root: number, choose: (node: Block) => number): number {
    const nodes = this.#nodes;
    let nr = root;
    while (this.#depth < MAX_DEPTH) {
      const node = nodes.read(nr);
      const index = choose(node);
      if (nodes.isLeaf(node)) {
        if (this.#nrLeaves++ > nodes.nrBlocks) return this.#refuse('leaves');
        this.#leaf = node;
        this.#leafNr = nr;
        this.#nrEntries = nodes.nrEntries(node);
        return index;
      }
      const at = Math.max(index, 0);
      this.#pathNrs[this.#depth] = nr;
      this.#pathIndexes[this.#depth++] = at;
      nr = nodes.childAt(node, at);
    }
    return this.#refuse('depth');
  }

  /** To the nearest entry of another leaf in a direction. */
  #otherLeaf(step: 1 | -1): void {
    const nodes = this.#nodes;
    while (this.#depth > 0) {
      const level = this.#depth - 1;
      const node = nodes.read(this.#pathNrs[level] as number);
      const index = (this.#pathIndexes[level] as number) + step;
      if (index < 0 || index >= nodes.nrEntries(node)) {
        this.#depth--;
        continue;
      }
      this.#pathIndexes[level] = index;
      this.index = this.#descend(nodes.childAt(node, index), step > 0 ? FIRST : (below) => nodes.nrEntries(below) - 1);
      if (this.#nrEntries > 0) return;
    }
    this.done = true;
  }

  #refuse(field: string): never {
    throw new CorruptBlockError({
      structure: 'btree',
      blockNr: this.#nodes.root,
      field,
      found: 'too many (a cycle?)',
      expected: field === 'depth' ? `less than ${MAX_DEPTH}` : `at most ${this.#nodes.nrBlocks}, one a block`,
    });
  }
}

const FIRST = (): number => 0;
