/** What a commit costs: the blocks it writes, and their order. */
import { MemoryMetadataDevice } from '@pdata/device';
import { BTree, buildTree } from '@pdata/persistent-data';
import { RecordingMetadataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { audit } from './audit.js';
import { layersOf } from './nodes.js';
import { SmallTarget } from './small-target.js';
import { numbers } from './values.js';

const NR_KEYS = 200_000;
/** A key whose path has no full internal node: those are split on the way down, whatever is to be done below. */
const IN_LAST_PART = 3 * 198_000;

function largeTree(): { device: RecordingMetadataDevice; target: SmallTarget; tree: BTree<number> } {
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 20_000 }), { keepBytes: false });
  const target = SmallTarget.format(device);
  const entries = Array.from({ length: NR_KEYS }, (_, i) => [3 * i, i] as const);
  const tree = buildTree(target.tm, numbers, entries);
  target.roots = [tree.root];
  target.commit();
  device.clear();
  return { device, target, tree };
}

function commit(target: SmallTarget, tree: BTree<number>): void {
  target.roots = [tree.root];
  target.commit();
}

it('of one changed key is a few blocks, a flush, the superblock, and a flush', () => {
  const { device, target, tree } = largeTree();
  expect(layersOf(target.tm, tree.root).length).toBe(3);
  for (const [what, change, most] of [
    ['overwriting', () => tree.insert(IN_LAST_PART, 7), 5], // path of 3, bitmap, index
    ['inserting', () => tree.insert(IN_LAST_PART + 1, 7), 12],
    ['removing', () => tree.remove(IN_LAST_PART + 1), 12],
  ] as const) {
    device.clear();
    change();
    commit(target, tree);
    const operations = device.operations.map(({ op }) => op);
    const superblockAt = device.summary.indexOf('write block 0');
    expect(device.nrBlocksOf('write') - 1, what).toBeLessThanOrEqual(most);
    expect(device.nrOf('flush'), what).toBe(2);
    expect(operations.slice(superblockAt - 1), what).toEqual(['flush', 'write', 'flush']);
    expect(
      operations.slice(0, superblockAt - 1).every((op) => op === 'write'),
      what,
    ).toBe(true);
    expect(device.summary.filter((entry) => /^write blocks? 0/.test(entry)).length, what).toBe(1);
  }
});

it('of a change copies the path of three nodes, and the next change of that leaf nothing', () => {
  const { target, tree } = largeTree();
  const before = layersOf(target.tm, tree.root).map((layer) => layer.map(({ nr }) => nr));
  const moved = (): number[] =>
    layersOf(target.tm, tree.root).map(
      (layer, depth) => layer.filter(({ nr }) => !(before[depth] as number[]).includes(nr)).length,
    );
  tree.insert(IN_LAST_PART, 1);
  expect(moved()).toEqual([1, 1, 1]);
  const { root } = tree;
  const { nrFree } = target.tm.spaceMap;
  for (let i = 0; i < 20; i++) tree.insert(IN_LAST_PART + 3 * i, i);
  expect(moved()).toEqual([1, 1, 1]);
  expect([tree.root, target.tm.spaceMap.nrFree]).toEqual([root, nrFree]);
});

it('never writes a block that the last superblock reaches, but the superblock', () => {
  const { device, target, tree } = largeTree();
  for (let round = 0; round < 20; round++) {
    const { references } = audit(target.tm, [{ root: tree.root, kind: { valueSize: 8 } }]);
    device.clear();
    for (let i = 0; i < 10; i++) {
      tree.insert((round * 7919 + i * 104_729) % (3 * NR_KEYS), i);
      tree.remove((round * 3571 + i * 15_485) % (3 * NR_KEYS));
    }
    commit(target, tree);
    for (const operation of device.operations) {
      if (operation.op !== 'write') continue;
      for (let nr = operation.firstBlockNr; nr < operation.firstBlockNr + operation.nrBlocks; nr++) {
        if (nr !== 0 && references.has(nr)) expect.fail(`round ${round}: block ${nr} is in use, and was overwritten`);
      }
    }
  }
});

it('of a transaction larger than the cache is the same, with most blocks written before', () => {
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 5000 }), { keepBytes: false });
  const target = SmallTarget.format(device, { cacheBlocks: 32 });
  device.clear();
  const tree = BTree.create(target.tm, numbers);
  for (let i = 0; i < 60_000; i++) tree.insert((i * 7919) % 60_000, i);
  expect(device.nrBlocksOf('write')).toBeGreaterThan(1000);
  expect(device.nrOf('flush')).toBe(0);
  commit(target, tree);
  expect(device.summary.slice(-3)).toEqual(['flush', 'write block 0', 'flush']);
  expect(device.summary.filter((entry) => /^write blocks? 0/.test(entry))).toEqual(['write block 0']);
  audit(SmallTarget.open(device).tm, [{ root: tree.root, kind: { valueSize: 8 } }]);
});
