/**
 * Finding an entry: equal or below, at or above, first, last. Nothing is copied and, on a cached tree, nothing allocated.
 *
 * A descent leaves the position it found in `tree.index` and returns the leaf, valid until the next call.
 *
 * Format: docs/format/btree.md, section 3.
 */
import { type Block, corrupt } from '../block/block.js';
import {
  childAt,
  childOfNodeAt,
  floorIndex,
  floorIndexAt,
  isLeaf,
  keyAt,
  MAX_DEPTH,
  nodeValidator,
  nrEntries,
  placeOfKeyAt,
  valueSize,
  valueSizeAt,
} from './node.js';
import type { TreeHandle } from './tree-handle.js';

export interface Entry<V> {
  readonly key: number;
  readonly value: V;
}

/** The leaf responsible for `key`; `tree.index` is its last entry with a key ≤ `key`, or -1. */
export function descendTo<V>(tree: TreeHandle<V>, key: number): Block {
  const { blocks } = tree.tm;
  let nr = tree.root;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = blocks.read(nr, nodeValidator);
    const index = floorIndex(node, key);
    if (isLeaf(node)) {
      if (valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
      tree.index = index;
      return node;
    }
    // Below the lowest key: still the first child, whose leaf will say that there is nothing.
    nr = childAt(node, index < 0 ? 0 : index);
  }
  return tree.refuseDepth();
}

/** Where in `tree.tm.blocks.window` the value under `key` lies, until the next call there; -1 when the key is not there. */
export function placeOfValue<V>(tree: TreeHandle<V>, key: number): number {
  const { blocks } = tree.tm;
  let nr = tree.root;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const at = blocks.place(nr, nodeValidator);
    const { window } = blocks;
    const index = floorIndexAt(window, at, key);
    const child = childOfNodeAt(window, at, index < 0 ? 0 : index);
    if (child < 0) {
      if (valueSizeAt(window, at) !== tree.type.size) tree.refuseLeaf(blocks.read(nr, nodeValidator));
      return placeOfKeyAt(window, at, index, key);
    }
    nr = child;
  }
  return tree.refuseDepth();
}

/** The leaf with the least key ≥ `key`, at `tree.index`; undefined when every key is below. */
export function ceilingLeaf<V>(tree: TreeHandle<V>, key: number): Block | undefined {
  const { blocks } = tree.tm;
  let nr = tree.root;
  let right = -1; // subtree whose every key is greater than those on the path
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = blocks.read(nr, nodeValidator);
    const index = floorIndex(node, key);
    if (isLeaf(node)) {
      if (valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
      tree.index = index >= 0 && keyAt(node, index) === key ? index : index + 1;
      if (tree.index < nrEntries(node)) return node;
      return right < 0 ? undefined : leafAbove(tree, right, key);
    }
    const at = index < 0 ? 0 : index;
    if (at + 1 < nrEntries(node)) right = childAt(node, at + 1);
    nr = childAt(node, at);
  }
  return tree.refuseDepth();
}

/**
 * The first leaf below `nr`, which a parent puts to the right of `key`. In a damaged tree it may begin before: whoever asks
 * for what comes next would be led back, and go round for ever.
 */
function leafAbove<V>(tree: TreeHandle<V>, nr: number, key: number): Block | undefined {
  const leaf = edgeLeaf(tree, nr, false);
  if (leaf !== undefined && keyAt(leaf, 0) <= key)
    corrupt(leaf, 'btree node', 'key 0', keyAt(leaf, 0), `above ${key}, for its parents place it there`);
  return leaf;
}

export function firstLeaf<V>(tree: TreeHandle<V>): Block {
  return edgeLeaf(tree, tree.root, false) ?? tree.tm.read(tree.root, nodeValidator);
}

export function lastLeaf<V>(tree: TreeHandle<V>): Block {
  return edgeLeaf(tree, tree.root, true) ?? tree.tm.read(tree.root, nodeValidator);
}

/** The first (or last) leaf below `nr`; undefined when it is empty, which only a root may be. */
function edgeLeaf<V>(tree: TreeHandle<V>, nr: number, last: boolean): Block | undefined {
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = tree.tm.blocks.read(nr, nodeValidator);
    if (isLeaf(node)) {
      if (valueSize(node) !== tree.type.size) tree.refuseLeaf(node);
      tree.index = last ? nrEntries(node) - 1 : 0;
      return nrEntries(node) === 0 ? undefined : node;
    }
    nr = childAt(node, last ? nrEntries(node) - 1 : 0);
  }
  return tree.refuseDepth();
}
