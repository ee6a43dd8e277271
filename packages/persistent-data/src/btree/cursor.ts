/**
 * Reads a tree in key order, leaf by leaf. It remembers block numbers, not blocks: between two steps its leaf may leave the
 * cache and come back. Valid until the tree changes.
 *
 * Format: docs/format/btree.md, section 3.
 */
import type { Block } from '../block/block.js';
import {
  childAt,
  floorIndex,
  isLeaf,
  keyAt,
  MAX_DEPTH,
  nodeValidator,
  nrEntries,
  valueOffset,
  valueSize,
} from './node.js';
import type { BTree } from './tree.js';

export class BTreeCursor<V> {
  readonly #tree: BTree<V>;
  /** Block numbers from the root down, and the entry taken in each. */
  readonly #path: { nr: number; index: number }[] = [];
  #leafNr = 0;
  #nrEntries = 0;
  /** Entry within the leaf. */
  index = 0;
  /** Behind the last entry. */
  done = false;

  constructor(tree: BTree<V>, from: number) {
    this.#tree = tree;
    this.#descend(tree.root, from);
    if (this.index >= this.#nrEntries) this.nextLeaf();
  }

  /** The leaf the cursor stands in; valid until the next call to anything that reads. */
  get leaf(): Block {
    return this.#tree.tm.blocks.read(this.#leafNr, nodeValidator);
  }

  get key(): number {
    return keyAt(this.leaf, this.index);
  }

  get value(): V {
    const { leaf } = this;
    return this.#tree.type.decode(leaf.view, valueOffset(leaf, this.index));
  }

  next(): void {
    if (++this.index >= this.#nrEntries && !this.done) this.nextLeaf();
  }

  /** To the first entry of the next leaf that has one. */
  nextLeaf(): void {
    const { blocks } = this.#tree.tm;
    for (let step = this.#path.pop(); step !== undefined; step = this.#path.pop()) {
      const node = blocks.read(step.nr, nodeValidator);
      if (++step.index < nrEntries(node)) {
        this.#path.push(step);
        this.#descend(childAt(node, step.index), 0);
        if (this.#nrEntries > 0) return;
      }
    }
    this.done = true;
  }

  #descend(nr: number, from: number): void {
    const { blocks } = this.#tree.tm;
    while (this.#path.length < MAX_DEPTH) {
      const node = blocks.read(nr, nodeValidator);
      const floor = floorIndex(node, from);
      if (isLeaf(node)) {
        if (valueSize(node) !== this.#tree.type.size) this.#tree.refuseLeaf(node);
        this.#leafNr = nr;
        this.#nrEntries = nrEntries(node);
        this.index = floor >= 0 && keyAt(node, floor) === from ? floor : floor + 1;
        return;
      }
      const index = Math.max(floor, 0);
      this.#path.push({ nr, index });
      nr = childAt(node, index);
    }
    this.#tree.refuseDepth();
  }
}
