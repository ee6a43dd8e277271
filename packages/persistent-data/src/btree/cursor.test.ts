import { MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { layersOf } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { numbers, sized } from '../../test/values.js';
import { BTree } from './tree.js';

/** A committed tree of keys 0, 2, 4 … over a cache of 32 blocks, and another one to read in between. */
function trees(nr: number): { tree: BTree<number>; other: BTree<number> } {
  const device = new MemoryMetadataDevice({ nrBlocks: 3000 });
  const target = SmallTarget.format(device, { cacheBlocks: 1000 });
  const tree = BTree.create(target.tm, numbers);
  for (let i = 0; i < nr; i++) tree.insert(2 * i, i);
  const other = BTree.create(target.tm, sized(400));
  for (let i = 0; i < 2000; i++) other.insert(i, i);
  target.roots = [tree.root, other.root];
  target.commit();
  const reopened = SmallTarget.open(device, { cacheBlocks: 32 });
  return {
    tree: new BTree(reopened.tm, numbers, tree.root),
    other: new BTree(reopened.tm, sized(400), other.root),
  };
}

const keysOf = (cursor: { done: boolean; key: number; next(): void }): number[] => {
  const keys: number[] = [];
  for (; !cursor.done; cursor.next()) keys.push(cursor.key);
  return keys;
};

it.each([0, 1, 252, 253, 3000])('reads a tree of %d entries in order, from anywhere', (nr) => {
  const { tree } = trees(nr);
  const all = Array.from({ length: nr }, (_, i) => 2 * i);
  for (const from of [0, 1, 2, 495, 496, 497, 2 * nr - 2, 2 * nr - 1, 2 * nr, 2 ** 53 - 1]) {
    if (from < 0) continue;
    expect(keysOf(tree.cursor(from)), `from ${from}`).toEqual(all.filter((key) => key >= from));
    const walked: number[] = [];
    tree.walk((key) => {
      walked.push(key);
    }, from);
    expect(walked).toEqual(all.filter((key) => key >= from));
  }
  expect([...tree]).toEqual(all.map((key) => ({ key, value: key / 2 })));
});

it('stays at its end', () => {
  const { tree } = trees(300);
  const cursor = tree.cursor(598);
  expect([cursor.key, cursor.value, cursor.done]).toEqual([598, 299, false]);
  for (let i = 0; i < 3; i++) {
    cursor.next();
    expect(cursor.done).toBe(true);
    expect(() => cursor.key).toThrow(new RangeError('the cursor stands behind the last entry'));
    expect(() => cursor.value).toThrow(RangeError);
  }
});

describe('with other reading in between, which pushes its leaf out of a small cache', () => {
  it('a cursor finds its place again', () => {
    const { tree, other } = trees(1000);
    const keys: number[] = [];
    for (const cursor = tree.cursor(); !cursor.done; cursor.next()) {
      keys.push(cursor.key);
      if (cursor.key % 50 === 0) for (let i = 0; i < 2000; i += 5) other.lookup(i);
      expect(cursor.value).toBe(cursor.key / 2);
    }
    expect(keys).toEqual(Array.from({ length: 1000 }, (_, i) => 2 * i));
  });

  it('a walk goes on where it was', () => {
    const { tree, other } = trees(1000);
    const found: [number, number][] = [];
    tree.walk((key, view, at) => {
      found.push([key, numbers.decode(view, at)]);
      if (key % 50 === 0) for (let i = 0; i < 2000; i += 5) other.lookup(i);
    });
    expect(found).toEqual(Array.from({ length: 1000 }, (_, i) => [2 * i, i]));
  });
});

it('stops a walk when the visitor says so', () => {
  const { tree } = trees(1000);
  let nr = 0;
  tree.walk(() => ++nr < 300);
  expect(nr).toBe(300);
});

it('reads each block once, and only those it needs', () => {
  const { tree } = trees(3000);
  const { counters } = tree.tm.blocks;
  const nrNodes = layersOf(tree.tm, tree.root).flat().length;
  tree.tm.blocks.drop();
  const before = counters.nrRead;
  expect([...tree].length).toBe(3000);
  expect(counters.nrRead - before).toBe(nrNodes);
  tree.tm.blocks.drop();
  const again = counters.nrRead;
  expect(tree.cursor(5998).key).toBe(5998);
  expect(counters.nrRead - again).toBe(2);
});
