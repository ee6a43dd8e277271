/**
 * Reads a tree in key order, leaf by leaf. It remembers block numbers, not blocks: between two steps its leaf may leave the
 * cache and come back. Valid until the tree changes.
 *
 * Each leaf has to go on behind the last key of the one before. So a damaged tree in which nodes are reached more than once,
 * which could be as large as it likes, ends at the second visit; and what a cursor finds is never before where it was to begin.
 *
 * Format: docs/format/btree.md, section 3.
 */
import { type Block, corrupt } from '../block/block.js';
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
import type { TreeHandle } from './tree-handle.js';

export class BTreeCursor<V> {
  readonly #tree: TreeHandle<V>;
  /** Block numbers from the root down, and the entry taken in each. */
  readonly #path: { nr: number; index: number }[] = [];
  #leafNr = 0;
  #nrEntries = 0;
  #lastKey = -1;
  /** Entry within the leaf. */
  index = 0;
  /** Behind the last entry. */
  done = false;

  constructor(tree: TreeHandle<V>, from: number) {
    this.#tree = tree;
    this.#descend(tree.root, from);
    if (this.index < this.#nrEntries) return;
    // Whatever comes next has to lie behind `from`: a caller who goes on behind what he is given would go round for ever.
    this.#lastKey = Math.max(this.#lastKey, from);
    this.nextLeaf();
  }

  /**
   * The leaf the cursor stands in; valid until the next call to anything that reads.
   * @throws RangeError when `done`, as `key` and `value` do
   */
  get leaf(): Block {
    if (this.done) throw new RangeError('the cursor stands behind the last entry');
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
        const lastKey = this.#lastKey;
        this.#descend(childAt(node, step.index), 0);
        this.#requireProgress(lastKey);
        return;
      }
    }
    this.done = true;
  }

  #requireProgress(lastKey: number): void {
    const { leaf } = this;
    // Only a root may be empty.
    const found = this.#nrEntries === 0 ? 'missing' : keyAt(leaf, 0);
    if (typeof found === 'number' && found > lastKey) return;
    corrupt(leaf, 'btree node', 'key 0', found, `above ${lastKey}, for its parents place it there`);
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
        if (this.#nrEntries > 0) this.#lastKey = keyAt(node, this.#nrEntries - 1);
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
