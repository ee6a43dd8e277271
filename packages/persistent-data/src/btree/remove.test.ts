import { MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit, type TreeKind } from '../../test/audit.js';
import { layersOf, leafSizes } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { CountedTokens, numbers, sized, type Token } from '../../test/values.js';
import { maxEntriesFor } from './node.js';
import { BTree } from './tree.js';
import type { ValueType } from './value-type.js';

function filled<V>(type: ValueType<V>, nr: number, value: (key: number) => V): { target: SmallTarget; tree: BTree<V> } {
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 3000 }), { cacheBlocks: 64 });
  const tree = BTree.create(target.tm, type);
  for (let key = 0; key < nr; key++) tree.insert(key, value(key));
  return { target, tree };
}

const plain = (size: number, nr: number): { target: SmallTarget; tree: BTree<number> } =>
  filled(sized(size), nr, (key) => key);

function commitAndAudit(target: SmallTarget, ...trees: BTree<unknown>[]): void {
  target.roots = trees.map(({ root }) => root);
  target.commit();
  audit(
    target.tm,
    trees.map(({ root, type }) => ({ root, kind: { valueSize: type.size } })),
  );
}

/** A tree of counted tokens (key → token of the same number), and the audit that holds every count against the leaves. */
function tokenTree(nr: number): {
  target: SmallTarget;
  tree: BTree<Token>;
  tokens: CountedTokens;
  snapshot: () => BTree<Token>;
  check: (...trees: BTree<Token>[]) => void;
} {
  const tokens = new CountedTokens();
  const { target, tree } = filled<Token>(tokens, nr, (key) => {
    tokens.take(key);
    return { token: key, tag: 0 };
  });
  const check = (...trees: BTree<Token>[]): void => {
    target.roots = trees.map(({ root }) => root);
    target.commit();
    const references = new Map<number, number>();
    const kind: TreeKind = {
      valueSize: 8,
      value: (_, view, at) => {
        const token = view.getUint32(at, true);
        references.set(token, (references.get(token) ?? 0) + 1);
      },
    };
    audit(
      target.tm,
      trees.map(({ root }) => ({ root, kind })),
    );
    expect(tokens.counts).toEqual(references);
  };
  const snapshot = (): BTree<Token> => {
    target.tm.inc(tree.root);
    return new BTree<Token>(target.tm, tokens, tree.root);
  };
  return { target, tree, tokens, snapshot, check };
}

describe('the fill of nodes', () => {
  // rebalance2 of old kernels left nodes under a third: 474e5595.
  it.each([4, 8, 16, 24, 400])('stays at a third and more after each removal (values of %d bytes)', (size) => {
    const max = maxEntriesFor(size);
    for (const from of ['the start', 'the end', 'the middle'] as const) {
      const { target, tree } = plain(size, max + 1);
      for (let i = 0; i <= max; i++) {
        const key = from === 'the start' ? i : from === 'the end' ? max - i : (i + (max >> 1)) % (max + 1);
        expect(tree.remove(key)).toBe(true);
        const sizes = leafSizes(target.tm, tree.root);
        if (sizes.length > 1 && Math.min(...sizes) < Math.floor(max / 3)) expect.fail(`after ${i + 1}: ${sizes}`);
      }
      expect(leafSizes(target.tm, tree.root)).toEqual([0]);
    }
  });

  it('is right in the very case of the kernel: 127 values of 24 bytes, 43 removed', () => {
    const { target, tree } = plain(24, 127);
    expect(leafSizes(target.tm, tree.root)).toEqual([63, 64]);
    for (let key = 0; key < 43; key++) {
      tree.remove(key);
      for (const size of leafSizes(target.tm, tree.root)) expect(size).toBeGreaterThanOrEqual(42);
    }
    commitAndAudit(target, tree);
  });
});

describe('the depth', () => {
  it.each(['ascending', 'descending', 'random'])(
    'shrinks from 3 to a single leaf, all else given back (%s)',
    (order) => {
      const { target, tree } = plain(400, 3000);
      commitAndAudit(target, tree);
      expect(layersOf(target.tm, tree.root).length).toBe(3);
      const random = seededRandom(30);
      const keys = Array.from({ length: 3000 }, (_, i) => (order === 'descending' ? 2999 - i : i));
      if (order === 'random') keys.sort(() => random() - 0.5);
      const depths = new Set<number>();
      keys.forEach((key, i) => {
        expect(tree.remove(key)).toBe(true);
        if (i % 300 === 0) commitAndAudit(target, tree);
        if (i % 20 === 0) depths.add(layersOf(target.tm, tree.root).length);
      });
      depths.add(layersOf(target.tm, tree.root).length);
      expect([...depths]).toEqual([3, 2, 1]);
      commitAndAudit(target, tree);
      // Superblock, index block, reference-count tree, one bitmap, one leaf.
      expect(target.tm.spaceMap.nrAllocated).toBe(5);
    },
  );

  it('is given up a layer a removal: a root with one child takes its place', () => {
    const { target, tree } = plain(8, 253);
    const { root } = tree;
    let key = 0;
    while (leafSizes(target.tm, tree.root).length > 1) tree.remove(key++);
    expect(layersOf(target.tm, root).map((layer) => layer.length)).toEqual([1, 1]);
    const child = layersOf(target.tm, root)[0]?.[0]?.children[0] as number;
    tree.remove(key++);
    expect(tree.root).toBe(root); // it keeps its block
    expect(layersOf(target.tm, root).length).toBe(1);
    expect(target.tm.spaceMap.count(child)).toBe(0);
    commitAndAudit(target, tree);
  });
});

describe('sharing', () => {
  // A rebalance that copied shared leaves without counting their values corrupted snapshots: f046f89a.
  it('counts the values of every leaf that evening out copies', () => {
    const { target, tree, tokens, snapshot, check } = tokenTree(600);
    const copy = snapshot();
    check(tree, copy);
    const [a, b, c] = layersOf(target.tm, tree.root)[1] ?? [];
    expect(layersOf(target.tm, tree.root)[1]?.length).toBe(3);
    tree.remove(300);
    for (let key = 0; key < 600; key++) expect(tokens.counts.get(key), `token ${key}`).toBe(key === 300 ? 1 : 2);
    expect(layersOf(target.tm, copy.root)[1]).toEqual([a, b, c]);
    expect([...copy].length).toBe(600);
    check(tree, copy);
    for (let key = 0; key < 600; key++) if (key !== 300) tree.remove(key);
    expect([...copy].map(({ key, value }) => [key, value.token])).toEqual(
      Array.from({ length: 600 }, (_, i) => [i, i]),
    );
    check(tree, copy);
  });

  // A one-entry root over a child that others read, too: its grandchildren were not counted, from 2011 to 2026 (09a65ad).
  it('counts what a shared only child points at when its parent takes its place: values', () => {
    const { target, tree, snapshot, check } = tokenTree(253);
    let key = 0;
    while (leafSizes(target.tm, tree.root).length > 1) tree.remove(key++);
    check(tree);
    const copy = snapshot();
    check(tree, copy);
    expect(layersOf(target.tm, copy.root).map((layer) => layer.length)).toEqual([1, 1]);
    expect(tree.remove(200)).toBe(true);
    expect(layersOf(target.tm, tree.root).length).toBe(1);
    check(tree, copy);
    expect(copy.lookup(200)).toEqual({ token: 200, tag: 0 });
    expect([...copy].length).toBe([...tree].length + 1);
    for (; key < 253; key++) tree.remove(key);
    check(tree, copy);
    copy.delete();
    check(tree);
  });

  it('counts what a shared only child points at when its parent takes its place: nodes', () => {
    const type = sized(400);
    const { target, tree } = filled(type, 2600, (key) => key);
    let key = 0;
    while (layersOf(target.tm, tree.root)[1]?.length !== 1) tree.remove(key++);
    expect(layersOf(target.tm, tree.root).length).toBe(3); // a root with one child, an internal node
    commitAndAudit(target, tree);
    target.tm.inc(tree.root);
    const copy = new BTree(target.tm, type, tree.root);
    commitAndAudit(target, tree, copy);
    const before = [...copy];
    expect(tree.remove(2000)).toBe(true);
    expect(layersOf(target.tm, tree.root).length).toBe(2);
    commitAndAudit(target, tree, copy);
    for (; key < 2600; key++) tree.remove(key);
    commitAndAudit(target, tree, copy);
    expect([...copy]).toEqual(before);
    copy.delete();
    commitAndAudit(target, tree);
  });

  it('survives the removal of everything on either side of many snapshots, in any order', () => {
    const { tree, snapshot, check } = tokenTree(1500);
    const random = seededRandom(12161);
    const versions = [tree];
    const kept = [new Set(Array.from({ length: 1500 }, (_, i) => i))];
    for (let round = 0; round < 4; round++) {
      versions.push(snapshot());
      kept.push(new Set(kept[0]));
      for (let i = 0; i < 250; i++) {
        const which = Math.floor(random() * versions.length);
        const key = Math.floor(random() * 1500);
        expect((versions[which] as BTree<Token>).remove(key)).toBe((kept[which] as Set<number>).delete(key));
      }
      check(...versions);
    }
    while (versions.length > 0) {
      const which = Math.floor(random() * versions.length);
      const version = versions[which] as BTree<Token>;
      const left = [...(kept[which] as Set<number>)].sort((a, b) => a - b);
      expect([...version].map(({ key }) => key)).toEqual(left);
      for (const key of left) version.remove(key);
      expect(version.first()).toBeUndefined();
      check(...versions);
      version.delete();
      versions.splice(which, 1);
      kept.splice(which, 1);
      check(...versions);
    }
  });
});

describe('a key that is not there', () => {
  it('is an answer: false, and nothing is copied', () => {
    const { target, tree } = plain(8, 1000);
    tree.remove(500);
    commitAndAudit(target, tree);
    const { root } = tree;
    for (const key of [500, 1000, 2 ** 40]) expect(tree.remove(key)).toBe(false);
    expect(tree.root).toBe(root);
    expect(target.tm.spaceMap.nrFree).toBe(target.tm.spaceMap.nrBlocks - target.tm.spaceMap.nrAllocated);
  });
});

describe('removing a range', () => {
  it('removes exactly its keys, over gaps, leaves and layers', () => {
    const random = seededRandom(53);
    for (let round = 0; round < 25; round++) {
      const { target, tree } = filled(numbers, 0, (key) => key);
      const keys = new Set<number>();
      const spread = [1, 3, 50][round % 3] as number;
      for (let i = 0; i < 1500; i++) keys.add(Math.floor(random() * 1500 * spread));
      for (const key of keys) tree.insert(key, key);
      for (let i = 0; i < 6; i++) {
        const begin = Math.floor(random() * 1500 * spread);
        const end = begin + Math.floor(random() ** 2 * 1000 * spread);
        const inRange = [...keys].filter((key) => key >= begin && key < end);
        expect(tree.removeRange(begin, end)).toBe(inRange.length);
        for (const key of inRange) keys.delete(key);
      }
      expect([...tree].map(({ key }) => key)).toEqual([...keys].sort((a, b) => a - b));
      commitAndAudit(target, tree);
    }
  });

  it('takes an empty range, a range without keys, and the whole tree', () => {
    const { target, tree } = plain(8, 1000);
    const { root } = tree;
    expect(tree.removeRange(5, 5)).toBe(0);
    expect(tree.removeRange(7, 5)).toBe(0);
    expect(tree.removeRange(1000, 10_000)).toBe(0);
    expect(tree.root).toBe(root);
    expect(tree.removeRange(0, Number.MAX_SAFE_INTEGER)).toBe(1000);
    expect(leafSizes(target.tm, tree.root)).toEqual([0]);
    expect(tree.removeRange(0, 10)).toBe(0);
    commitAndAudit(target, tree);
  });

  it('refuses an end that is no number, rather than remove everything', () => {
    const { tree } = plain(8, 100);
    expect(() => tree.removeRange(0, Number.NaN)).toThrow(RangeError);
    expect([...tree].length).toBe(100);
  });

  it('leaves a snapshot of the tree as it was', () => {
    const { tree, snapshot, check } = tokenTree(3000);
    const copy = snapshot();
    expect(tree.removeRange(100, 2900)).toBe(2800);
    check(tree, copy);
    expect([...copy].length).toBe(3000);
    expect(copy.removeRange(0, 150)).toBe(150);
    check(tree, copy);
    expect([...tree].length).toBe(200);
  });
});

describe('deleting a tree', () => {
  it('gives back every block and value of the last reader, and one reference of what others read', () => {
    const { target, tree, tokens, snapshot, check } = tokenTree(2000);
    const copy = snapshot();
    tree.removeRange(500, 600);
    check(tree, copy);
    tree.delete();
    check(copy);
    expect([...copy].length).toBe(2000);
    copy.delete();
    check();
    expect(tokens.counts).toEqual(new Map());
    expect(target.tm.spaceMap.nrAllocated).toBe(4);
  });

  it('of a shared root only takes one reference', () => {
    const { target, tree, tokens, snapshot, check } = tokenTree(600);
    const copy = snapshot();
    const before = new Map(tokens.counts);
    copy.delete();
    expect(target.tm.spaceMap.count(tree.root)).toBe(1);
    expect(tokens.counts).toEqual(before);
    check(tree);
  });

  it('needs little memory, however large the tree', () => {
    const { target, tree } = plain(400, 10_000);
    commitAndAudit(target, tree);
    const nodes = layersOf(target.tm, tree.root).flat().length;
    expect(nodes).toBeGreaterThan(1000);
    tree.delete();
    commitAndAudit(target);
    expect(target.tm.spaceMap.nrAllocated).toBe(4);
  });
});
