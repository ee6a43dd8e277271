/**
 * Inserting: one descent through shadowed nodes, in which every full node is given room before it is entered, so that a
 * split never has to climb back up. Only the node and its parent are held.
 *
 * When to share with a neighbour, and when to split, is the kernel's rule to the letter: trees come out node for node as
 * the kernel's. Shared neighbours are left alone, because copying them would cost more space than it saves.
 *
 * Format: docs/format/btree.md, section 4.
 */
import type { Block } from '../block/block.js';
import {
  CHILD_SIZE,
  childAt,
  floorIndex,
  INTERNAL_NODE,
  initNode,
  isLeaf,
  keyAt,
  MAX_DEPTH,
  maxEntries,
  nodeFlags,
  nodeValidator,
  nrEntries,
  openEntry,
  setChildAt,
  setKeyAt,
  setNodeShape,
  valueOffset,
  valueSize,
} from './node.js';
import { redistribute, refuseUnlikeSiblings } from './redistribute.js';
import type { TreeHandle } from './tree-handle.js';

/** A neighbour with fewer free slots is not worth sharing with. */
const WORTH_SHARING = 8;

/** New values are encoded here first where the old one has to be compared with them. */
const scratch = new DataView(new ArrayBuffer(4096));

/** Stores `value` under `key`; true when the key is new. */
export function insertEntry<V>(tree: TreeHandle<V>, key: number, value: V): boolean {
  const leaf = descendToInsert(tree, key);
  const { type, index } = tree;
  if (index >= 0 && keyAt(leaf, index) === key) {
    const at = valueOffset(leaf, index);
    if (type.dec !== undefined) {
      type.encode(scratch, 0, value);
      if (!type.equal?.(leaf.view, at, scratch, 0)) type.dec(leaf.view, at, 1);
    }
    type.encode(leaf.view, at, value);
    return false;
  }
  type.encode(leaf.view, openEntry(leaf, index + 1, key), value);
  return true;
}

/**
 * The leaf for `key`, shadowed, with room for one more entry unless it holds the key; `tree.index` is its last entry with a
 * key ≤ `key`, or -1.
 */
export function descendToInsert<V>(tree: TreeHandle<V>, key: number): Block {
  const { tm, incChildren } = tree;
  let parent: Block | undefined;
  let parentIndex = 0;
  let nr = tree.root;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    let node = tm.shadow(nr, nodeValidator, incChildren);
    if (parent === undefined) tree.root = node.nr;
    else if (node.nr !== nr) setChildAt(parent, parentIndex, node.nr);

    const leaf = isLeaf(node);
    if (leaf && valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
    let index = floorIndex(node, key);
    if (nrEntries(node) === maxEntries(node) && !(leaf && index >= 0 && keyAt(node, index) === key)) {
      if (parent === undefined) splitRoot(tree, node);
      else node = makeRoom(tree, parent, parentIndex, node, key);
      index = floorIndex(node, key);
    }
    if (isLeaf(node)) {
      tree.index = index;
      return node;
    }
    if (index < 0) {
      setKeyAt(node, 0, key);
      index = 0;
    }
    parent = node;
    parentIndex = index;
    nr = childAt(node, index);
  }
  return tree.refuseDepth();
}

/** Moves the root's entries into two new nodes below it. The root keeps its block. */
function splitRoot<V>(tree: TreeHandle<V>, root: Block): void {
  const left = newSibling(tree, root);
  const right = newSibling(tree, root);
  const nr = nrEntries(root);
  const nrLeft = Math.floor(nr / 2);
  redistribute([root, left, right], [0, nrLeft, nr - nrLeft]);
  initNode(root, INTERNAL_NODE, CHILD_SIZE);
  addChild(root, 0, left);
  addChild(root, 1, right);
}

/** Gives `node`, full and entry `index` of `parent`, room; returns whichever node is responsible for `key` afterwards. */
function makeRoom<V>(tree: TreeHandle<V>, parent: Block, index: number, node: Block, key: number): Block {
  const nrSiblings = nrEntries(parent);
  let sharedSibling = false;
  for (const sibling of [index - 1, index + 1]) {
    if (sibling < 0 || sibling >= nrSiblings) continue;
    const siblingNr = childAt(parent, sibling);
    if (tree.tm.spaceMap.isShared(siblingNr)) {
      sharedSibling = true;
      continue;
    }
    const neighbour = tree.tm.read(siblingNr, nodeValidator);
    if (maxEntries(neighbour) - nrEntries(neighbour) < WORTH_SHARING) continue;
    return sibling < index
      ? evenOut(parent, shadowChild(tree, parent, sibling), index, node, key)
      : evenOut(parent, node, sibling, shadowChild(tree, parent, sibling), key);
  }
  if (sharedSibling || nrSiblings <= 2 || index === 0 || index === nrSiblings - 1) {
    return splitInTwo(tree, parent, index, node, key);
  }
  return splitTwoInThree(tree, parent, index, node, key);
}

/** `rightIndex` is the entry of `right` in `parent`. */
function evenOut(parent: Block, left: Block, rightIndex: number, right: Block, key: number): Block {
  refuseUnlikeSiblings(left, right);
  const total = nrEntries(left) + nrEntries(right);
  const nrLeft = Math.floor(total / 2);
  redistribute([left, right], [nrLeft, total - nrLeft]);
  setKeyAt(parent, rightIndex, keyAt(right, 0));
  return keyAt(right, 0) <= key ? right : left;
}

function splitInTwo<V>(tree: TreeHandle<V>, parent: Block, index: number, node: Block, key: number): Block {
  const right = newSibling(tree, node);
  const nr = nrEntries(node);
  const nrLeft = Math.floor(nr / 2);
  redistribute([node, right], [nrLeft, nr - nrLeft]);
  addChild(parent, index + 1, right);
  return keyAt(right, 0) <= key ? right : node;
}

function splitTwoInThree<V>(tree: TreeHandle<V>, parent: Block, index: number, right: Block, key: number): Block {
  const left = shadowChild(tree, parent, index - 1);
  refuseUnlikeSiblings(left, right);
  const middle = newSibling(tree, right);
  const total = nrEntries(left) + nrEntries(right);
  const nrLeft = Math.floor(total / 3);
  const nrMiddle = Math.floor((total - nrLeft) / 2);
  redistribute([left, middle, right], [nrLeft, nrMiddle, total - nrLeft - nrMiddle]);
  setKeyAt(parent, index, keyAt(right, 0));
  addChild(parent, index, middle);
  if (keyAt(right, 0) <= key) return right;
  return keyAt(middle, 0) <= key ? middle : left;
}

/** Child `index` of `parent`, shadowed, its new number stored in the parent. */
export function shadowChild<V>(tree: TreeHandle<V>, parent: Block, index: number): Block {
  const child = tree.tm.shadow(childAt(parent, index), nodeValidator, tree.incChildren);
  setChildAt(parent, index, child.nr);
  return child;
}

/** An empty node of the same kind and shape. */
function newSibling<V>(tree: TreeHandle<V>, node: Block): Block {
  const sibling = tree.tm.newBlock(nodeValidator);
  setNodeShape(sibling, nodeFlags(node), 0, maxEntries(node), valueSize(node));
  return sibling;
}

function addChild(parent: Block, index: number, child: Block): void {
  openEntry(parent, index, keyAt(child, 0));
  setChildAt(parent, index, child.nr);
}
