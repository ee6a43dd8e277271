/**
 * Removing: one descent through shadowed nodes, in which the children around the path are evened out or merged before one
 * of them is entered, so that a removal never has to climb back up. After it every node but the root holds at least a third.
 *
 * Which nodes are joined, and how entries are dealt out, is the kernel's rule to the letter.
 *
 *   before      n: [… A B C …]          after, if A, B and C together fit two nodes:   n: [… A' C' …]
 *                     | | |                                                                  |  |
 *
 * Format: docs/format/btree.md, section 5.
 */
import type { Block } from '../block/block.js';
import { shadowChild } from './insert.js';
import {
  childAt,
  closeEntry,
  floorIndex,
  isLeaf,
  keyAt,
  MAX_DEPTH,
  maxEntries,
  nodeValidator,
  nrEntries,
  setChildAt,
  setKeyAt,
  valueOffset,
  valueSize,
} from './node.js';
import { redistribute, refuseUnlikeSiblings } from './redistribute.js';
import type { TreeHandle } from './tree-handle.js';

/** Removes `key`; false when it is not there, with nodes copied and evened out on the way, but the same entries. */
export function removeEntry<V>(tree: TreeHandle<V>, key: number): boolean {
  const leaf = descendToRemove(tree, key);
  if (leaf === undefined || tree.index < 0 || keyAt(leaf, tree.index) !== key) return false;
  removeAt(tree, leaf, tree.index);
  return true;
}

/**
 * Removes the run of entries from `key` on, each followed by its nearest neighbour, as long as they are below `end`; returns
 * how many. A gap between keys may end it early: the caller looks for the next one.
 */
export function removeRun<V>(tree: TreeHandle<V>, key: number, end: number): number {
  const { blocks } = tree.tm;
  for (let nrRemoved = 0; ; nrRemoved++) {
    blocks.enter(); // each removal is an operation of its own: what it held may go
    try {
      const leaf = descendToRemove(tree, key);
      if (leaf === undefined || nrEntries(leaf) === 0) return nrRemoved;
      const index = Math.max(tree.index, 0);
      const found = keyAt(leaf, index);
      if (found < key || found >= end) return nrRemoved;
      removeAt(tree, leaf, index);
      key = found + 1;
    } finally {
      blocks.leave();
    }
  }
}

function removeAt<V>(tree: TreeHandle<V>, leaf: Block, index: number): void {
  tree.type.dec?.(leaf.view, valueOffset(leaf, index), 1);
  closeEntry(leaf, index);
}

/**
 * The leaf for `key`, shadowed and with an entry to spare; `tree.index` is its last entry with a key ≤ `key`, or -1.
 * Undefined when `key` is below every key of an internal node.
 */
function descendToRemove<V>(tree: TreeHandle<V>, key: number): Block | undefined {
  const { tm, incChildren } = tree;
  let parent: Block | undefined;
  let parentIndex = 0;
  let nr = tree.root;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = tm.shadow(nr, nodeValidator, incChildren);
    if (parent === undefined) tree.root = node.nr;
    else if (node.nr !== nr) setChildAt(parent, parentIndex, node.nr);

    // Collapsing may make a leaf of the node.
    if (!isLeaf(node) && !rebalanceChildren(tree, node, key)) return undefined;
    const index = floorIndex(node, key);
    if (!isLeaf(node) && index < 0) return undefined; // the child that took its place may begin later
    if (isLeaf(node)) {
      if (valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
      tree.index = index;
      return node;
    }
    parent = node;
    parentIndex = index;
    nr = childAt(node, index);
  }
  return tree.refuseDepth();
}

/** Sees to it that the child of `node` on the path to `key` can lose an entry. False when `key` is below all keys. */
function rebalanceChildren<V>(tree: TreeHandle<V>, node: Block, key: number): boolean {
  const nr = nrEntries(node);
  if (nr === 1) {
    collapse(tree, node);
    return true;
  }
  const index = floorIndex(node, key);
  if (index < 0) return false;
  if (index === 0) balanceTwo(tree, node, 0);
  else if (index === nr - 1) balanceTwo(tree, node, index - 1);
  else balanceThree(tree, node, index - 1);
  return true;
}

/**
 * Takes the place of the only child. If others read the child too, what it points at now has one more reader: a kernel that
 * forgot this corrupted snapshots from 2011 to 2026.
 */
function collapse<V>(tree: TreeHandle<V>, node: Block): void {
  const { tm } = tree;
  const childNr = childAt(node, 0);
  const shared = tm.spaceMap.isShared(childNr);
  node.bytes.set(tm.read(childNr, nodeValidator).bytes);
  if (shared) tree.incChildren(node);
  tm.dec(childNr);
}

/** Children `index` and `index + 1`. */
function balanceTwo<V>(tree: TreeHandle<V>, node: Block, index: number): void {
  const left = shadowChild(tree, node, index);
  const right = shadowChild(tree, node, index + 1);
  refuseUnlikeSiblings(left, right);
  joinOrEvenOut(tree, node, index, left, right);
}

function joinOrEvenOut<V>(tree: TreeHandle<V>, node: Block, index: number, left: Block, right: Block): void {
  const total = nrEntries(left) + nrEntries(right);
  if (total < 2 * (leastEntries(left) + 1)) {
    redistribute([left, right], [total, 0]);
    dropChild(tree, node, index + 1);
    return;
  }
  const nrLeft = Math.floor(total / 2);
  redistribute([left, right], [nrLeft, total - nrLeft]);
  setKeyAt(node, index + 1, keyAt(right, 0));
}

/** Children `index`, `index + 1` and `index + 2`. */
function balanceThree<V>(tree: TreeHandle<V>, node: Block, index: number): void {
  const left = shadowChild(tree, node, index);
  const center = shadowChild(tree, node, index + 1);
  const right = shadowChild(tree, node, index + 2);
  refuseUnlikeSiblings(left, center);
  refuseUnlikeSiblings(left, right);
  const total = nrEntries(left) + nrEntries(center) + nrEntries(right);
  if (total < 4 * leastEntries(left) + 1) {
    const nrLeft = Math.min(maxEntries(left), nrEntries(left) + nrEntries(center));
    redistribute([left, center, right], [nrLeft, 0, total - nrLeft]);
    setKeyAt(node, index + 2, keyAt(right, 0));
    dropChild(tree, node, index + 1);
    joinOrEvenOut(tree, node, index, left, right);
    return;
  }
  const nrRight = Math.floor(total / 3);
  const nrLeft = nrRight + (total % 3 === 0 ? 0 : 1);
  redistribute([left, center, right], [nrLeft, total - nrLeft - nrRight, nrRight]);
  setKeyAt(node, index + 1, keyAt(center, 0));
  setKeyAt(node, index + 2, keyAt(right, 0));
}

/** Its entries have moved to its neighbours; what they point at changes hands. */
function dropChild<V>(tree: TreeHandle<V>, node: Block, index: number): void {
  const childNr = childAt(node, index);
  closeEntry(node, index);
  tree.tm.dec(childNr);
}

/** Fewest entries of a node that is not a root. */
const leastEntries = (node: Block): number => Math.floor(maxEntries(node) / 3);
