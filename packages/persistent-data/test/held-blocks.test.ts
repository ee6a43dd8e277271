/**
 * How many blocks one operation holds: a path, its siblings, their copies, and the space map's own. Not the tree, and not
 * more with more of it (the kernel ran out of its six locks in rebalance3: 490ae017).
 */
import { MemoryMetadataDevice } from '@pdata/device';
import {
  BlockManager,
  BTree,
  buildTree,
  type DataSpaceMap,
  setU64At,
  u64At,
  type ValueType,
} from '@pdata/persistent-data';
import { seededRandom } from '@pdata/testing';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { layersOf } from './nodes.js';
import { SmallTarget } from './small-target.js';
import { sized } from './values.js';

const touched = new Set<number>();

beforeEach(() => {
  // Every way a block gets into an operation, watched, not changed.
  for (const name of ['read', 'zero'] as const) {
    const original = BlockManager.prototype[name];
    vi.spyOn(BlockManager.prototype, name).mockImplementation(function (this: BlockManager, nr, validator) {
      touched.add(nr);
      return original.call(this, nr, validator);
    });
  }
  const copy = BlockManager.prototype.copy;
  vi.spyOn(BlockManager.prototype, 'copy').mockImplementation(function (this: BlockManager, from, to, validator) {
    touched.add(to);
    return copy.call(this, from, to, validator);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** The most blocks that one call of `operation` touches, over many. */
function most(nr: number, operation: (i: number) => void): number {
  let found = 0;
  for (let i = 0; i < nr; i++) {
    touched.clear();
    operation(i);
    found = Math.max(found, touched.size);
  }
  return found;
}

it.each([
  { nr: 1500, depth: 2, isShared: false },
  { nr: 20_000, depth: 3, isShared: false },
  { nr: 20_000, depth: 3, isShared: true },
])(
  'stays small in a tree of depth $depth with $nr entries, shared with a snapshot: $isShared',
  ({ nr, depth, isShared }) => {
    const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 16_000 }), { cacheBlocks: 10_000 });
    const type = sized(400);
    const entries = Array.from({ length: nr }, (_, i) => [2 * i, i] as const);
    const tree = buildTree(target.tm, type, entries);
    expect(layersOf(target.tm, tree.root).length).toBe(depth);
    const random = seededRandom(490);
    const keep = (): void => {
      target.roots = isShared ? [tree.root, tree.root] : [tree.root];
      if (isShared) target.tm.inc(tree.root);
      target.commit();
      if (isShared) target.roots.length = 1;
    };
    keep();
    const key = (): number => Math.floor(random() * 2 * nr);
    const figures = {
      inserting: most(400, (i) => {
        if (i % 50 === 0 && !isShared) keep();
        tree.insert(key(), i);
      }),
      removing: most(400, (i) => {
        if (i % 50 === 0 && !isShared) keep();
        tree.remove(key());
      }),
    };
    // A layer: three siblings and their copies; besides, bitmaps and the paths of the reference-count tree.
    const bound = 6 * depth + 14;
    expect(figures.inserting).toBeLessThanOrEqual(bound);
    expect(figures.removing).toBeLessThanOrEqual(bound);
    expect(figures.removing).toBeGreaterThan(depth);
  },
);

it('grows by the bitmaps that the values of a copied leaf lie in, and no more', () => {
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 4000 }), {
    cacheBlocks: 2000,
    dataBlocks: 252 * 16_320,
  });
  const data = target.data as DataSpaceMap;
  const type: ValueType<number> = {
    size: 8,
    decode: u64At,
    encode: setU64At,
    inc: (view, at, count) => {
      for (let i = 0; i < count; i++) data.inc(u64At(view, at + 8 * i));
    },
    dec: (view, at, count) => {
      for (let i = 0; i < count; i++) data.dec(u64At(view, at + 8 * i));
    },
  };
  const tree = BTree.create(target.tm, type);
  // One leaf whose values lie in 252 bitmaps.
  for (let i = 0; i < 252; i++) {
    data.inc(16_320 * i);
    tree.insert(i, 16_320 * i);
  }
  target.tm.inc(tree.root);
  target.roots = [tree.root];
  target.commit();
  const found = most(1, () => tree.remove(7));
  expect(found).toBeGreaterThan(2 * 252);
  expect(found).toBeLessThan(2 * 252 + 30);
});

it('is that of one step, for ranges and whole trees: the cache need not hold more', () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 16_000 });
  const target = SmallTarget.format(device, { cacheBlocks: 32 });
  const type = sized(400);
  const entries = Array.from({ length: 20_000 }, (_, i) => [i, i] as const);
  const [first, second] = [buildTree(target.tm, type, entries), buildTree(target.tm, type, entries)];
  target.roots = [first.root, second.root];
  target.commit();
  const { nrFrames } = target.blocks;
  expect(first.removeRange(0, 15_000)).toBe(15_000);
  second.delete();
  expect(target.blocks.nrFrames).toBe(nrFrames);
  expect(nrFrames).toBeLessThan(80);
});
