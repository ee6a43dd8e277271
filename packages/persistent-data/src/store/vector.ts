/** A collection of values of a fixed size under the indexes 0, 1, 2…: the kernel's array. */
import { PersistentArray } from '../array/array.js';
import type { ValueType } from '../btree/value-type.js';
import { BLOCKS_OF_A_CHANGE, Collection, type Scope } from './collection.js';

/** An array that is only read. */
export interface VectorView<V> extends Iterable<V> {
  readonly length: number;
  /** @throws RangeError when `index` is outside */
  get(index: number): V;
  /** The elements from `begin` to before `end`. */
  values(begin?: number, end?: number): IterableIterator<V>;
}

/** An array that can be changed, inside a transaction. */
export interface Vector<V> extends VectorView<V> {
  /** @throws RangeError when `index` is outside */
  set(index: number, value: V): void;
  /** Appends an element; returns its index. */
  push(value: V): number;
  /** Cuts the array, or lengthens it by elements that are `fill`. */
  resize(length: number, fill: V): void;
}

const scratch = new DataView(new ArrayBuffer(4096));

export class VectorCollection<V> extends Collection implements Vector<V> {
  readonly #type: ValueType<V>;
  #array: PersistentArray<V>;

  constructor(scope: Scope, name: string, type: ValueType<V>, root: number, length: number) {
    super(scope, name);
    this.#type = type;
    this.#array = new PersistentArray(scope.tm, type, root, length);
  }

  get root(): number {
    return this.#array.root;
  }

  get length(): number {
    this.scope.requireReadable();
    return this.#array.nrElements;
  }

  reset(root: number, length: number): void {
    this.#array = new PersistentArray(this.scope.tm, this.#type, root, length);
    this.version++;
  }

  get(index: number): V {
    this.scope.requireReadable();
    return this.#array.get(index);
  }

  *values(begin = 0, end = Number.POSITIVE_INFINITY): Generator<V, undefined, undefined> {
    for (let index = begin; index < end && index < this.length; index++) yield this.get(index);
    return undefined;
  }

  [Symbol.iterator](): IterableIterator<V> {
    return this.values();
  }

  set(index: number, value: V): void {
    this.#array.refuseIndex(index);
    this.#type.encode(scratch, 0, value);
    this.changing(BLOCKS_OF_A_CHANGE, () => this.#array.set(index, value));
  }

  push(value: V): number {
    const index = this.length;
    this.resize(index + 1, value);
    return index;
  }

  resize(length: number, fill: V): void {
    this.#type.encode(scratch, 0, fill);
    const nrNew = Math.max(0, length - this.length) / this.#array.elementsPerBlock;
    this.changing(BLOCKS_OF_A_CHANGE + Math.ceil(nrNew * 1.02), () => this.#array.resize(length, fill));
  }
}
