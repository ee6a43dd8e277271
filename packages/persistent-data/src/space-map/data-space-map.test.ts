import { CorruptBlockError } from '@pdata/device';
import { SparseMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { layersOf } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { itBehavesLikeASpaceMap } from '../../test/space-map-contract.js';
import { DataMapUnderTest } from '../../test/space-maps-under-test.js';
import { BTree } from '../btree/tree.js';
import { NoSpaceError } from '../transaction/errors.js';
import { DataSpaceMap, indexEntryType } from './data-space-map.js';
import { createTransactionManager } from './open.js';

itBehavesLikeASpaceMap((nrBlocks) => new DataMapUnderTest(nrBlocks));

describe('creating', () => {
  it('makes two empty trees, then an empty bitmap for every 16 320 blocks', () => {
    const tm = createTransactionManager(new SparseMetadataDevice(100));
    const map = DataSpaceMap.create(tm);
    // Behind superblock, index, reference-count tree and bitmap of the metadata map.
    expect(map.root).toEqual({ nrBlocks: 0, nrAllocated: 0, bitmapRoot: 4, refCountRoot: 5 });
    map.extend(40_000);
    map.settle();
    const index = new BTree(tm, indexEntryType, map.root.bitmapRoot);
    expect([...index]).toEqual(
      [6, 7, 8].map((blockNr, key) => ({ key, value: { blockNr, nrFree: 16_320, noneFreeBefore: 0 } })),
    );
  });

  it.each([0, 1, 16_320, 16_321, 168 * 16_320, 169 * 16_320])('has the bitmaps it needs for %d blocks', (nrBlocks) => {
    const under = new DataMapUnderTest(nrBlocks);
    const index = new BTree(under.target.tm, indexEntryType, under.map.root.bitmapRoot);
    expect([...index].map(({ key }) => key)).toEqual(Array.from({ length: Math.ceil(nrBlocks / 16_320) }, (_, i) => i));
    expect(layersOf(under.target.tm, index.root).length).toBe(nrBlocks > 168 * 16_320 ? 2 : 1); // 168 entries a leaf
    expect(under.map.nrFree).toBe(nrBlocks);
    under.audit(new Map());
  });
});

describe('growing', () => {
  it('adds blocks that are neither free nor handed out before the commit', () => {
    const under = new DataMapUnderTest(10);
    const ours = new Map<number, number>();
    for (let i = 0; i < 10; i++) ours.set(under.map.newBlock(), 1);
    under.commit();
    under.extend(10);
    expect([under.map.nrFree, under.map.nrBlocks, under.map.committedNrBlocks]).toEqual([0, 20, 10]);
    expect(() => under.map.newBlock()).toThrow(NoSpaceError);
    under.map.inc(15); // by somebody who knows that it is free
    expect(under.map.nrFree).toBe(0);
    under.map.dec(15);
    under.commit();
    expect(under.map.nrFree).toBe(10);
    for (let i = 0; i < 10; i++) ours.set(under.map.newBlock(), 1);
    expect(() => under.map.newBlock()).toThrow('no data block is free: all 20 are in use');
    under.commit();
    under.audit(ours);
  });

  it('inside the last bitmap allocates nothing but the copy of what says so', () => {
    const under = new DataMapUnderTest(100);
    const { nrAllocated } = under.target.tm.spaceMap;
    const { bitmapRoot, refCountRoot } = under.map.root;
    under.extend(16_220);
    under.commit();
    expect(under.map.root).toEqual({ nrBlocks: 16_320, nrAllocated: 0, bitmapRoot, refCountRoot });
    expect(under.target.tm.spaceMap.nrAllocated).toBe(nrAllocated);
    under.audit(new Map());
  });

  it('is undone by an abort', () => {
    const under = new DataMapUnderTest(100);
    under.extend(50_000);
    under.abort();
    expect(under.map.nrBlocks).toBe(100);
    expect(() => under.map.count(100)).toThrow(RangeError);
    under.audit(new Map());
  });
});

it('writes nothing when nothing was changed', () => {
  const under = new DataMapUnderTest(1000);
  under.map.newBlock();
  under.commit();
  const { root } = under.map;
  const { nrWritten } = under.target.blocks.counters;
  under.map.count(5);
  under.commit();
  expect(under.map.root).toEqual(root);
  expect(under.target.blocks.counters.nrWritten - nrWritten).toBe(1); // the superblock
});

// Entries of the index are kept in memory, of so many bitmaps at most: 4096 from one transaction to the next.
it('of 70 million blocks keeps to its rules when it forgets what it has in memory', () => {
  const device = new SparseMetadataDevice(20_000);
  const target = SmallTarget.format(device, { dataBlocks: 70_000_000 });
  const map = target.data as DataSpaceMap;
  const last = map.nrBlocks - 1;
  const far = Array.from({ length: 4290 }, (_, i) => 16_320 * i); // a block of every bitmap
  for (const nr of far) map.inc(nr);
  target.commit();
  expect(far.every((nr) => map.count(nr) === 1)).toBe(true);
  map.inc(last);
  for (const nr of far.slice(0, 10)) map.dec(nr);
  target.commit();
  for (const nr of far.slice(10)) map.dec(nr);
  // Free now, not in the last commit.
  const taken = Array.from({ length: 50 }, () => map.newBlock());
  for (const nr of taken) expect(nr % 16_320 === 0 && nr >= 163_200, `block ${nr}`).toBe(false);
  target.commit();
  const reopened = SmallTarget.open(device).data as DataSpaceMap;
  expect([reopened.nrAllocated, reopened.count(last), reopened.count(far[20] as number)]).toEqual([51, 1, 0]);
  for (const nr of taken) expect(reopened.count(nr)).toBe(1);
});

describe('filling bitmaps at once', () => {
  it('counts as one by one would', () => {
    const under = new DataMapUnderTest(40_000);
    const countOf = (nr: number): number => (nr % 7 === 0 ? 0 : nr % 11 === 0 ? 1 + (nr % 6) : nr < 30_000 ? 1 : 0);
    for (let bitmapNr = 0; bitmapNr < 3; bitmapNr++) {
      under.map.fillBitmap(bitmapNr, (entry) => countOf(bitmapNr * 16_320 + entry));
    }
    under.commit();
    const ours = new Map<number, number>();
    for (let nr = 0; nr < 40_000; nr++) if (countOf(nr) > 0) ours.set(nr, countOf(nr));
    under.audit(ours);
    const block = under.map.newBlock();
    expect(countOf(block)).toBe(0);
    under.commit();
    under.audit(ours.set(block, 1));
  });

  it('leaves no entry free before the hint in a bitmap that is full', () => {
    const under = new DataMapUnderTest(20_000);
    under.map.fillBitmap(0, () => 1);
    under.map.fillBitmap(1, () => 2);
    under.commit();
    expect(under.map.nrFree).toBe(0);
    expect(() => under.map.newBlock()).toThrow(NoSpaceError);
    const ours = new Map(Array.from({ length: 20_000 }, (_, nr) => [nr, nr < 16_320 ? 1 : 2]));
    under.audit(ours);
    under.map.dec(5000);
    under.commit();
    expect(under.map.newBlock()).toBe(5000);
  });
});

it('says which entry of its index is missing', () => {
  const target = SmallTarget.format(new SparseMetadataDevice(200), { dataBlocks: 20_000 });
  const { root } = target.data as DataSpaceMap;
  const lying = DataSpaceMap.open(target.tm, { ...root, nrBlocks: 40_000 });
  expect(() => lying.count(39_999)).toThrow(CorruptBlockError);
  expect(() => lying.count(39_999)).toThrow(
    /space-map index tree in block \d+: entry 2 is missing, expected a bitmap block/,
  );
});

it('says which count is missing from the reference-count tree', () => {
  const under = new DataMapUnderTest(100);
  under.map.setCount(7, 5);
  under.commit();
  const { target, map } = under;
  const other = BTree.create(target.tm, { size: 4, decode: () => 0, encode: () => {} });
  const lying = DataSpaceMap.open(target.tm, { ...map.root, refCountRoot: other.root });
  for (const asked of [() => lying.count(7), () => lying.inc(7), () => lying.dec(7)]) {
    expect(asked).toThrow(/reference-count tree in block \d+: count of block 7 is missing, expected 3 or more/);
  }
});
