/**
 * Transactions to be made to fail: each begins on the same committed target, and does one kind of thing thoroughly. Run once
 * unharmed they say what success looks like; run with a fault at every place in turn, they have to leave the one or the other.
 */
import {
  BTree,
  buildTree,
  type DataSpaceMap,
  NestedBTree,
  setU64At,
  subtreeType,
  u64At,
  type ValueType,
} from '@pdata/persistent-data';
import { SparseMetadataDevice } from '@pdata/testing';
import { expect } from 'vitest';
import { type AuditRoot, audit, nestedKind, type TreeKind } from './audit.js';
import { SmallTarget } from './small-target.js';
import { sized } from './values.js';

const DATA_BLOCKS = 3000;
const wide = sized(400);
const FILLER = sized(1340);

/** Data blocks as values: the data space map counts them. */
const dataBlocks = (data: DataSpaceMap): ValueType<number> => ({
  size: 8,
  decode: u64At,
  encode: setU64At,
  inc: (view, at, count) => {
    for (let i = 0; i < count; i++) data.inc(u64At(view, at + 8 * i));
  },
  dec: (view, at, count) => {
    for (let i = 0; i < count; i++) data.dec(u64At(view, at + 8 * i));
  },
  equal: (a, atA, b, atB) => u64At(a, atA) === u64At(b, atB),
});

/** What the roots of the committed target are. */
const ROOT = { wide: 0, wideSnapshot: 1, mappings: 2, mappingsSnapshot: 3, filler: 4 } as const;
/** Snapshots taken later follow in groups of four: two of `wide`, two of `mappings`. */
const NR_FIXED = 5;
const WIDE: TreeKind = { valueSize: 400 };
const MAPPINGS = nestedKind(2, { valueSize: 8, value: (auditor, view, at) => auditor.dataBlock(u64At(view, at)) });

/** A committed target: trees with snapshots, mappings to data blocks, blocks with many references. */
export function committedBase(nrBlocks: number): SparseMetadataDevice {
  const device = new SparseMetadataDevice(nrBlocks);
  const target = SmallTarget.format(device, { dataBlocks: DATA_BLOCKS });
  const { tm } = target;
  const tree = buildTree(
    tm,
    wide,
    Array.from({ length: 900 }, (_, i) => [2 * i, i] as const),
  );
  tm.inc(tree.root);
  const data = target.data as DataSpaceMap;
  const mappings = NestedBTree.create(tm, 2, dataBlocks(data));
  for (let id = 0; id < 3; id++) {
    for (let i = 0; i < 400; i++) mappings.insert([id, 3 * i], data.newBlock());
  }
  tm.inc(mappings.root);
  target.roots = [tree.root, tree.root, mappings.root, mappings.root, BTree.create(tm, FILLER).root];
  target.commit();
  return device;
}

/** Takes free blocks until `nrLeft` are left; then commits, which gives those back that it replaced. */
export function fillUp(device: SparseMetadataDevice, nrLeft: number): void {
  const target = SmallTarget.open(device);
  const filler = new BTree(target.tm, FILLER, target.roots[ROOT.filler] as number);
  // At most three entries a leaf: ascending keys take a block for every second one.
  for (let key = 0; target.tm.spaceMap.nrFree > nrLeft; key++) filler.insert(key, key);
  target.roots[ROOT.filler] = filler.root;
  target.commit();
}

export type Workload = (target: SmallTarget) => void;

const wideTree = (target: SmallTarget, which: number): BTree<number> =>
  new BTree(target.tm, wide, target.roots[which] as number);
const mappingTree = (target: SmallTarget, which: number): NestedBTree<number> =>
  new NestedBTree(target.tm, 2, dataBlocks(target.data as DataSpaceMap), target.roots[which] as number);

/** Each changes the roots it moved, and commits. */
export const WORKLOADS: Record<string, Workload> = {
  'inserting into a shared tree': (target) => {
    const tree = wideTree(target, ROOT.wide);
    for (let i = 0; i < 60; i++) tree.insert(31 * i + 1, i);
    target.roots[ROOT.wide] = tree.root;
    target.commit();
  },
  'removing from a shared tree': (target) => {
    const tree = wideTree(target, ROOT.wideSnapshot);
    expect(tree.removeRange(100, 400)).toBe(150);
    target.roots[ROOT.wideSnapshot] = tree.root;
    target.commit();
  },
  'mapping new data blocks': (target) => {
    const tree = mappingTree(target, ROOT.mappings);
    for (let i = 0; i < 40; i++) tree.insert([i % 3, 29 * i + 1], (target.data as DataSpaceMap).newBlock());
    target.roots[ROOT.mappings] = tree.root;
    target.commit();
  },
  'unmapping shared data blocks': (target) => {
    const tree = mappingTree(target, ROOT.mappingsSnapshot);
    expect(tree.removeRange([1], 100, 500)).toBe(133);
    target.roots[ROOT.mappingsSnapshot] = tree.root;
    target.commit();
  },
  'taking snapshots until counts overflow': (target) => {
    for (let i = 0; i < 6; i++) {
      for (const root of target.roots.slice(0, 4)) target.tm.inc(root);
      const tree = wideTree(target, ROOT.wide);
      tree.insert(100 * i + 1, 1);
      target.roots.push(tree.root, ...target.roots.slice(1, 4));
    }
    target.commit();
  },
  'deleting trees': (target) => {
    wideTree(target, ROOT.wideSnapshot).delete();
    const tree = wideTree(target, ROOT.wide);
    tree.insert(1, 1);
    target.roots[ROOT.wide] = tree.root;
    const data = dataBlocks(target.data as DataSpaceMap);
    const deleting: ValueType<number> = {
      ...subtreeType(target.tm),
      dec: (view, at, count) => {
        for (let i = 0; i < count; i++) new BTree(target.tm, data, u64At(view, at + 8 * i)).delete();
      },
    };
    new BTree(target.tm, deleting, target.roots[ROOT.mappingsSnapshot] as number).delete();
    target.roots[ROOT.wideSnapshot] = target.roots[ROOT.wide] as number;
    target.roots[ROOT.mappingsSnapshot] = target.roots[ROOT.mappings] as number;
    target.tm.inc(target.roots[ROOT.wide] as number);
    target.tm.inc(target.roots[ROOT.mappings] as number);
    target.commit();
  },
  'building a tree': (target) => {
    const tree = buildTree(
      target.tm,
      wide,
      Array.from({ length: 150 }, (_, i) => [i, i] as const),
    );
    wideTree(target, ROOT.wide).delete();
    target.roots[ROOT.wide] = tree.root;
    target.commit();
  },
  'growing the data space map': (target) => {
    (target.data as DataSpaceMap).extend(40_000);
    target.commit();
  },
};

/** Everything a reader can find on `device` but the filler, as text; audited, filler included. */
export function describeState(device: SparseMetadataDevice): string {
  const target = SmallTarget.open(device);
  const data = target.data as DataSpaceMap;
  const known = [...target.roots.slice(0, 4), ...target.roots.slice(NR_FIXED)];
  const isWide = (i: number): boolean => i % 4 < 2;
  const roots: AuditRoot[] = known.map((root, i) => ({ root, kind: isWide(i) ? WIDE : MAPPINGS }));
  roots.push({ root: target.roots[ROOT.filler] as number, kind: { valueSize: FILLER.size } });
  audit(target.tm, roots, data.root);
  const contents = known.map((root, i) => {
    if (isWide(i)) return [...new BTree(target.tm, wide, root)].map(({ key, value }) => `${key}:${value}`).join();
    const tree = new NestedBTree(target.tm, 2, dataBlocks(data), root);
    return [0, 1, 2]
      .map((id) => [...(tree.subtree([id]) as BTree<number>)].map(({ key, value }) => `${key}:${value}`).join())
      .join(';');
  });
  return [data.nrBlocks, ...contents].join('\n');
}
