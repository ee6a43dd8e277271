/** The core under the error explorer: what a tree and the space maps can be asked to do, each with its commit. */
import { BTree } from '@pdata/persistent-data';
import type { ErrorSubject } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';
import { auditedState } from './core-subject.js';
import { CoreTarget } from './core-target.js';

const NR_BLOCKS = 160;
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;

const tree = (target: CoreTarget, index: number): BTree<number> => target.trees[index] as BTree<number>;

/** Does it, and commits; after a failure the target is to be aborted, as its users have to. */
const doing = (work: (target: CoreTarget) => void) => (target: CoreTarget) => {
  try {
    work(target);
    target.commit();
  } catch (error) {
    target.blocks.drop();
    throw error;
  }
};

export const subject: ErrorSubject<CoreTarget, typeof MEDIA> = {
  name: 'core',
  media: MEDIA,
  prepare({ metadata }) {
    const target = CoreTarget.format(metadata, 400);
    for (let key = 0; key < 120; key += 2) tree(target, 0).insert(key, target.data.newBlock());
    target.snapshot(tree(target, 0));
    for (let key = 1; key < 40; key += 2) tree(target, 1).insert(key, target.data.newBlock());
    for (let nr = 0; nr < 3; nr++) target.snapshot(tree(target, 1));
    target.commit();
  },
  open: ({ metadata }) => CoreTarget.open(metadata, 32),
  operations: {
    insert: doing((target) => tree(target, 0).insert(61, target.data.newBlock())),
    'insert many into a shared tree': doing((target) => {
      for (let key = 41; key < 120; key += 3) tree(target, 1).insert(key, target.data.newBlock());
    }),
    insertMany: doing((target) => {
      const entries = Array.from({ length: 40 }, (_, nr) => [3 * nr, target.data.newBlock()] as const);
      tree(target, 1).insertMany(entries);
    }),
    remove: doing((target) => tree(target, 0).remove(60)),
    'removeRange of a shared tree': doing((target) => tree(target, 2).removeRange(10, 90)),
    delete: doing((target) => target.trees.splice(0, 1).at(0)?.delete()),
    snapshot: doing((target) => target.snapshot(tree(target, 1))),
    create: doing((target) => {
      target.trees.push(BTree.create(target.tm, tree(target, 0).type));
    }),
    'extend the data space map': doing((target) => target.data.extend(40_000)),
    'grow the metadata': doing((target) => {
      target.blocks.device.grow(NR_BLOCKS + 64);
      target.tm.deviceGrew();
      target.tm.spaceMap.extend(64);
    }),
  },
  /** Its owner aborts after a failure; what it shows is what is committed then. */
  inspect(target) {
    target.abort();
    return shownBy(target);
  },
  close() {},
  recover: ({ metadata }) => shownBy(CoreTarget.open(metadata)),
  sources: allocationFaults,
};

function shownBy(target: CoreTarget): string {
  return `${target.metadataRoot.nrBlocks} ${target.dataRoot.nrBlocks} ${target.trees.length}; ${auditedState(target)}`;
}
