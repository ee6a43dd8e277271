/**
 * One B+tree: what its values are, where its root is, and the operations, each in a file of its own.
 *
 * The root's block number usually changes with the first change of a transaction; whoever stores it reads `root` before
 * the commit. After an error in the middle of a change the tree is half changed: the transaction is to be aborted.
 *
 * Format: docs/format/btree.md.
 */
import type { Block } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { BTreeCursor } from './cursor.js';
import { deleteTree } from './delete.js';
import { insertEntry } from './insert.js';
import { ceilingLeaf, descendTo, type Entry, firstLeaf, lastLeaf, placeOfValue } from './lookup.js';
import {
  initNode,
  keyAt,
  LEAF_NODE,
  LEAST_MAX_ENTRIES,
  maxEntriesFor,
  nodeValidator,
  nrEntries,
  valueOffset,
  valueSize,
} from './node.js';
import { removeEntry, removeRun } from './remove.js';
import { TreeHandle } from './tree-handle.js';
import type { ValueType } from './value-type.js';

/** Keys are whole numbers from 0 to 2^53 - 1. */
export function refuseKey(key: number): void {
  if (!Number.isSafeInteger(key) || key < 0)
    throw new RangeError(`a btree key is a whole number from 0 to 2^53 - 1, not ${key}`);
}

/** Three values and more have to fit into a leaf: they have up to 1346 bytes. */
export function refuseValueSize(size: number): void {
  if (Number.isInteger(size) && size > 0 && maxEntriesFor(size) >= LEAST_MAX_ENTRIES) return;
  throw new RangeError(`a btree's values have from 1 to 1346 bytes, not ${size}`);
}

export class BTree<V> extends TreeHandle<V> {
  /** A new, empty tree: one empty leaf. */
  static create<V>(tm: TransactionManager, type: ValueType<V>): BTree<V> {
    refuseValueSize(type.size);
    const leaf = tm.newBlock(nodeValidator);
    initNode(leaf, LEAF_NODE, type.size);
    return new BTree(tm, type, leaf.nr);
  }

  /** The value under `key`, or undefined. @throws {@link CorruptBlockError} */
  lookup(key: number): V | undefined {
    const at = placeOfValue(this, key);
    return at < 0 ? undefined : this.type.decode(this.tm.blocks.window, at);
  }

  /**
   * The leaf that would hold `key`; `index` is then its last entry with a key ≤ `key`, or -1. For value types whose
   * decoding would allocate. The block is valid until the next call.
   * @internal
   */
  locate(key: number): Block {
    return descendTo(this, key);
  }

  /** The entry with the greatest key ≤ `key`. */
  floor(key: number): Entry<V> | undefined {
    const leaf = descendTo(this, key);
    if (this.index >= 0) return this.entryAt(leaf, this.index);
    return undefined;
  }

  /** The entry with the least key ≥ `key`. */
  ceiling(key: number): Entry<V> | undefined {
    const leaf = ceilingLeaf(this, key);
    return leaf === undefined ? undefined : this.entryAt(leaf, this.index);
  }

  first(): Entry<V> | undefined {
    const leaf = firstLeaf(this);
    return nrEntries(leaf) === 0 ? undefined : this.entryAt(leaf, 0);
  }

  last(): Entry<V> | undefined {
    const leaf = lastLeaf(this);
    return nrEntries(leaf) === 0 ? undefined : this.entryAt(leaf, nrEntries(leaf) - 1);
  }

  /** Stores `value` under `key`; true when the key is new. The tree takes over the caller's reference. */
  insert(key: number, value: V): boolean {
    refuseKey(key);
    const { blocks } = this.tm;
    blocks.enter();
    try {
      return insertEntry(this, key, value);
    } finally {
      blocks.leave();
    }
  }

  /** As {@link insert} for each pair; returns how many keys are new. */
  insertMany(entries: Iterable<readonly [key: number, value: V]>): number {
    let nrNew = 0;
    for (const [key, value] of entries) if (this.insert(key, value)) nrNew++;
    return nrNew;
  }

  /** Removes `key`; false, and nothing is changed, when it is not there. */
  remove(key: number): boolean {
    refuseKey(key);
    const leaf = descendTo(this, key);
    if (this.index < 0 || keyAt(leaf, this.index) !== key) return false;
    const { blocks } = this.tm;
    blocks.enter();
    try {
      return removeEntry(this, key);
    } finally {
      blocks.leave();
    }
  }

  /** Removes every key in `begin`..`end` (exclusive); returns how many there were. */
  removeRange(begin: number, end: number): number {
    refuseKey(begin);
    if (Number.isNaN(end)) throw new RangeError('the end of a range of keys is a number, not NaN'); // no key is above it
    let nrRemoved = 0;
    for (;;) {
      const leaf = ceilingLeaf(this, begin);
      if (leaf === undefined) return nrRemoved;
      const next = keyAt(leaf, this.index);
      if (next >= end) return nrRemoved;
      nrRemoved += removeRun(this, next, end);
      begin = next + 1;
    }
  }

  /** Gives back every block and value of the tree that nobody else reads. The tree must not be used afterwards. */
  delete(): void {
    deleteTree(this);
  }

  /** An in-order reader, placed at the least key ≥ `from`. Valid until the tree changes. */
  cursor(from = 0): BTreeCursor<V> {
    return new BTreeCursor(this, from);
  }

  /**
   * Calls `visit` with every entry in order, the value where it lies (until the visitor reads something else); stops when it
   * returns false. The tree must not change meanwhile. O(n): reads every node.
   */
  walk(visit: (key: number, view: DataView, at: number) => boolean | void, from = 0): void {
    const cursor = new BTreeCursor(this, from);
    for (; !cursor.done; cursor.nextLeaf()) {
      let { leaf } = cursor;
      const leafNr = leaf.nr;
      const nr = nrEntries(leaf);
      const size = valueSize(leaf);
      for (let index = cursor.index, at = valueOffset(leaf, index); index < nr; index++, at += size) {
        if (leaf.nr !== leafNr) leaf = cursor.leaf; // the visitor has read other blocks, and its frame was needed
        if (visit(keyAt(leaf, index), leaf.view, at) === false) return;
      }
    }
  }

  *[Symbol.iterator](): Generator<Entry<V>> {
    for (const cursor = this.cursor(); !cursor.done; cursor.next()) yield { key: cursor.key, value: cursor.value };
  }

  /** @internal */
  entryAt(leaf: Block, index: number): Entry<V> {
    return { key: keyAt(leaf, index), value: this.type.decode(leaf.view, valueOffset(leaf, index)) };
  }
}
