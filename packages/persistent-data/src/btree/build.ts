/**
 * Builds a tree from entries in ascending order, without a descent an entry: full leaves from left to right, the last two
 * evened out so that none is under a third, then the layers above them likewise. For restoring, and for anything sorted.
 *
 * Leaves that other trees use too can be adopted: built once (`detachLeaf`), then named by their block.
 *
 * Format: docs/format/btree.md, section 6.
 */
import { BLOCK_SIZE, invariant } from '@pdata/device';
import { Block } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import {
  CHILD_SIZE,
  INTERNAL_NODE,
  initNode,
  keyAt,
  LEAF_NODE,
  maxEntries,
  maxEntriesFor,
  nodeValidator,
  nrEntries,
  setChildAt,
  setKeyAt,
  setNrEntries,
  valueSize,
  valuesOffset,
} from './node.js';
import { redistribute } from './redistribute.js';
import { BTree, refuseKey, refuseValueSize } from './tree.js';
import type { ValueType } from './value-type.js';

/** A finished node: what its parent has to know. */
export interface BuiltNode {
  readonly firstKey: number;
  readonly blockNr: number;
}

/** One layer of nodes, the last two of which are still in memory. */
class LayerBuilder {
  readonly #tm: TransactionManager;
  #filling: Block;
  #before: Block;
  readonly done: BuiltNode[] = [];
  /** Entries of the emptiest node written. */
  fewest = Number.POSITIVE_INFINITY;

  constructor(tm: TransactionManager, flags: typeof INTERNAL_NODE | typeof LEAF_NODE, valueSize: number) {
    this.#tm = tm;
    this.#filling = new Block(new Uint8Array(BLOCK_SIZE), 0);
    this.#before = new Block(new Uint8Array(BLOCK_SIZE), 0);
    initNode(this.#filling, flags, valueSize);
    initNode(this.#before, flags, valueSize);
  }

  /** The node that the value of the entry just added belongs into. */
  get node(): Block {
    return this.#filling;
  }

  get isEmpty(): boolean {
    return nrEntries(this.#filling) === 0;
  }

  /** Adds an entry; the caller writes its value at the returned offset of `node`. */
  add(key: number): number {
    let nr = nrEntries(this.#filling);
    if (nr === maxEntries(this.#filling)) {
      this.#finishBefore();
      const finished = this.#before;
      this.#before = this.#filling;
      this.#filling = finished;
      setNrEntries(this.#filling, 0);
      nr = 0;
    }
    setKeyAt(this.#filling, nr, key);
    setNrEntries(this.#filling, nr + 1);
    return valuesOffset(this.#filling) + valueSize(this.#filling) * nr;
  }

  /** Writes out what is still in memory. */
  finish(): void {
    const [before, last] = [this.#before, this.#filling];
    if (nrEntries(before) > 0 && nrEntries(last) < Math.floor(maxEntries(last) / 3)) {
      const total = nrEntries(before) + nrEntries(last);
      redistribute([before, last], [Math.ceil(total / 2), Math.floor(total / 2)]);
    }
    this.#finishBefore();
    if (nrEntries(last) > 0) this.#write(last);
    setNrEntries(last, 0);
  }

  #finishBefore(): void {
    if (nrEntries(this.#before) === 0) return;
    this.#write(this.#before);
    setNrEntries(this.#before, 0);
  }

  #write(node: Block): void {
    const block = this.#tm.newBlock(nodeValidator);
    block.bytes.set(node.bytes);
    this.fewest = Math.min(this.fewest, nrEntries(node));
    this.done.push({ firstKey: keyAt(node, 0), blockNr: block.nr });
  }
}

export class BTreeBuilder<V> {
  readonly #tm: TransactionManager;
  readonly #type: ValueType<V>;
  #leaves: LayerBuilder;
  /** Nodes finished, adopted ones among them, in key order. */
  #nodes: BuiltNode[] = [];
  #lastKey = -1;
  #fewest = Number.POSITIVE_INFINITY;

  constructor(tm: TransactionManager, type: ValueType<V>) {
    refuseValueSize(type.size);
    this.#tm = tm;
    this.#type = type;
    this.#leaves = new LayerBuilder(tm, LEAF_NODE, type.size);
  }

  /** @throws RangeError unless `key` is above all before it */
  add(key: number, value: V): void {
    const at = this.addKey(key);
    this.#type.encode(this.leaf.view, at, value);
  }

  /** As {@link add}, for values that need no object: the caller encodes at the returned offset of `leaf`. */
  addKey(key: number): number {
    this.#advanceTo(key);
    return this.#leaves.add(key);
  }

  /** The leaf that takes the value of the key just added. */
  get leaf(): Block {
    return this.#leaves.node;
  }

  /** Ends the current leaf, so that what follows starts a new one; returns the leaves finished since the last call. */
  detachLeaves(): readonly BuiltNode[] {
    this.#leaves.finish();
    const { done, fewest } = this.#leaves;
    this.#fewest = Math.min(this.#fewest, fewest);
    this.#leaves = new LayerBuilder(this.#tm, LEAF_NODE, this.#type.size);
    this.#nodes.push(...done);
    return done;
  }

  /** Takes a leaf built earlier as the next one. The caller has counted the reference. */
  adoptLeaf(leaf: BuiltNode, lastKey: number): void {
    this.#advanceTo(leaf.firstKey);
    if (!this.#leaves.isEmpty) this.detachLeaves();
    this.#nodes.push(leaf);
    this.#lastKey = lastKey;
  }

  /**
   * Writes the layers above the leaves; the builder is spent.
   * @throws RangeError when a leaf beside others is under a third: around a detached or adopted one that is the caller's care
   */
  finish(): BTree<V> {
    this.detachLeaves();
    const least = Math.floor(maxEntriesFor(this.#type.size) / 3);
    if (this.#nodes.length > 1 && this.#fewest < least) {
      throw new RangeError(`a leaf beside others has ${least} entries or more, not ${this.#fewest}`);
    }
    if (this.#nodes.length === 0) return BTree.create(this.#tm, this.#type);
    let nodes = this.#nodes;
    while (nodes.length > 1) {
      const layer = new LayerBuilder(this.#tm, INTERNAL_NODE, CHILD_SIZE);
      for (const { firstKey, blockNr } of nodes) {
        layer.add(firstKey);
        setChildAt(layer.node, nrEntries(layer.node) - 1, blockNr);
      }
      layer.finish();
      nodes = layer.done;
    }
    const [root] = nodes;
    invariant(root !== undefined, 'a layer without nodes');
    return new BTree(this.#tm, this.#type, root.blockNr);
  }

  #advanceTo(key: number): void {
    refuseKey(key);
    if (key <= this.#lastKey) throw new RangeError(`keys must ascend: ${key} follows ${this.#lastKey}`);
    this.#lastKey = key;
  }
}

/** A tree of `entries`, whose keys ascend. */
export function buildTree<V>(
  tm: TransactionManager,
  type: ValueType<V>,
  entries: Iterable<readonly [key: number, value: V]>,
): BTree<V> {
  const builder = new BTreeBuilder(tm, type);
  for (const [key, value] of entries) builder.add(key, value);
  return builder.finish();
}
