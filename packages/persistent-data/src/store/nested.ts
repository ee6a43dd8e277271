/**
 * A collection of trees: under each number a tree of its own, with values of a fixed size under whole numbers. A tree is dropped
 * as a whole, and copied as a whole in no time: the copy shares every block until one of the two is changed.
 */
import { deleteTree } from '../btree/delete.js';
import { descendToInsert } from '../btree/insert.js';
import { NestedBTree, subtreeType } from '../btree/nested.js';
import { childAt, keyAt } from '../btree/node.js';
import { BTree, refuseKey } from '../btree/tree.js';
import { btreeReader, TwoWayCursor } from '../btree/two-way-cursor.js';
import type { ValueType } from '../btree/value-type.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { BLOCKS_OF_A_CHANGE, Collection, type Scope } from './collection.js';
import { NumberTree } from './number-tree.js';
import type { Range } from './ordered-tree.js';

/** Nested trees that are only read. */
export interface NestedView<V> {
  /** Trees. O(1). */
  readonly nrTrees: number;
  /** Whether there is a tree of this number; it may be empty. */
  hasTree(tree: number): boolean;
  /** The numbers of the trees, in ascending order. */
  trees(): IterableIterator<number>;
  get(tree: number, key: number): V | undefined;
  entries(tree: number, range?: Range<number>): IterableIterator<[key: number, value: V]>;
}

/** Nested trees that can be changed, inside a transaction. */
export interface Nested<V> extends NestedView<V> {
  /** Stores `value`; a tree that is missing is made. True when the key is new. */
  set(tree: number, key: number, value: V): boolean;
  /** False when the key, or the tree, is not there. An empty tree stays. */
  delete(tree: number, key: number): boolean;
  /** Makes tree `to`, which must not exist, a copy of tree `from`. O(1). */
  copyTree(from: number, to: number): void;
  /** Drops a whole tree; false when there is none. O(what nobody else shares). */
  dropTree(tree: number): boolean;
}

const scratch = new DataView(new ArrayBuffer(2048));

export class NestedCollection<V> extends Collection implements Nested<V> {
  readonly #type: ValueType<V>;
  #nested: NestedBTree<V>;
  #length: number;

  constructor(scope: Scope, name: string, type: ValueType<V>, root: number, length: number) {
    super(scope, name);
    this.#type = type;
    this.#nested = new NestedBTree(scope.tm, 2, type, root);
    this.#length = length;
  }

  get root(): number {
    return this.#nested.root;
  }

  get length(): number {
    return this.#length;
  }

  get nrTrees(): number {
    this.scope.requireReadable();
    return this.#length;
  }

  reset(root: number, length: number): void {
    this.#nested.root = root;
    this.#length = length;
    this.version++;
  }

  hasTree(tree: number): boolean {
    this.scope.requireReadable();
    return this.#nested.subtree([tree]) !== undefined;
  }

  *trees(): Generator<number, undefined, undefined> {
    const cursor = new TwoWayCursor(btreeReader(this.#upper()));
    for (let last: number | undefined, version = -1; ; ) {
      this.scope.requireReadable();
      const nodes = version === this.version ? cursor : new TwoWayCursor(btreeReader(this.#upper()));
      nodes.seek(last, false, true);
      version = this.version;
      if (nodes.done) return undefined;
      last = keyAt(nodes.leaf, nodes.index);
      yield last;
    }
  }

  get(tree: number, key: number): V | undefined {
    this.scope.requireReadable();
    return this.#nested.lookup([tree, key]);
  }

  *entries(tree: number, range: Range<number> = {}): Generator<[key: number, value: V], undefined, undefined> {
    const { scope, name } = this;
    const handle = new NumberTree(scope, `${name}, tree ${tree}`, this.#type, Number.MAX_SAFE_INTEGER, 0, 0);
    const entries = handle.entries(range);
    for (let version = -1; ; ) {
      if (version !== this.version) {
        const root = this.#nested.subtree([tree])?.root;
        if (root === undefined) return undefined;
        handle.reset(root, 0);
        version = this.version;
      }
      const { value, done } = entries.next();
      if (done === true) return undefined;
      yield value;
    }
  }

  set(tree: number, key: number, value: V): boolean {
    refuseKey(tree);
    refuseKey(key);
    const type = this.#type;
    type.encode(scratch, 0, value);
    return this.changing(2 * BLOCKS_OF_A_CHANGE, () => {
      if (this.#nested.subtree([tree]) === undefined) this.#length++;
      if (type.inc === undefined) return this.#nested.insert([tree, key], value);
      // One reference more for the new value; the old one gives its own up before that is stored.
      type.inc(scratch, 0, 1);
      const old = this.#nested.lookup([tree, key]);
      if (old !== undefined) this.#nested.remove([tree, key]);
      this.#nested.insert([tree, key], value);
      return old === undefined;
    });
  }

  delete(tree: number, key: number): boolean {
    if (this.get(tree, key) === undefined) return false;
    return this.changing(2 * BLOCKS_OF_A_CHANGE, () => this.#nested.remove([tree, key]));
  }

  copyTree(from: number, to: number): void {
    const source = this.#nested.subtree([from]);
    if (source === undefined) throw new RangeError(`${this.name} has no tree ${from} to copy`);
    if (this.hasTree(to)) throw new RangeError(`${this.name} has a tree ${to} already: drop it first`);
    refuseKey(to);
    const { tm } = this.scope;
    this.changing(2 * BLOCKS_OF_A_CHANGE, () => {
      const upper = this.#upper();
      // The path to the source first: copying a shared leaf counts the trees below it.
      tm.blocks.hold(() => {
        const leaf = descendToInsert(upper, from);
        const root = childAt(leaf, upper.index);
        tm.inc(root);
        upper.insert(to, root);
      });
      this.#nested.root = upper.root;
    });
    this.#length++;
  }

  dropTree(tree: number): boolean {
    if (!this.hasTree(tree)) return false;
    const { tm } = this.scope;
    this.changing(2 * BLOCKS_OF_A_CHANGE, () => {
      const upper = this.#upper();
      const root = tm.blocks.hold(() => childAt(descendToInsert(upper, tree), upper.index));
      // Without `dec`: the reference is given up by deleting the tree, which has to know whether it is the last.
      const { dec: _, ...kept } = upper.type;
      const forgetful = new BTree(tm, kept, upper.root);
      forgetful.remove(tree);
      this.#nested.root = forgetful.root;
      new BTree(tm, this.#type, root).delete();
    });
    this.#length--;
    return true;
  }

  #upper(): BTree<number> {
    return new BTree(this.scope.tm, subtreeType(this.scope.tm), this.#nested.root);
  }
}

/** Gives up one reference to nested trees. */
export function deleteNested<V>(tm: TransactionManager, type: ValueType<V>, root: number): void {
  // Trees whose last reader is gone are noted, and deleted outside the operation that found them.
  const orphans: number[] = [];
  const upper = subtreeType(tm);
  const noting: ValueType<number> = {
    ...upper,
    dec(view, at, count) {
      for (let i = 0; i < count; i++) orphans.push(upper.decode(view, at + 8 * i));
    },
  };
  deleteTree(new BTree(tm, noting, root));
  for (const orphan of orphans) new BTree(tm, type, orphan).delete();
}
