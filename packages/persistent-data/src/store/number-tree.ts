/** A collection of values of a fixed size under whole numbers: the kernel's btree. */
import type { Block } from '../block/block.js';
import { BTreeBuilder } from '../btree/build.js';
import { keyAt, valueOffset } from '../btree/node.js';
import { BTree } from '../btree/tree.js';
import { btreeReader, TwoWayCursor } from '../btree/two-way-cursor.js';
import type { ValueType } from '../btree/value-type.js';
import { BLOCKS_OF_A_CHANGE, type Scope } from './collection.js';
import { OrderedTree, type Range } from './ordered-tree.js';

const scratch = new DataView(new ArrayBuffer(2048));
/** How often a bulk load sees to it that there is room: twice the blocks that so many entries can fill. */
const ENTRIES_A_STEP = 64;

export class NumberTree<V> extends OrderedTree<number, V, number> {
  readonly #tree: BTree<V>;
  readonly #maxKey: number;
  #length: number;

  constructor(scope: Scope, name: string, type: ValueType<V>, maxKey: number, root: number, length: number) {
    super(scope, name);
    this.#tree = new BTree(scope.tm, type, root);
    this.#maxKey = maxKey;
    this.#length = length;
  }

  get root(): number {
    return this.#tree.root;
  }

  get length(): number {
    return this.#length;
  }

  reset(root: number, length: number): void {
    this.#tree.root = root;
    this.#length = length;
    this.version++;
  }

  get(key: number): V | undefined {
    this.scope.requireReadable();
    return this.#tree.lookup(key);
  }

  has(key: number): boolean {
    this.scope.requireReadable();
    const leaf = this.#tree.locate(key);
    return this.#tree.index >= 0 && keyAt(leaf, this.#tree.index) === key;
  }

  set(key: number, value: V): boolean {
    this.encode(key);
    const tree = this.#tree;
    const { type } = tree;
    type.encode(scratch, 0, value); // before anything is changed: it may be no such value
    this.change(BLOCKS_OF_A_CHANGE);
    try {
      if (type.inc !== undefined) this.#takeReferences(key);
      const isNew = tree.insert(key, value);
      if (isNew) this.#length++;
      return isNew;
    } catch (error) {
      this.scope.tm.fail(error);
      throw error;
    }
  }

  delete(key: number): boolean {
    if (!this.has(key)) return false;
    this.changing(BLOCKS_OF_A_CHANGE, () => this.#tree.remove(key));
    this.#length--;
    return true;
  }

  load(entries: Iterable<readonly [key: number, value: V]>): number {
    if (this.#length > 0 || this.#tree.type.inc !== undefined) {
      let nr = 0;
      for (const [key, value] of entries) if (this.set(key, value)) nr++;
      return nr;
    }
    return this.changing(BLOCKS_OF_A_CHANGE, () => this.#build(entries));
  }

  #build(entries: Iterable<readonly [key: number, value: V]>): number {
    const { tm, type } = this.#tree;
    const builder = new BTreeBuilder(tm, type);
    let nr = 0;
    for (const [key, value] of entries) {
      if (nr++ % ENTRIES_A_STEP === 0) this.change(BLOCKS_OF_A_CHANGE);
      this.encode(key);
      builder.add(key, value);
    }
    this.change(BLOCKS_OF_A_CHANGE + nr / 1000);
    const empty = this.#tree.root;
    this.#tree.root = builder.finish().root;
    tm.dec(empty);
    this.#length = nr;
    return nr;
  }

  override deleteRange(range: Range<number>): number {
    const { from, above, to, through, reverse = false, limit } = range;
    if (reverse || limit !== undefined || (from ?? above ?? to ?? through) === undefined)
      return super.deleteRange(range);
    const begin = Math.max(0, from ?? (above === undefined ? 0 : above + 1));
    const end = to ?? (through === undefined ? Number.POSITIVE_INFINITY : through + 1);
    const nr = this.changing(BLOCKS_OF_A_CHANGE, () => this.#tree.removeRange(begin, end));
    this.#length -= nr;
    return nr;
  }

  clear(): void {
    const { tm, type } = this.#tree;
    this.changing(BLOCKS_OF_A_CHANGE, () => {
      this.#tree.delete();
      this.#tree.root = BTree.create(tm, type).root;
    });
    this.#length = 0;
  }

  /** The new value, in `scratch`, refers to units once more, unless it takes the place of one that refers to the same. */
  #takeReferences(key: number): void {
    const { type } = this.#tree;
    const leaf = this.#tree.locate(key);
    const { index } = this.#tree;
    const isSame =
      index >= 0 &&
      keyAt(leaf, index) === key &&
      type.equal?.(leaf.view, valueOffset(leaf, index), scratch, 0) === true;
    if (!isSame) type.inc?.(scratch, 0, 1);
  }

  newCursor(): TwoWayCursor<number> {
    return new TwoWayCursor(btreeReader(this.#tree));
  }

  encode(key: number): number {
    if (!Number.isInteger(key) || key < 0 || key > this.#maxKey)
      throw new RangeError(`a key of ${this.name} is a whole number from 0 to ${this.#maxKey}, not ${String(key)}`);
    return key;
  }

  keyIn(leaf: Block, index: number): number {
    return keyAt(leaf, index);
  }

  encodedIn(leaf: Block, index: number): number {
    return keyAt(leaf, index);
  }

  valueIn(leaf: Block, index: number): V {
    return this.#tree.type.decode(leaf.view, valueOffset(leaf, index));
  }

  compareIn(leaf: Block, index: number, key: number): number {
    return keyAt(leaf, index) - key;
  }
}
