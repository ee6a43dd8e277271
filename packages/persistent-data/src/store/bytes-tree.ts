/** A collection under compound keys, or of records: a page tree. */
import type { Block } from '../block/block.js';
import { TwoWayCursor } from '../btree/two-way-cursor.js';
import { BLOCKS_OF_A_CHANGE, type Scope } from './collection.js';
import type { KeyCodec } from './key-codec.js';
import { OrderedTree } from './ordered-tree.js';
import { nrOverflowBlocks } from './overflow.js';
import { compareKeys, entryOffset } from './page-node.js';
import { pageReader } from './page-reader.js';
import { PageTree, type ValueHooks } from './page-tree.js';
import type { PageValueCodec } from './record-codec.js';

/** What a page tree collection consists of. */
export interface BytesTreeType<V> {
  readonly keys: KeyCodec;
  readonly values: PageValueCodec<V>;
  readonly hooks: ValueHooks | undefined;
}

export class BytesTree<K, V> extends OrderedTree<K, V, DataView> {
  readonly #tree: PageTree;
  readonly #type: BytesTreeType<V>;
  readonly #key: DataView;
  #length: number;

  constructor(scope: Scope, name: string, type: BytesTreeType<V>, root: number, length: number) {
    super(scope, name);
    this.#type = type;
    this.#tree = new PageTree(scope.tm, type.keys.size, root, type.hooks);
    this.#key = new DataView(new ArrayBuffer(type.keys.size));
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

  get(key: K): V | undefined {
    this.scope.requireReadable();
    this.#type.keys.encode(key, this.#key);
    return this.#tree.lookup(this.#key, this.#type.values.decode);
  }

  has(key: K): boolean {
    this.scope.requireReadable();
    this.#type.keys.encode(key, this.#key);
    return this.#tree.has(this.#key);
  }

  set(key: K, value: V): boolean {
    const { keys, values, hooks } = this.#type;
    const bytes = values.encode(value);
    keys.encode(key, this.#key);
    const isNew = this.changing(BLOCKS_OF_A_CHANGE + nrOverflowBlocks(bytes.length), () => {
      if (hooks !== undefined) hooks.inc(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0);
      return this.#tree.insert(this.#key, bytes);
    });
    if (isNew) this.#length++;
    return isNew;
  }

  delete(key: K): boolean {
    if (!this.has(key)) return false;
    this.changing(BLOCKS_OF_A_CHANGE, () => this.#tree.remove(this.#key));
    this.#length--;
    return true;
  }

  clear(): void {
    const { tm, keySize, hooks } = this.#tree;
    this.changing(BLOCKS_OF_A_CHANGE, () => {
      this.#tree.delete();
      this.#tree.root = PageTree.create(tm, keySize, hooks).root;
    });
    this.#length = 0;
  }

  load(entries: Iterable<readonly [key: K, value: V]>): number {
    // Keys in ascending order fill leaf after leaf by themselves.
    let nr = 0;
    for (const [key, value] of entries) if (this.set(key, value)) nr++;
    return nr;
  }

  newCursor(): TwoWayCursor<DataView> {
    return new TwoWayCursor(pageReader(this.#tree));
  }

  encode(key: K): DataView {
    const encoded = new DataView(new ArrayBuffer(this.#type.keys.size));
    this.#type.keys.encode(key, encoded);
    return encoded;
  }

  keyIn(leaf: Block, index: number): K {
    return this.#type.keys.decode(leaf.view, entryOffset(leaf, index)) as K;
  }

  encodedIn(leaf: Block, index: number, into = new DataView(new ArrayBuffer(this.#type.keys.size))): DataView {
    const at = entryOffset(leaf, index);
    for (let i = 0; i < into.byteLength; i += 4) into.setUint32(i, leaf.view.getUint32(at + i));
    return into;
  }

  valueIn(leaf: Block, index: number): V {
    return this.#tree.valueAt(leaf, index, this.#type.values.decode);
  }

  compareIn(leaf: Block, index: number, key: DataView): number {
    return compareKeys(leaf.view, entryOffset(leaf, index), key, 0, this.#type.keys.size);
  }
}
