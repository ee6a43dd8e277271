/**
 * Reads an array in index order, block by block. Between two steps its block may leave the cache and come back. Valid until
 * the array changes.
 *
 * Format: docs/format/array-and-bitset.md, section 3.
 */
import type { Block } from '../block/block.js';
import type { PersistentArray } from './array.js';
import { arrayBlockValidator, arrayValueOffset } from './array-block.js';

export class ArrayCursor<V> {
  readonly #array: PersistentArray<V>;
  /** Block of the current element. */
  #blockNr = 0;
  /** Index behind the last one in that block. */
  #endOfBlock = 0;
  #index: number;

  /** @throws RangeError when `from` is neither in the array nor its end */
  constructor(array: PersistentArray<V>, from: number) {
    if (from !== array.nrElements) array.refuseIndex(from);
    this.#array = array;
    this.#index = from;
    this.#enterBlock();
  }

  /** Of the current element. */
  get index(): number {
    return this.#index;
  }

  /** Behind the last element; an empty array begins there. */
  get done(): boolean {
    return this.#index >= this.#array.nrElements;
  }

  /** The block of the current element, which lies at byte `at` of it; valid until the next call to anything that reads. */
  get block(): Block {
    if (this.done) this.#array.refuseIndex(this.#index);
    return this.#array.tm.read(this.#blockNr, arrayBlockValidator);
  }

  get at(): number {
    return arrayValueOffset(this.block, this.#index % this.#array.elementsPerBlock);
  }

  /** @throws RangeError when `done` */
  get value(): V {
    return this.#array.type.decode(this.block.view, this.at);
  }

  next(): void {
    this.skip(1);
  }

  /** Goes `nr` elements on, or to the end. What lies between is not read. */
  skip(nr: number): void {
    if (!Number.isInteger(nr) || nr < 0) throw new RangeError(`cannot skip ${nr} elements`);
    this.#index = Math.min(this.#index + nr, this.#array.nrElements);
    if (this.#index >= this.#endOfBlock) this.#enterBlock();
  }

  #enterBlock(): void {
    if (this.done) return;
    // A descent a block, not a path kept: blocks hold hundreds of elements.
    this.#blockNr = this.#array.locate(this.#index).nr;
    this.#endOfBlock = this.#array.endOfBlock(this.#index);
  }
}
