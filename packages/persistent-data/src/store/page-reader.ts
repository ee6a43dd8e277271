/** How a cursor reads the nodes of a page tree. */
import type { NodeReader } from '../btree/two-way-cursor.js';
import { isKeyAt, isPageLeaf, nrPageEntries, pageChildAt, pageFloor, pageValidator } from './page-node.js';
import type { PageTree } from './page-tree.js';

export const pageReader = (tree: PageTree): NodeReader<DataView> => ({
  get root() {
    return tree.root;
  },
  get nrBlocks() {
    return tree.tm.blocks.nrBlocks;
  },
  read: (nr) => tree.read(nr),
  isStill: (node, nr) => node.nr === nr && tree.tm.blocks.isCached(nr, pageValidator),
  isLeaf: isPageLeaf,
  nrEntries: nrPageEntries,
  childAt: pageChildAt,
  floor: pageFloor,
  isAt: isKeyAt,
});
