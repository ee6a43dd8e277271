/**
 * Trees of trees: the values of every level but the last are roots of trees of the next. "Level" is nesting, not depth.
 *
 * The order on the way down matters: an upper leaf is shadowed before the root it holds is looked at, because copying a
 * shared leaf makes that root shared, and so decides whether it may be changed in place.
 *
 * A missing upper key is given an empty subtree by `insert`. Subtrees that become empty stay.
 *
 * Format: docs/format/btree.md, sections 2, 2.1, 4 and 5.
 */
import { setU64At, u64At } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { descendToInsert, insertEntry } from './insert.js';
import type { Entry } from './lookup.js';
import { childAt, nodeValidator, setChildAt } from './node.js';
import { BTree, refuseKey } from './tree.js';
import type { ValueType } from './value-type.js';

/** Where the root of a subtree stands: entry `index` of a leaf of the level above. */
interface Slot {
  readonly leafNr: number;
  readonly index: number;
}

/**
 * Roots of other trees as values. Copying a shared leaf counts each root once more; giving a value up gives up one reference,
 * and does not delete the tree below: whoever removes the last one deletes that first.
 */
export function subtreeType(tm: TransactionManager): ValueType<number> {
  const each = (view: DataView, at: number, count: number, change: (begin: number, end: number) => void): void => {
    for (let i = 0; i < count; ) {
      const begin = u64At(view, at + 8 * i);
      let end = begin + 1;
      for (i++; i < count && u64At(view, at + 8 * i) === end; i++) end++;
      change(begin, end);
    }
  };
  return {
    size: 8,
    decode: u64At,
    encode: setU64At,
    inc: (view, at, count) => each(view, at, count, (begin, end) => tm.inc(begin, end)),
    dec: (view, at, count) => each(view, at, count, (begin, end) => tm.dec(begin, end)),
    equal: (a, atA, b, atB) => u64At(a, atA) === u64At(b, atB),
  };
}

export class NestedBTree<V> {
  readonly #tm: TransactionManager;
  readonly nrLevels: number;
  // Handles, not state: set to whichever subtree an operation is in. Reading has its own, so that it can go on inside a change.
  readonly #levels: BTree<number>[] = [];
  readonly #last: BTree<V>;
  readonly #reader: BTree<V>;
  root: number;

  constructor(tm: TransactionManager, nrLevels: number, type: ValueType<V>, root: number) {
    if (!Number.isInteger(nrLevels) || nrLevels < 2)
      throw new RangeError(`a nested tree has 2 levels or more, not ${nrLevels}`);
    this.#tm = tm;
    this.nrLevels = nrLevels;
    this.root = root;
    const upper = subtreeType(tm);
    for (let level = 0; level < nrLevels - 1; level++) this.#levels.push(new BTree(tm, upper, 0));
    this.#last = new BTree(tm, type, 0);
    this.#reader = new BTree(tm, type, 0);
  }

  static create<V>(tm: TransactionManager, nrLevels: number, type: ValueType<V>): NestedBTree<V> {
    return new NestedBTree(tm, nrLevels, type, BTree.create(tm, subtreeType(tm)).root);
  }

  /** What the last level stores. */
  get type(): ValueType<V> {
    return this.#last.type;
  }

  /** The tree that `prefix` (all keys but the last) leads to; for reading. Undefined when there is none. */
  subtree(prefix: readonly number[]): BTree<V> | undefined {
    this.#refusePrefix(prefix);
    const root = this.#rootBelow(prefix);
    return root === undefined ? undefined : new BTree(this.#tm, this.type, root);
  }

  lookup(keys: readonly number[]): V | undefined {
    return this.#reading(keys)?.lookup(keys[keys.length - 1] as number);
  }

  /** The entry of the last level with the least last key ≥ the one given; the keys before it match exactly. */
  ceiling(keys: readonly number[]): Entry<V> | undefined {
    return this.#reading(keys)?.ceiling(keys[keys.length - 1] as number);
  }

  /** Stores `value`; true when the last key is new. */
  insert(keys: readonly number[], value: V): boolean {
    refuseKey(keys[keys.length - 1] as number); // before a subtree is made for it
    return this.change(keys.slice(0, -1), true, (tree) => tree.insert(keys[keys.length - 1] as number, value)) ?? false;
  }

  /** Removes the entry; false when it, or a tree on the way to it, is not there. */
  remove(keys: readonly number[]): boolean {
    if (this.lookup(keys) === undefined) return false;
    return this.change(keys.slice(0, -1), false, (tree) => tree.remove(keys[keys.length - 1] as number)) ?? false;
  }

  /** Removes the entries under `prefix` with a last key in `begin`..`end` (exclusive); returns how many. */
  removeRange(prefix: readonly number[], begin: number, end: number): number {
    return this.change(prefix, false, (tree) => tree.removeRange(begin, end)) ?? 0;
  }

  /**
   * Runs `work` on the subtree that `prefix` leads to and stores its new root in the levels above. A missing subtree is
   * created, or, without `create`, the answer is undefined. The handle is only valid inside `work`.
   */
  change<T>(prefix: readonly number[], create: boolean, work: (tree: BTree<V>) => T): T | undefined {
    this.#refusePrefix(prefix);
    if (!create && this.#rootBelow(prefix) === undefined) return undefined;
    let root = this.root;
    let slot: Slot | undefined;
    for (let level = 0; level < prefix.length; level++) {
      const tree = this.#levels[level] as BTree<number>;
      tree.root = root;
      const below = this.#keepingRoot(tree, slot, () => this.#slot(tree, level, prefix[level] as number));
      root = below.root;
      slot = below;
    }
    this.#last.root = root;
    return this.#keepingRoot(this.#last, slot, () => work(this.#last));
  }

  /**
   * Runs `work` on `tree`, and stores the root that it leaves where the root stands: also when it throws, for then the old
   * root has given up its reference all the same.
   */
  #keepingRoot<T>(tree: BTree<unknown>, slot: Slot | undefined, work: () => T): T {
    const before = tree.root;
    try {
      return work();
    } finally {
      if (tree.root !== before) {
        if (slot === undefined) this.root = tree.root;
        // The leaf is this transaction's own. Overwritten in place: shadowing has moved the reference already.
        else setChildAt(this.#tm.blocks.write(slot.leafNr, nodeValidator), slot.index, tree.root);
      }
    }
  }

  /** The place of the root under `key` in `tree`, the path to it shadowed. */
  #slot(tree: BTree<number>, level: number, key: number): Slot & { readonly root: number } {
    return this.#tm.blocks.hold(() => {
      if (tree.lookup(key) === undefined) {
        const below: BTree<unknown> = this.#levels[level + 1] ?? this.#last;
        insertEntry(tree, key, BTree.create(this.#tm, below.type).root);
      }
      const leaf = descendToInsert(tree, key);
      return { leafNr: leaf.nr, index: tree.index, root: childAt(leaf, tree.index) };
    });
  }

  /** The handle kept for reading, on the tree that all but the last of `keys` lead to. */
  #reading(keys: readonly number[]): BTree<V> | undefined {
    if (keys.length !== this.nrLevels)
      throw new RangeError(`a key of ${this.nrLevels} levels has as many parts, not ${keys.length}`);
    const root = this.#rootBelow(keys);
    if (root === undefined) return undefined;
    this.#reader.root = root;
    return this.#reader;
  }

  /** Where the first keys, one a level but the last, lead to. */
  #rootBelow(keys: readonly number[]): number | undefined {
    let root = this.root;
    for (let level = 0; level < this.nrLevels - 1; level++) {
      const tree = this.#levels[level] as BTree<number>;
      tree.root = root;
      const below = tree.lookup(keys[level] as number);
      if (below === undefined) return undefined;
      root = below;
    }
    return root;
  }

  #refusePrefix(prefix: readonly number[]): void {
    if (prefix.length !== this.nrLevels - 1)
      throw new RangeError(`${this.nrLevels - 1} keys lead to a subtree, not ${prefix.length}`);
    for (const key of prefix) refuseKey(key);
  }
}
