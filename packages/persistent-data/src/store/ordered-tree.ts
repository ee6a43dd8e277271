/**
 * The interface of trees to programs: get, set, delete, and ranges both ways. What keys are in a node is up to two subclasses:
 * number-tree.ts (the kernel's btree) and bytes-tree.ts (page trees).
 *
 * An iterator reads the leaf it stands in. When the collection has been changed meanwhile, it looks for its place anew, behind
 * the last key that it gave: it never sees an entry twice, nor one that was removed before it got there.
 */
import type { Block } from '../block/block.js';
import type { TwoWayCursor } from '../btree/two-way-cursor.js';
import { Collection } from './collection.js';

/** A part of a tree, in key order. Left out, a bound is the tree's own end. */
export interface Range<K> {
  /** Keys from this one on. */
  readonly from?: K;
  /** Keys above this one. */
  readonly above?: K;
  /** Keys below this one. */
  readonly to?: K;
  /** Keys up to this one. */
  readonly through?: K;
  /** From the greatest key down. */
  readonly reverse?: boolean;
  /** Entries at most. */
  readonly limit?: number;
}

/** A tree that is only read. */
export interface TreeView<K, V> extends Iterable<[key: K, value: V]> {
  /** Entries. O(1). */
  readonly size: number;
  /** The value under `key`, or undefined. */
  get(key: K): V | undefined;
  has(key: K): boolean;
  /** The entry with the least key. */
  first(): [key: K, value: V] | undefined;
  /** The entry with the greatest key. */
  last(): [key: K, value: V] | undefined;
  /** The entry with the greatest key ≤ `key`. */
  floor(key: K): [key: K, value: V] | undefined;
  /** The entry with the least key ≥ `key`. */
  ceiling(key: K): [key: K, value: V] | undefined;
  entries(range?: Range<K>): IterableIterator<[key: K, value: V]>;
  keys(range?: Range<K>): IterableIterator<K>;
  values(range?: Range<K>): IterableIterator<V>;
}

/** A tree that can be changed, inside a transaction. */
export interface Tree<K, V> extends TreeView<K, V> {
  /** Stores `value` under `key`; true when the key is new. */
  set(key: K, value: V): boolean;
  /** False when `key` is not there. */
  delete(key: K): boolean;
  /** Removes the entries of `range`; returns how many there were. */
  deleteRange(range: Range<K>): number;
  /**
   * Stores many entries; into an empty tree with keys in ascending order this builds full nodes from left to right.
   * @throws RangeError when keys do not ascend
   */
  load(entries: Iterable<readonly [key: K, value: V]>): number;
}

export abstract class OrderedTree<K, V, E> extends Collection implements Tree<K, V> {
  abstract get(key: K): V | undefined;
  abstract has(key: K): boolean;
  abstract set(key: K, value: V): boolean;
  abstract delete(key: K): boolean;
  abstract load(entries: Iterable<readonly [key: K, value: V]>): number;

  /** @internal */ abstract newCursor(): TwoWayCursor<E>;
  /** @internal A copy that stays. */ abstract encode(key: K): E;
  /** @internal */ abstract keyIn(leaf: Block, index: number): K;
  /** @internal The key, into `into` if it is an object; a copy that stays. */
  abstract encodedIn(leaf: Block, index: number, into: E | undefined): E;
  /** @internal */ abstract valueIn(leaf: Block, index: number): V;
  /** @internal < 0, 0, > 0 as the entry's key is below, equal to or above `key`. */
  abstract compareIn(leaf: Block, index: number, key: E): number;

  get size(): number {
    this.scope.requireReadable();
    return this.length;
  }

  first(): [key: K, value: V] | undefined {
    return this.#one({ limit: 1 });
  }

  last(): [key: K, value: V] | undefined {
    return this.#one({ limit: 1, reverse: true });
  }

  floor(key: K): [key: K, value: V] | undefined {
    return this.#one({ through: key, limit: 1, reverse: true });
  }

  ceiling(key: K): [key: K, value: V] | undefined {
    return this.#one({ from: key, limit: 1 });
  }

  entries(range: Range<K> = {}): IterableIterator<[key: K, value: V]> {
    return new RangeIterator(this, range, (leaf, index) => [this.keyIn(leaf, index), this.valueIn(leaf, index)]);
  }

  keys(range: Range<K> = {}): IterableIterator<K> {
    return new RangeIterator(this, range, (leaf, index) => this.keyIn(leaf, index));
  }

  values(range: Range<K> = {}): IterableIterator<V> {
    return new RangeIterator(this, range, (leaf, index) => this.valueIn(leaf, index));
  }

  [Symbol.iterator](): IterableIterator<[key: K, value: V]> {
    return this.entries();
  }

  /** @internal Removes everything at once. */
  abstract clear(): void;

  deleteRange(range: Range<K>): number {
    if (Object.values(range).every((bound) => bound === undefined || bound === false)) {
      const all = this.length;
      if (all > 0) this.clear();
      return all;
    }
    let nr = 0;
    for (const key of this.keys(range)) if (this.delete(key)) nr++;
    return nr;
  }

  #one(range: Range<K>): [key: K, value: V] | undefined {
    const { value, done } = this.entries(range).next();
    return done === true ? undefined : value;
  }
}

class RangeIterator<K, V, E, T> implements IterableIterator<T> {
  readonly #tree: OrderedTree<K, V, E>;
  readonly #cursor: TwoWayCursor<E>;
  readonly #read: (leaf: Block, index: number) => T;
  readonly #downwards: boolean;
  /** Where it begins, and whether at that key or beyond. */
  readonly #begin: E | undefined;
  readonly #beyond: boolean;
  /** Where it ends, and whether with that key or before. */
  readonly #end: E | undefined;
  readonly #withEnd: boolean;
  #left: number;
  #version = -1;
  #lastKey: E | undefined;
  #started = false;

  constructor(tree: OrderedTree<K, V, E>, range: Range<K>, read: (leaf: Block, index: number) => T) {
    const { from, above, to, through, reverse = false, limit = Number.POSITIVE_INFINITY } = range;
    if ((from !== undefined && above !== undefined) || (to !== undefined && through !== undefined))
      throw new TypeError('a range has one lower bound, from or above, and one upper bound, to or through');
    if (!(limit >= 0)) throw new RangeError(`a limit is a number of entries, not ${limit}`);
    const low = from ?? above;
    const high = to ?? through;
    const [begin, end] = reverse ? [high, low] : [low, high];
    this.#tree = tree;
    this.#read = read;
    this.#downwards = reverse;
    this.#begin = begin === undefined ? undefined : tree.encode(begin);
    this.#end = end === undefined ? undefined : tree.encode(end);
    this.#beyond = reverse ? to !== undefined : above !== undefined;
    this.#withEnd = reverse ? from !== undefined : through !== undefined;
    this.#left = limit;
    this.#cursor = tree.newCursor();
  }

  next(): IteratorResult<T> {
    const [tree, cursor] = [this.#tree, this.#cursor];
    tree.scope.requireReadable();
    if (this.#left <= 0) return DONE;
    if (tree.version !== this.#version) {
      this.#version = tree.version;
      if (this.#started) cursor.seek(this.#lastKey, this.#downwards, true);
      else cursor.seek(this.#begin, this.#downwards, this.#beyond);
    } else if (this.#downwards) cursor.previous();
    else cursor.next();
    if (cursor.done) return this.#finish();
    const { leaf, index } = cursor;
    if (this.#end !== undefined) {
      const order = tree.compareIn(leaf, index, this.#end);
      if (this.#downwards ? order < 0 : order > 0) return this.#finish();
      if (order === 0 && !this.#withEnd) return this.#finish();
    }
    this.#left--;
    this.#started = true;
    this.#lastKey = tree.encodedIn(leaf, index, this.#lastKey);
    return { value: this.#read(leaf, index), done: false };
  }

  return(): IteratorResult<T> {
    return this.#finish();
  }

  [Symbol.iterator](): this {
    return this;
  }

  #finish(): IteratorResult<T> {
    this.#left = 0;
    return DONE;
  }
}

const DONE: IteratorReturnResult<undefined> = { value: undefined, done: true };
