/**
 * What differs between two trees, in key order, at a cost that follows the differences and not the trees.
 *
 * Two trees of one device that come from the same snapshot share every block that neither has changed since. Both are walked
 * side by side; where the two walks stand before the same block, both step over it unread, for one block is one content. What
 * is left are the paths that were copied by a change, and their counterparts in the other tree.
 *
 * Keeping the walks together. Each stands before an item: an entry of a leaf, or a subtree that it has not entered.
 *
 *   the same subtree           both step over it
 *   one begins at a lower key  that one goes on: its entry is in its tree alone, its subtree is entered
 *   both begin at one key      the higher of two subtrees is entered, so that the walks meet at the layer where they can be
 *                              the same again, also in trees of different depth; two entries are compared, byte by byte
 *
 * A damaged tree, which could reach its nodes over and over: every node has to lie between the keys by which its parents
 * place it, so that none can be met twice, and the walk ends. What both trees share is not looked at.
 *
 * Format: docs/format/btree.md, sections 2 and 3.
 */
import { type Block, corrupt } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import {
  childAt,
  floorIndex,
  isLeaf,
  KEY_SIZE,
  keyAt,
  keysOffset,
  MAX_DEPTH,
  nodeValidator,
  nrEntries,
  valueOffset,
  valueSize,
} from './node.js';
import type { TreeHandle } from './tree-handle.js';

/** A key whose value is not the same in two trees, or that only one of them has. */
export interface TreeDifference<V> {
  readonly key: number;
  /** Its value in the first tree; undefined when it is not there. */
  readonly before: V | undefined;
  /** Its value in the second tree; undefined when it is not there. */
  readonly after: V | undefined;
}

/**
 * The keys in `begin`..`end` (exclusive) whose values differ, byte by byte, or that only one of two trees has, in order.
 *
 * Lazy, and valid until one of the trees changes. O(changed paths): blocks that both trees share are not read. An absent tree
 * is an empty one.
 *
 * @throws RangeError for trees of two block managers, or of values of two sizes
 * @throws {@link CorruptBlockError} for a node that is damaged, or does not lie where its parents place it
 */
export function* diffTrees<V>(
  before: TreeHandle<V> | undefined,
  after: TreeHandle<V> | undefined,
  begin = 0,
  end = Number.POSITIVE_INFINITY,
): Generator<TreeDifference<V>> {
  if (before !== undefined && after !== undefined) {
    if (before.tm.blocks !== after.tm.blocks)
      throw new RangeError('two trees are compared on one device, through one block manager');
    if (before.type.size !== after.type.size)
      throw new RangeError(`values of ${before.type.size} and of ${after.type.size} bytes cannot be compared`);
    if (before.root === after.root) return;
  }
  const a = new DiffWalk(before, begin);
  const b = new DiffWalk(after, begin);
  while (Math.min(a.key, b.key) < end) {
    if (a.subtree !== NONE && a.subtree === b.subtree) {
      a.skip();
      b.skip();
    } else if (a.subtree !== NONE && (a.key < b.key || (a.key === b.key && a.isNotBelow(b)))) a.enter();
    else if (b.subtree !== NONE && b.key <= a.key) b.enter();
    else if (a.key < b.key) {
      yield { key: a.key, before: a.value, after: undefined };
      a.skip();
    } else if (b.key < a.key) {
      yield { key: b.key, before: undefined, after: b.value };
      b.skip();
    } else if (!skipEqualEntries(a, b)) {
      yield { key: a.key, before: a.value, after: b.value };
      a.skip();
      b.skip();
    }
  }
}

const NONE = -1;

/** A node that was entered. */
interface Step {
  readonly nr: number;
  readonly leaf: boolean;
  readonly nrEntries: number;
  readonly height: number;
  /** Every key below it is less. */
  readonly above: number;
  index: number;
}

/** One of the two walks: it remembers block numbers, not blocks, as a cursor does. */
class DiffWalk<V> {
  readonly #tree: TreeHandle<V> | undefined;
  readonly #begin: number;
  readonly #path: Step[] = [];
  /** The key of the entry, or the least that the subtree may have; infinite behind the last item. */
  key = Number.POSITIVE_INFINITY;
  /** Root of the subtree it stands before, or NONE before an entry, and at the end. */
  subtree = NONE;
  /** Layers below the root of the subtree; -1 before an entry. To keep the walks together, not to be relied on. */
  height = -1;
  /** Where its parents place the subtree: no key below `#low`, all below `#above`. */
  #low = 0;
  #above = Number.POSITIVE_INFINITY;

  constructor(tree: TreeHandle<V> | undefined, begin: number) {
    this.#tree = tree;
    this.#begin = begin;
    if (tree === undefined) return;
    this.key = begin;
    this.subtree = tree.root;
    this.height = heightOf(tree, begin);
  }

  /** Of two items, at least one of them a subtree, whether this is the one to enter. */
  isNotBelow(other: DiffWalk<V>): boolean {
    return other.subtree === NONE || this.height >= other.height;
  }

  get blocks(): BlockManager {
    return this.#handle.tm.blocks;
  }

  get value(): V {
    const { leaf } = this;
    return this.#handle.type.decode(leaf.view, valueOffset(leaf, this.index));
  }

  /** The leaf that the entry stands in; valid until the next call to anything that reads. */
  get leaf(): Block {
    return this.#read((this.#path.at(-1) as Step).nr);
  }

  /** The entry within the leaf. */
  get index(): number {
    return (this.#path.at(-1) as Step).index;
  }

  get #handle(): TreeHandle<V> {
    return this.#tree as TreeHandle<V>;
  }

  /** Past the entry, or past the whole subtree. */
  skip(nr = 1): void {
    const step = this.#path.at(-1);
    if (step !== undefined) step.index += nr;
    this.#arrive();
  }

  /** To the first item of the subtree. */
  enter(): void {
    if (this.#path.length === MAX_DEPTH) this.#handle.refuseDepth();
    const node = this.#read(this.subtree);
    const leaf = isLeaf(node);
    if (leaf && valueSize(node) !== this.#handle.type.size) this.#handle.refuseLeaf(node);
    this.#requirePlace(node);
    const floor = floorIndex(node, this.#begin);
    const exact = floor >= 0 && keyAt(node, floor) === this.#begin;
    this.#path.push({
      nr: node.nr,
      leaf,
      nrEntries: nrEntries(node),
      height: this.height,
      above: this.#above,
      index: leaf && !exact ? floor + 1 : Math.max(floor, 0),
    });
    this.#arrive();
  }

  /** Looks at the item the path leads to; up from nodes that have no more. */
  #arrive(): void {
    this.subtree = NONE;
    this.height = -1;
    for (let step = this.#path.at(-1); step !== undefined; step = this.#path.at(-1)) {
      const { index, leaf, nrEntries, height, above } = step;
      if (index < nrEntries) {
        const node = this.#read(step.nr);
        this.key = keyAt(node, index);
        if (leaf) return;
        this.subtree = childAt(node, index);
        this.height = height - 1;
        this.#low = this.key;
        this.#above = index + 1 < nrEntries ? keyAt(node, index + 1) : above;
        this.key = Math.max(this.key, this.#begin);
        return;
      }
      this.#path.pop();
      const parent = this.#path.at(-1);
      if (parent !== undefined) parent.index++;
    }
    this.key = Number.POSITIVE_INFINITY;
  }

  /** @throws {@link CorruptBlockError} unless every key of `node` is where its parents place it */
  #requirePlace(node: Block): void {
    const nr = nrEntries(node);
    if (nr === 0) {
      if (this.#path.length > 0) corrupt(node, 'btree node', 'nrEntries', 0, '1 or more, for it is not a root');
      return;
    }
    const first = keyAt(node, 0);
    if (first < this.#low)
      corrupt(node, 'btree node', 'key 0', first, `${this.#low} or above, for its parents place it there`);
    const last = keyAt(node, nr - 1);
    if (last >= this.#above)
      corrupt(node, 'btree node', `key ${nr - 1}`, last, `below ${this.#above}, for its parents place it there`);
  }

  #read(nr: number): Block {
    return this.blocks.read(nr, nodeValidator);
  }
}

/** Layers below the root, where `begin` is: those blocks are about to be needed anyway. */
function heightOf<V>(tree: TreeHandle<V>, begin: number): number {
  let nr = tree.root;
  for (let height = 0; height < MAX_DEPTH; height++) {
    const node = tree.tm.blocks.read(nr, nodeValidator);
    if (isLeaf(node)) return height;
    nr = childAt(node, Math.max(floorIndex(node, begin), 0));
  }
  return tree.refuseDepth();
}

/**
 * Takes two walks, both before an entry of the same key, past the entries from here on that are the same in their two leaves;
 * false when not even the first is.
 */
function skipEqualEntries<V>(a: DiffWalk<V>, b: DiffWalk<V>): boolean {
  const nr = a.blocks.hold(() => nrEqualEntries(a.leaf, a.index, b.leaf, b.index));
  if (nr === 0) return false;
  a.skip(nr);
  b.skip(nr);
  return true;
}

function nrEqualEntries(a: Block, indexA: number, b: Block, indexB: number): number {
  const most = Math.min(nrEntries(a) - indexA, nrEntries(b) - indexB);
  const size = valueSize(a);
  const [keysA, keysB] = [keysOffset(a) + KEY_SIZE * indexA, keysOffset(b) + KEY_SIZE * indexB];
  const [valuesA, valuesB] = [valueOffset(a, indexA), valueOffset(b, indexB)];
  let nr = 0;
  while (
    nr < most &&
    sameBytes(a, keysA + KEY_SIZE * nr, b, keysB + KEY_SIZE * nr, KEY_SIZE) &&
    sameBytes(a, valuesA + size * nr, b, valuesB + size * nr, size)
  )
    nr++;
  return nr;
}

/** Four at a time: a third of the time that single ones take, for values of 16 bytes. */
function sameBytes(a: Block, atA: number, b: Block, atB: number, length: number): boolean {
  const [viewA, viewB] = [a.view, b.view];
  let i = 0;
  for (; i + 4 <= length; i += 4) if (viewA.getUint32(atA + i, true) !== viewB.getUint32(atB + i, true)) return false;
  for (; i < length; i++) if (viewA.getUint8(atA + i) !== viewB.getUint8(atB + i)) return false;
  return true;
}
