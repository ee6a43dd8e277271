/** The judge judged: each kind of damage that the audit exists for is made once, every checksum right, and has to be found. */
import { MemoryMetadataDevice } from '@pdata/device';
import { BTree, type DataSpaceMap, indexBlockValidator, setU64At } from '@pdata/persistent-data';
import { expect, it } from 'vitest';
import type { MetadataSpaceMap } from '../src/space-map/metadata-space-map.js';
import { audit } from './audit.js';
import { layersOf, rewrite } from './nodes.js';
import { SmallTarget } from './small-target.js';
import { numbers } from './values.js';

/** A committed tree of 900 keys (four leaves), ten data blocks in use, all of which are referred to. */
function committed(): { device: MemoryMetadataDevice; target: SmallTarget } {
  const device = new MemoryMetadataDevice({ nrBlocks: 100 });
  const target = SmallTarget.format(device, { dataBlocks: 1000 });
  const tree = BTree.create(target.tm, numbers);
  for (let key = 0; key < 900; key++) tree.insert(10 * key, key);
  for (let i = 0; i < 10; i++) (target.data as DataSpaceMap).newBlock();
  target.roots = [tree.root];
  target.commit();
  return { device, target };
}

function judge(target: SmallTarget): void {
  const roots = target.roots.map((root) => ({ root, kind: { valueSize: 8 } }));
  const dataBlocks = Array.from({ length: 10 }, (_, nr) => nr);
  audit(
    target.tm,
    [
      ...roots,
      (auditor) => {
        for (const nr of dataBlocks) auditor.dataBlock(nr);
      },
    ],
    (target.data as DataSpaceMap).root,
  );
}

it('finds nothing where there is nothing', () => {
  judge(committed().target);
});

it.each<[what: string, damage: (target: SmallTarget) => void, says: RegExp | string]>([
  ['a leaked block', ({ tm }) => tm.spaceMap.newBlock(), 'counted 1, referred to 0 times'],
  ['a count too high', ({ tm, roots }) => tm.inc(roots[0] as number), 'counted 2, referred to 1 times'],
  [
    'a count far too high',
    ({ tm, roots }) => tm.spaceMap.setCount(roots[0] as number, 7),
    'counted 7, referred to 1 times',
  ],
  ['a count too low', ({ tm, roots }) => tm.dec(roots[0] as number), 'counted 0, referred to 1 times'],
  ['a leaked data block', ({ data }) => data?.newBlock(), 'counted 1, referred to 0 times'],
  ['a data count too low', ({ data }) => data?.dec(3), 'counted 0, referred to 1 times'],
])('finds %s', (_, damage, says) => {
  const { target } = committed();
  damage(target);
  target.commit();
  expect(() => judge(target)).toThrow(says);
});

type Layers = ReturnType<typeof layersOf>;
const root = (layers: Layers): number => layers[0]?.[0]?.nr as number;
const leaf = (layers: Layers, i: number): number => layers[1]?.[i]?.nr as number;

it.each<[what: string, victim: (layers: Layers) => number, change: (view: DataView) => void, says: RegExp | string]>([
  [
    'a node under a third',
    (l) => leaf(l, 1),
    (v) => v.setUint32(16, 83, true),
    'is no root and has 83 entries, fewer than 84',
  ],
  ['a parent key above its child', root, (v) => setU64At(v, 40, 2490), /key 1 is 2490, above the lowest of its child/],
  [
    'keys behind their parent’s next',
    (l) => leaf(l, 0),
    (v) => setU64At(v, 32 + 8 * 247, 2490),
    'not below key 1 of the parent',
  ],
  ['another value size', (l) => leaf(l, 2), (v) => v.setUint32(24, 4, true), 'valueSize is 4, expected 8'],
  ['another capacity', (l) => leaf(l, 2), (v) => v.setUint32(20, 249, true), 'maxEntries is 249, expected 252'],
])('finds %s', (_, victim, change, says) => {
  const { device, target } = committed();
  const layers = layersOf(target.tm, target.roots[0] as number);
  expect(layers[1]?.map(({ keys }) => keys[0])).toEqual([0, 2480, 4960, 6850]);
  rewrite(device, victim(layers), change);
  expect(() => judge(SmallTarget.open(device))).toThrow(says);
});

it('finds an entry of the reference-count tree whose bitmap says otherwise', () => {
  const { device, target } = committed();
  rewrite(device, target.tm.spaceMap.root.refCountRoot, (view) => {
    view.setUint32(16, 1, true);
    setU64At(view, 32, 50);
    view.setUint32(2720, 3, true);
  });
  expect(() => judge(SmallTarget.open(device))).toThrow('in the reference-count tree, but not 3 in their bitmaps');
});

it('finds leaves at different depths', () => {
  const { device, target } = committed();
  const layers = layersOf(target.tm, target.roots[0] as number);
  // The third leaf's place is taken by an internal node over it.
  const between = BTree.create(target.tm, numbers).root;
  target.commit();
  rewrite(device, between, (view) => {
    view.setUint32(4, 1, true);
    view.setUint32(16, 1, true);
    setU64At(view, 32, 4960);
    setU64At(view, 2048, leaf(layers, 2));
  });
  rewrite(device, root(layers), (view) => setU64At(view, 2048 + 16, between));
  expect(() => judge(SmallTarget.open(device))).toThrow('depth of child 2 is 3, expected 2');
});

it.each([
  ['nrFree', 8, 1, /nrFree/],
  ['noneFreeBefore', 12, 99, /is free, below noneFreeBefore 99/],
] as const)('finds a wrong %s', (_, at, value, says) => {
  const { device, target } = committed();
  const { bitmapRoot } = (target.tm.spaceMap as MetadataSpaceMap).root;
  rewrite(device, bitmapRoot, (view) => view.setUint32(16 + at, value, true), indexBlockValidator);
  expect(() => judge(SmallTarget.open(device))).toThrow(says);
});
