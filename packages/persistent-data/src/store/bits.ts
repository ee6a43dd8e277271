/** A collection of bits: the kernel's bitset. */
import { Bitset } from '../array/bitset.js';
import { BLOCKS_OF_A_CHANGE, Collection, type Scope } from './collection.js';

/** A bitset that is only read. */
export interface BitsView {
  readonly length: number;
  /** @throws RangeError when `bit` is outside */
  has(bit: number): boolean;
  /** O(n): reads every block. */
  count(): number;
  /** The first set bit from `from` on. */
  nextSet(from?: number): number | undefined;
  /** The first clear bit from `from` on. */
  nextClear(from?: number): number | undefined;
}

/** A bitset that can be changed, inside a transaction. */
export interface Bits extends BitsView {
  /** @throws RangeError when `bit` is outside: resize first */
  set(bit: number, value?: boolean): void;
  /** Cuts the set, or lengthens it by bits that are `fill`. */
  resize(length: number, fill?: boolean): void;
}

const BITS_A_BLOCK = 32576;

export class BitsCollection extends Collection implements Bits {
  #bits: Bitset;

  constructor(scope: Scope, name: string, root: number, length: number) {
    super(scope, name);
    this.#bits = new Bitset(scope.tm, root, length);
  }

  get root(): number {
    return this.#bits.root;
  }

  get length(): number {
    this.scope.requireReadable();
    return this.#bits.nrBits;
  }

  reset(root: number, length: number): void {
    this.#bits = new Bitset(this.scope.tm, root, length);
    this.version++;
  }

  override settle(): void {
    this.#bits.flush();
  }

  has(bit: number): boolean {
    this.scope.requireReadable();
    return this.#bits.test(bit);
  }

  count(): number {
    this.scope.requireReadable();
    return this.#bits.countSet();
  }

  nextSet(from = 0): number | undefined {
    this.scope.requireReadable();
    return this.#bits.nextSet(from);
  }

  nextClear(from = 0): number | undefined {
    this.scope.requireReadable();
    return this.#bits.nextClear(from);
  }

  set(bit: number, value = true): void {
    if (this.has(bit) === value) return;
    this.changing(BLOCKS_OF_A_CHANGE, () => (value ? this.#bits.set(bit) : this.#bits.clear(bit)));
  }

  resize(length: number, fill = false): void {
    const nrNew = Math.max(0, length - this.length) / BITS_A_BLOCK;
    this.changing(BLOCKS_OF_A_CHANGE + Math.ceil(nrNew * 1.02), () => this.#bits.resize(length, fill));
  }
}
