import { MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit } from '../../test/audit.js';
import { KernelShapeModel } from '../../test/kernel-shape-model.js';
import { layersOf, leafSizes } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { CountedTokens, numbers, sized, type Token } from '../../test/values.js';
import { maxEntriesFor } from './node.js';
import { BTree } from './tree.js';
import type { ValueType } from './value-type.js';

function empty<V>(type: ValueType<V>, nrBlocks = 3000): { target: SmallTarget; tree: BTree<V> } {
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks }), { cacheBlocks: 64 });
  return { target, tree: BTree.create(target.tm, type) };
}

function commitAndAudit<V>(target: SmallTarget, ...trees: BTree<V>[]): void {
  target.roots = trees.map(({ root }) => root);
  target.commit();
  audit(
    target.tm,
    trees.map(({ root, type }) => ({ root, kind: { valueSize: type.size } })),
  );
}

const insertRange = (tree: BTree<number>, begin: number, end: number, step = 1): void => {
  for (let key = begin; key < end; key += step) tree.insert(key, key);
};

describe('making room, as docs/format/btree.md, section 4.1, has it', () => {
  it('splits a full root beneath itself, and it keeps its block', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 0, 252);
    const { root } = tree;
    expect(leafSizes(target.tm, root)).toEqual([252]);
    tree.insert(252, 252);
    expect(tree.root).toBe(root);
    expect(leafSizes(target.tm, root)).toEqual([126, 127]);
    expect(layersOf(target.tm, root)[0]?.[0]?.keys).toEqual([0, 126]);
    commitAndAudit(target, tree);
  });

  it('leaves 248 entries in each leaf of ascending keys', () => {
    const { target, tree } = empty(numbers);
    const seen: number[][] = [];
    for (let key = 0; key < 725; key++) {
      tree.insert(key, key);
      const sizes = leafSizes(target.tm, tree.root);
      // What it was just before a key fell into a full leaf.
      if (sizes.at(-1) === 252 && sizes.length > 1) seen.push(sizes);
    }
    // Each time shared with the left neighbour, until that has fewer than 8 free slots.
    expect(seen).toEqual([
      [126, 252],
      [189, 252],
      [220, 252],
      [236, 252],
      [244, 252],
      [248, 252],
      [248, 126, 252],
      [248, 189, 252],
      [248, 220, 252],
    ]);
    insertRange(tree, 725, 5000);
    const sizes = leafSizes(target.tm, tree.root);
    expect(new Set(sizes.slice(0, -2))).toEqual(new Set([248]));
    commitAndAudit(target, tree);
  });

  it('shares with the right neighbour when the left one is full', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 10_000, 10_000 + 300);
    expect(leafSizes(target.tm, tree.root)).toEqual([126, 174]);
    insertRange(tree, 0, 127); // at the low end: there is no left neighbour
    expect(leafSizes(target.tm, tree.root)).toEqual([214, 213]);
    commitAndAudit(target, tree);
  });

  it('splits two leaves into three in the middle, where both neighbours are full', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 0, 248 * 5 * 10 + 500, 10);
    const sizes = leafSizes(target.tm, tree.root);
    expect(sizes.slice(0, 4)).toEqual([248, 248, 248, 248]);
    const first = layersOf(target.tm, tree.root).at(-1)?.[2]?.keys[0] as number;
    for (let i = 1; i <= 4; i++) tree.insert(first + i, i); // the third leaf is full now
    expect(leafSizes(target.tm, tree.root)[2]).toBe(252);
    tree.insert(first + 5, 5);
    // 500 entries of the second and third: 166, 167 and 167; the new one went into one of the last two.
    const after = leafSizes(target.tm, tree.root);
    expect(after.length).toBe(sizes.length + 1);
    expect([after[0], after[1], (after[2] as number) + (after[3] as number), after[4]]).toEqual([248, 166, 335, 248]);
    commitAndAudit(target, tree);
  });

  it('splits one leaf into two at either end of its parent, and under a parent of two', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 0, 248 * 10 + 252 * 10, 10);
    expect(leafSizes(target.tm, tree.root)).toEqual([248, 252]);
    tree.insert(248 * 10 + 5, 0);
    expect(leafSizes(target.tm, tree.root)).toEqual([248, 127, 126]);
    for (let i = 1; i <= 4; i++) tree.insert(i, i);
    insertRange(tree, 248 * 10 + 1, 248 * 10 + 1 + 2 * 126, 2); // so that the right neighbour is full as well
    expect(leafSizes(target.tm, tree.root).slice(0, 2)).toEqual([252, 252]);
    tree.insert(9, 9);
    expect(leafSizes(target.tm, tree.root).slice(0, 3)).toEqual([127, 126, 252]);
    commitAndAudit(target, tree);
  });

  it('leaves shared neighbours alone: copying them would cost more than it saves', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 0, 500, 2);
    insertRange(tree, 500, 502); // 252: full
    tree.insert(502, 502);
    commitAndAudit(target, tree);
    const [left, right] = layersOf(target.tm, tree.root)[1] ?? [];
    target.tm.inc(tree.root); // a snapshot
    const snapshot = new BTree(target.tm, numbers, tree.root);
    for (let key = 1000; leafSizes(target.tm, tree.root).at(-1) !== 252; key++) tree.insert(key, key);
    expect(layersOf(target.tm, tree.root)[1]?.[0]?.nr).toBe(left?.nr);
    tree.insert(5000, 0);
    expect(leafSizes(target.tm, tree.root)).toEqual([126, 126, 127]); // not shared out with the left one, though it has room
    expect(layersOf(target.tm, tree.root)[1]?.[0]?.nr).toBe(left?.nr);
    expect(layersOf(target.tm, snapshot.root)[1]?.map(({ nr }) => nr)).toEqual([left?.nr, right?.nr]);
    commitAndAudit(target, tree, snapshot);
  });

  it('makes no room in a full leaf for a key that is there', () => {
    const { target, tree } = empty(numbers);
    insertRange(tree, 0, 252);
    for (let key = 0; key < 252; key++) expect(tree.insert(key, key + 1)).toBe(false);
    expect(leafSizes(target.tm, tree.root)).toEqual([252]);
    expect(tree.lookup(251)).toBe(252);
  });

  it.each([
    [4, 336],
    [8, 252],
    [16, 168],
    [24, 126],
    [400, 9],
    [1346, 3],
  ])('fills leaves of %d-byte values with up to %d entries', (size, max) => {
    expect(maxEntriesFor(size)).toBe(max);
    const { target, tree } = empty(sized(size));
    insertRange(tree, 0, max);
    expect(leafSizes(target.tm, tree.root)).toEqual([max]);
    tree.insert(max, max);
    expect(leafSizes(target.tm, tree.root)).toEqual([Math.floor(max / 2), max + 1 - Math.floor(max / 2)]);
    insertRange(tree, max, 2000);
    expect([...tree].every(({ key, value }) => value === key)).toBe(true);
    commitAndAudit(target, tree);
  });
});

it('lowers the first key of every node above a new lowest key (keys 100 to 1, with commits)', () => {
  const { target, tree } = empty(sized(1000)); // 3 entries a leaf, so that 100 keys make a tree
  for (let key = 100; key >= 1; key--) {
    tree.insert(key, key);
    if (key % 7 === 0) commitAndAudit(target, tree);
    for (const layer of layersOf(target.tm, tree.root)) expect(layer[0]?.keys[0]).toBe(key);
    expect(tree.lookup(key)).toBe(key);
  }
  expect(layersOf(target.tm, tree.root).length).toBe(2);
  commitAndAudit(target, tree);
});

it('lowers the first keys in a tree of depth 3, too', () => {
  const { target, tree } = empty(sized(1000));
  for (let key = 2000; key >= 1; key--) tree.insert(key, key);
  const layers = layersOf(target.tm, tree.root);
  expect(layers.length).toBe(3);
  for (const layer of layers) expect(layer[0]?.keys[0]).toBe(1);
  commitAndAudit(target, tree);
});

it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuses the key %d, and nothing changes', (key) => {
  const { target, tree } = empty(numbers);
  insertRange(tree, 0, 10);
  commitAndAudit(target, tree);
  const { root } = tree;
  for (const refused of [() => tree.insert(key, 1), () => tree.remove(key), () => tree.removeRange(key, 5)]) {
    expect(refused).toThrow(RangeError);
  }
  expect(tree.root).toBe(root);
  expect([...tree].length).toBe(10);
});

it('takes keys up to 2^53 - 1', () => {
  const { target, tree } = empty(numbers);
  const keys = [2 ** 53 - 1, 2 ** 53 - 2, 2 ** 32, 2 ** 32 - 1, 2 ** 33, 0, 2 ** 52 + 1];
  for (const key of keys) tree.insert(key, key);
  const sorted = [...keys].sort((a, b) => a - b);
  expect([...tree].map(({ key }) => key)).toEqual(sorted);
  for (const key of keys) expect(tree.lookup(key)).toBe(key);
  expect(tree.lookup(2 ** 32 + 1)).toBeUndefined();
  expect(tree.floor(2 ** 32 + 1)?.key).toBe(2 ** 32);
  expect(tree.ceiling(2 ** 33 + 1)?.key).toBe(2 ** 52 + 1);
  commitAndAudit(target, tree);
  expect(tree.removeRange(2 ** 32, 2 ** 53)).toBe(5);
  commitAndAudit(target, tree);
});

describe('the references of values', () => {
  it('are taken over from the caller, and given up when another value comes in their place, not for an equal one', () => {
    const tokens = new CountedTokens();
    const { tree } = empty<Token>(tokens);
    tokens.take(7);
    tree.insert(1, { token: 7, tag: 1 });
    expect(tokens.counts).toEqual(new Map([[7, 1]]));
    expect(tree.insert(1, { token: 7, tag: 2 })).toBe(false); // equal: but the tag is stored
    expect(tokens.counts).toEqual(new Map([[7, 1]]));
    expect(tree.lookup(1)).toEqual({ token: 7, tag: 2 });
    tokens.take(8);
    tree.insert(1, { token: 8, tag: 2 });
    expect(tokens.counts).toEqual(new Map([[8, 1]]));
  });

  it('are given up on every overwriting by a type that cannot compare', () => {
    const tokens = new CountedTokens();
    const type: ValueType<Token> = {
      size: 8,
      decode: (view, at) => tokens.decode(view, at),
      encode: (view, at, value) => tokens.encode(view, at, value),
      dec: (view, at, count) => tokens.dec(view, at, count),
    };
    const { tree } = empty(type);
    for (let i = 0; i < 3; i++) {
      tokens.take(5);
      tree.insert(1, { token: 5, tag: i });
    }
    expect(tokens.counts).toEqual(new Map([[5, 1]]));
  });

  it('are counted for every value of a shared leaf that is copied', () => {
    const tokens = new CountedTokens();
    const { target, tree } = empty<Token>(tokens);
    for (let key = 0; key < 100; key++) {
      tokens.take(key);
      tree.insert(key, { token: key, tag: 0 });
    }
    target.tm.inc(tree.root);
    const snapshot = new BTree<Token>(target.tm, tokens, tree.root);
    tokens.take(1000);
    tree.insert(50, { token: 1000, tag: 0 });
    for (let key = 0; key < 100; key++) expect(tokens.counts.get(key)).toBe(key === 50 ? 1 : 2);
    expect(snapshot.lookup(50)?.token).toBe(50);
    commitAndAudit(target, tree, snapshot);
  });
});

describe.each([
  { size: 8, keys: 4000, nr: 5000 },
  { size: 400, keys: 6000, nr: 9000 },
])('a tree of $size-byte values', ({ size, keys, nr }) => {
  it.each([1, 2, 3])('is node for node what the kernel makes of random inserts and removals (seed %i)', (seed) => {
    const { target, tree } = empty(sized(size));
    const model = new KernelShapeModel(maxEntriesFor(size));
    const random = seededRandom(seed);
    const present = new Set<number>();
    const compare = (): void => {
      const found = layersOf(target.tm, tree.root).map((layer) => layer.map((node) => node.keys));
      if (JSON.stringify(found) !== JSON.stringify(model.layers)) expect(found).toEqual(model.layers);
    };
    let deepest = 0;
    for (let i = 0; i < nr; i++) {
      // Growing for the first half, shrinking for the second.
      const key = Math.floor(random() * keys);
      if (random() < (i < nr / 2 ? 0.85 : 0.2)) {
        tree.insert(key, key);
        model.insert(key);
        present.add(key);
      } else if (present.delete(key)) {
        expect(tree.remove(key)).toBe(true);
        model.remove(key);
      }
      if (i % 199 === 0) compare();
      if (i % 1000 === 0) commitAndAudit(target, tree);
      deepest = Math.max(deepest, model.layers.length);
    }
    compare();
    for (const key of present) {
      tree.remove(key);
      model.remove(key);
    }
    compare();
    expect(deepest).toBe(size === 8 ? 2 : 3);
    expect(leafSizes(target.tm, tree.root)).toEqual([0]);
    commitAndAudit(target, tree);
  });
});
