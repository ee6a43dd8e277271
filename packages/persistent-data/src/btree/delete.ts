/**
 * Giving back a whole tree: a block with other readers only loses a reference; the last reader of a block takes its children,
 * or its values, down with it. An explicit stack of block numbers, a step an operation, so that a tree of any size is
 * deleted in bounded memory.
 *
 * Format: docs/format/btree.md, section 5.4.
 */
import { childAt, isLeaf, MAX_DEPTH, nodeValidator, nrEntries, valueSize, valuesOffset } from './node.js';
import type { TreeHandle } from './tree-handle.js';

export function deleteTree<V>(tree: TreeHandle<V>): void {
  const { tm, type } = tree;
  // The depth of each pending block, so that a cycle cannot pass for a deep tree.
  const pending: { nr: number; depth: number }[] = [{ nr: tree.root, depth: 0 }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { nr, depth } = next;
    if (depth >= MAX_DEPTH) tree.refuseDepth();
    tm.blocks.hold(() => {
      if (!tm.spaceMap.isShared(nr)) {
        const node = tm.read(nr, nodeValidator);
        const nrChildren = nrEntries(node);
        if (!isLeaf(node)) {
          for (let i = nrChildren - 1; i >= 0; i--) pending.push({ nr: childAt(node, i), depth: depth + 1 });
        } else {
          if (valueSize(node) !== type.size) tree.refuseLeaf(node);
          if (nrChildren > 0) type.dec?.(node.view, valuesOffset(node), nrChildren);
        }
      }
      tm.dec(nr);
    });
  }
}
