/**
 * An array: elements of one size under the indexes 0, 1, 2…, dense, in blocks that a tree finds.
 *
 *   index tree         0 ──────────┐   1 ──────────┐   2 ──────────┐      key: number of the array block, value: where it is
 *   array blocks       [0 … 508]       [509 … 1017]    [1018 … 1100]      all full but the last (509 elements of 8 bytes)
 *
 * The length is stored nowhere: whoever stores `root` stores `nrElements` beside it, or what it follows from. Both are read
 * from the handle before each commit, for a change may move the root.
 *
 * Copy-on-write is the tree's, with one block more at its end: to change an element, the path through the index is shadowed
 * first and the array block last. In that order a shared index leaf makes its array blocks shared before one of them is
 * looked at. The new number then takes the old one's place without the old one being released: shadowing has moved the
 * reference already. (The kernel stores it by an insertion that releases the old number, after counting that once too
 * often; elements with references would be released although they live on in the copy.)
 *
 * References of elements: the array takes its own. `inc` is called for every element stored, `dec` for every one replaced
 * or dropped. In this it differs from a tree, which takes over the reference that its caller holds.
 *
 * After an error in the middle of a change the array is half changed: the transaction is to be aborted.
 *
 * Not here: growing and shrinking (resize.ts), reading in order (array-cursor.ts), bits (bitset.ts).
 * Format: docs/format/array-and-bitset.md, sections 2 and 3.
 */
import { CorruptBlockError } from '@pdata/device';
import { type Block, corrupt } from '../block/block.js';
import { descendToInsert } from '../btree/insert.js';
import { childAt, keyAt, setChildAt } from '../btree/node.js';
import { BTree } from '../btree/tree.js';
import type { ValueType } from '../btree/value-type.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import {
  ARRAY_STRUCTURE,
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueSize,
  initArrayBlock,
  MAX_ARRAY_VALUE_SIZE,
  maxArrayEntriesFor,
  nrArrayEntries,
} from './array-block.js';
import { ArrayCursor } from './array-cursor.js';
import { arrayIndexType } from './index-type.js';
import { resizeArray } from './resize.js';

/** A new element is encoded here first where the old one has to be compared with it. */
const scratch = new DataView(new ArrayBuffer(4096));

export class PersistentArray<V> {
  readonly tm: TransactionManager;
  readonly type: ValueType<V>;
  /** Elements of a full block. */
  readonly elementsPerBlock: number;
  /** @internal */
  readonly index: BTree<number>;
  #nrElements: number;
  /** @internal Set by `locate`: the byte offset of the element. */
  at = 0;
  readonly #incElements: (copy: Block) => void;

  /**
   * The array that somebody remembered as `root` and `nrElements`. Nothing is read.
   * @throws RangeError for values that no block can hold, or a length that is none
   */
  constructor(tm: TransactionManager, type: ValueType<V>, root: number, nrElements: number) {
    if (!Number.isInteger(type.size) || type.size < 1 || type.size > MAX_ARRAY_VALUE_SIZE)
      throw new RangeError(`an array element has 1 to ${MAX_ARRAY_VALUE_SIZE} bytes, not ${type.size}`);
    refuseLength(nrElements);
    this.tm = tm;
    this.type = type;
    this.elementsPerBlock = maxArrayEntriesFor(type.size);
    this.index = new BTree(tm, arrayIndexType(tm, type), root);
    this.#nrElements = nrElements;
    this.#incElements = (copy) => {
      if (nrArrayEntries(copy) > 0) type.inc?.(copy.view, ARRAY_VALUES_AT, nrArrayEntries(copy));
    };
  }

  /**
   * A new array of what `produce(0)`, `produce(1)`… return, built block by block: O(n), each block written once. The index
   * root is allocated first, then the array blocks in order, as the kernel does.
   * @throws {@link NoSpaceError}
   */
  static create<V>(
    tm: TransactionManager,
    type: ValueType<V>,
    nrElements = 0,
    produce?: (index: number) => V,
  ): PersistentArray<V> {
    const array = new PersistentArray(tm, type, 0, nrElements);
    if (nrElements > 0 && produce === undefined) throw new TypeError('an array that is not empty needs a producer');
    array.index.root = BTree.create(tm, array.index.type).root;
    const { elementsPerBlock } = array;
    for (let first = 0; first < nrElements; first += elementsPerBlock) {
      array.addBlock(first / elementsPerBlock, Math.min(elementsPerBlock, nrElements - first), ({ view }, nr) => {
        for (let i = 0, at = ARRAY_VALUES_AT; i < nr; i++, at += type.size)
          type.encode(view, at, (produce as (index: number) => V)(first + i));
      });
    }
    return array;
  }

  /** Block number of the index tree's root; it usually changes with the first change of a transaction. */
  get root(): number {
    return this.index.root;
  }

  set root(root: number) {
    this.index.root = root;
  }

  /** The length. For the owner to store: the array's blocks do not say it. */
  get nrElements(): number {
    return this.#nrElements;
  }

  /**
   * The element at `index`.
   * @throws RangeError when `index` is outside
   * @throws {@link CorruptBlockError} when the element should be there and is not
   */
  get(index: number): V {
    const { view } = this.locate(index);
    return this.type.decode(view, this.at);
  }

  /** Replaces the element at `index`. @throws RangeError, {@link NoSpaceError}, {@link CorruptBlockError} */
  set(index: number, value: V): void {
    this.refuseIndex(index);
    const { type } = this;
    const { blocks } = this.tm;
    blocks.enter();
    try {
      const { view } = this.locateToChange(index);
      const { at } = this;
      if (type.inc !== undefined || type.dec !== undefined) {
        type.encode(scratch, 0, value);
        if (!type.equal?.(view, at, scratch, 0)) {
          // In this order a thing that loses one reference and gets one never stands at none.
          type.inc?.(scratch, 0, 1);
          type.dec?.(view, at, 1);
        }
      }
      type.encode(view, at, value);
    } finally {
      blocks.leave();
    }
  }

  /**
   * Makes the array `nrElements` long. New elements are `value`; those dropped are released, with the blocks that become
   * empty. O(blocks added or dropped).
   */
  resize(nrElements: number, value: V): void {
    refuseLength(nrElements);
    resizeArray(this, this.#nrElements, nrElements, value);
    this.#nrElements = nrElements;
  }

  /** Gives back every block that nobody else reads, and what its elements refer to. The array must not be used afterwards. */
  delete(): void {
    this.index.delete();
  }

  /** A reader in index order, placed at `from`. Valid until the array changes. */
  cursor(from = 0): ArrayCursor<V> {
    return new ArrayCursor(this, from);
  }

  /**
   * Calls `visit` with every element from `from` on, where it lies; stops when it returns false. The array must not change
   * meanwhile. O(n): reads every block.
   */
  walk(visit: (index: number, view: DataView, at: number) => boolean | void, from = 0): void {
    const { blocks } = this.tm;
    for (let index = from; index < this.#nrElements; ) {
      blocks.enter(); // so that what `visit` reads does not evict the block
      try {
        const { view } = this.locate(index);
        const end = Math.min(this.#nrElements, this.endOfBlock(index));
        for (let { at } = this; index < end; index++, at += this.type.size) {
          if (visit(index, view, at) === false) return;
        }
      } finally {
        blocks.leave();
      }
    }
  }

  *[Symbol.iterator](): Generator<V> {
    for (const cursor = this.cursor(); !cursor.done; cursor.next()) yield cursor.value;
  }

  /** @internal The index behind the last one in the block of `index`, were that block full. */
  endOfBlock(index: number): number {
    return (Math.floor(index / this.elementsPerBlock) + 1) * this.elementsPerBlock;
  }

  /** @internal The block of element `index`, which lies at byte `at`. Valid until the next call. */
  locate(index: number): Block {
    this.refuseIndex(index);
    const blockIndex = Math.floor(index / this.elementsPerBlock);
    const leaf = this.index.locate(blockIndex);
    const entry = this.index.index;
    if (entry < 0 || keyAt(leaf, entry) !== blockIndex) this.#refuseMissing(blockIndex);
    const block = this.tm.read(childAt(leaf, entry), arrayBlockValidator);
    this.#locateIn(block, index);
    return block;
  }

  /** @internal As {@link locate}, for the caller to change what lies there, between an `enter` and a `leave`. */
  locateToChange(index: number): Block {
    const block = this.shadowBlock(Math.floor(index / this.elementsPerBlock));
    this.#locateIn(block, index);
    return block;
  }

  /** @internal Array block `blockIndex`, for this transaction to write. Between an `enter` and a `leave`. */
  shadowBlock(blockIndex: number): Block {
    const leaf = descendToInsert(this.index, blockIndex);
    const entry = this.index.index;
    if (entry < 0 || keyAt(leaf, entry) !== blockIndex) this.#refuseMissing(blockIndex);
    const nr = childAt(leaf, entry);
    const block = this.tm.shadow(nr, arrayBlockValidator, this.#incElements);
    if (block.nr !== nr) setChildAt(leaf, entry, block.nr);
    this.#refuseForeign(block);
    return block;
  }

  /** @internal Adds array block `blockIndex` with `nr` elements, which `fill` writes and the array then counts. */
  addBlock(blockIndex: number, nr: number, fill: (block: Block, nr: number) => void): void {
    this.tm.blocks.hold(() => {
      const block = this.tm.newBlock(arrayBlockValidator);
      initArrayBlock(block, this.type.size, nr);
      fill(block, nr);
      this.type.inc?.(block.view, ARRAY_VALUES_AT, nr);
      this.index.insert(blockIndex, block.nr);
    });
  }

  /** @internal */
  refuseIndex(index: number): void {
    if (Number.isInteger(index) && index >= 0 && index < this.#nrElements) return;
    throw new RangeError(`index ${index} is outside the array of ${this.#nrElements} elements`);
  }

  #locateIn(block: Block, index: number): void {
    this.#refuseForeign(block);
    const entry = index % this.elementsPerBlock;
    // The whole block, so that who goes on from here need not ask again.
    const due = Math.min(this.elementsPerBlock, this.#nrElements - (index - entry));
    if (nrArrayEntries(block) < due) {
      const expected = `${due}, for the array to have ${this.#nrElements} elements`;
      corrupt(block, ARRAY_STRUCTURE, 'nrEntries', nrArrayEntries(block), expected);
    }
    this.at = ARRAY_VALUES_AT + entry * this.type.size;
  }

  /** Trusting a block of another value size would read elements at the wrong places. */
  #refuseForeign(block: Block): void {
    const size = arrayValueSize(block);
    if (size !== this.type.size) corrupt(block, ARRAY_STRUCTURE, 'valueSize', size, this.type.size);
  }

  #refuseMissing(blockIndex: number): never {
    throw new CorruptBlockError({
      structure: 'array index',
      blockNr: this.root,
      field: `array block ${blockIndex}`,
      found: 'missing',
      expected: `a block, for the array to have ${this.#nrElements} elements`,
    });
  }
}

function refuseLength(nrElements: number): void {
  if (!Number.isSafeInteger(nrElements) || nrElements < 0)
    throw new RangeError(`the length of an array is a whole number from 0 to 2^53 - 1, not ${nrElements}`);
}
