import { CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layersOf, rewrite } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { CountedTokens, numbers, sized } from '../../test/values.js';
import { setU64At } from '../block/block.js';
import { buildTree } from './build.js';
import { diffTrees, type TreeDifference } from './diff.js';
import { BTree } from './tree.js';
import type { ValueType } from './value-type.js';

/** What plain maps say differs. */
function expected<V>(before: Map<number, V>, after: Map<number, V>, begin: number, end: number): TreeDifference<V>[] {
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => a - b);
  return keys
    .filter((key) => key >= begin && key < end && before.get(key) !== after.get(key))
    .map((key) => ({ key, before: before.get(key), after: after.get(key) }));
}

/** Trees that share blocks, each beside a plain map. */
class Versions {
  readonly target: SmallTarget;
  readonly versions: { tree: BTree<number>; map: Map<number, number> }[];
  readonly #type: ValueType<number>;

  constructor(type: ValueType<number> = numbers, nrBlocks = 4000) {
    this.#type = type;
    this.target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks }), { cacheBlocks: 32 });
    this.versions = [{ tree: BTree.create(this.target.tm, type), map: new Map() }];
  }

  insert(which: number, key: number, value: number): void {
    this.versions[which]?.tree.insert(key, value);
    this.versions[which]?.map.set(key, value);
  }

  removeRange(which: number, begin: number, end: number): void {
    this.versions[which]?.tree.removeRange(begin, end);
    const map = this.versions[which]?.map;
    for (const key of map?.keys() ?? []) if (key >= begin && key < end) map?.delete(key);
  }

  snapshot(which: number): number {
    const origin = this.versions[which];
    if (origin === undefined) throw new Error(`no version ${which}`);
    const { tm } = this.target;
    tm.inc(origin.tree.root);
    this.versions.push({ tree: new BTree(tm, this.#type, origin.tree.root), map: new Map(origin.map) });
    return this.versions.length - 1;
  }

  compare(before: number, after: number, begin = 0, end = Number.POSITIVE_INFINITY): void {
    const [a, b] = [this.versions[before], this.versions[after]];
    if (a === undefined || b === undefined) throw new Error('no such version');
    const about = `version ${before} against ${after}, keys ${begin} to ${end}`;
    expect([...diffTrees(a.tree, b.tree, begin, end)], about).toEqual(expected(a.map, b.map, begin, end));
  }
}

const KEYS = 2500;

describe('two trees', () => {
  const step = fc.record({
    do: fc.constantFrom('insert', 'insert', 'insert', 'removeRange', 'snapshot', 'commit'),
    which: fc.nat(7),
    at: fc.nat(KEYS),
    nr: fc.oneof(fc.nat(3), fc.nat(700)),
    stride: fc.integer({ min: 1, max: 3 }),
  });
  const window = fc.tuple(fc.nat(KEYS), fc.nat(KEYS), fc.nat(7), fc.nat(7));

  it.each([8, 200])('differ as plain maps do, whatever they share: values of %d bytes', (size) => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40, size: 'max' }),
        fc.array(window, { maxLength: 6 }),
        (steps, windows) => {
          const all = new Versions(size === 8 ? numbers : sized(size));
          let value = 0;
          for (const { do: what, which, at, nr, stride } of steps) {
            const version = which % all.versions.length;
            if (what === 'insert')
              for (let i = 0; i < nr; i++) all.insert(version, at + stride * i, i % 5 === 0 ? 0 : ++value);
            else if (what === 'removeRange') all.removeRange(version, at, at + nr);
            else if (what === 'snapshot' && all.versions.length < 8) all.snapshot(version);
            else if (what === 'commit') {
              all.target.roots = all.versions.map(({ tree }) => tree.root);
              all.target.commit();
            }
          }
          const nr = all.versions.length;
          for (let a = 0; a < nr; a++) for (let b = 0; b < nr; b++) all.compare(a, b);
          for (const [from, to, a, b] of windows) all.compare(a % nr, b % nr, Math.min(from, to), Math.max(from, to));
        },
      ),
      { seed: 20261120, numRuns: 60 },
    );
  });

  it.each([
    [0, 0],
    [0, 5],
    [1, 3000],
    [300, 100_000],
  ])('of %d and %d entries, sharing nothing and of different depth, differ in what they hold', (nrA, nrB) => {
    const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 2000 }));
    const [a, b] = [BTree.create(target.tm, numbers), BTree.create(target.tm, numbers)];
    for (let i = 0; i < nrA; i++) a.insert(3 * i, i);
    for (let i = 0; i < nrB; i++) b.insert(3 * i, i === 7 ? 1 : i);
    const found = [...diffTrees(a, b)];
    expect(found.filter(({ before, after }) => before !== undefined && after !== undefined)).toEqual(
      Math.min(nrA, nrB) > 7 ? [{ key: 21, before: 7, after: 1 }] : [],
    );
    expect(found.filter(({ before }) => before === undefined).map(({ key }) => key)).toEqual(
      Array.from({ length: Math.max(0, nrB - nrA) }, (_, i) => 3 * (nrA + i)),
    );
    expect([...diffTrees(b, a)]).toEqual(
      found.map(({ key, before, after }) => ({ key, before: after, after: before })),
    );
  });

  it('differ in every entry of the one when the other is absent', () => {
    const all = new Versions();
    for (let i = 0; i < 600; i++) all.insert(0, i, i);
    const { tree, map } = all.versions[0] as { tree: BTree<number>; map: Map<number, number> };
    expect([...diffTrees(undefined, tree)]).toEqual(expected(new Map(), map, 0, 600));
    expect([...diffTrees(tree, undefined, 590)]).toEqual(expected(map, new Map(), 590, 600));
    expect([...diffTrees(undefined, undefined)]).toEqual([]);
  });

  it('differ by the bytes of their values, also where the value type would take two for the same', () => {
    const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 100 }));
    const type = new CountedTokens();
    const [a, b] = [BTree.create(target.tm, type), BTree.create(target.tm, type)];
    for (const tree of [a, b]) for (let i = 0; i < 10; i++) tree.insert(i, { token: i, tag: 0 });
    b.insert(4, { token: 4, tag: 1 });
    expect([...diffTrees(a, b)]).toEqual([{ key: 4, before: { token: 4, tag: 0 }, after: { token: 4, tag: 1 } }]);
  });

  it('of two block managers, or of values of two sizes, are not compared', () => {
    const [one, other] = [new Versions(), new Versions()];
    const root = one.versions[0]?.tree as BTree<number>;
    expect(() => [...diffTrees(root, other.versions[0]?.tree)]).toThrow(
      new RangeError('two trees are compared on one device, through one block manager'),
    );
    expect(() => [...diffTrees(root, BTree.create(one.target.tm, sized(12)))]).toThrow(
      new RangeError('values of 8 and of 12 bytes cannot be compared'),
    );
  });
});

describe('comparing a tree of a million keys with its snapshot', () => {
  const NR = 1_000_000;
  const device = new MemoryMetadataDevice({ nrBlocks: 24_000 });
  const target = SmallTarget.format(device);
  const origin = buildTree(target.tm, numbers, entries());
  function* entries(): Generator<[number, number]> {
    for (let i = 0; i < NR; i++) yield [i, i];
  }

  /** A snapshot of `origin` after `change`, and how many blocks of each tree the other does not have. */
  function changed(change: (tree: BTree<number>) => void): { tree: BTree<number>; nrUnshared: number } {
    target.tm.inc(origin.root);
    const tree = new BTree(target.tm, numbers, origin.root);
    change(tree);
    const blocksOf = ({ root }: BTree<number>): Set<number> =>
      new Set(
        layersOf(target.tm, root)
          .flat()
          .map(({ nr }) => nr),
      );
    const [before, after] = [blocksOf(origin), blocksOf(tree)];
    const missing = (from: Set<number>, of: Set<number>): number => [...of].filter((nr) => !from.has(nr)).length;
    target.roots = [origin.root, tree.root];
    target.commit();
    target.blocks.drop();
    return { tree, nrUnshared: missing(before, after) + missing(after, before) };
  }

  function nrReadFor(work: () => void): number {
    const before = target.blocks.counters.nrRead;
    work();
    return target.blocks.counters.nrRead - before;
  }

  it('reads nothing when nothing has changed', () => {
    const { tree } = changed(() => {});
    expect(nrReadFor(() => expect([...diffTrees(origin, tree)]).toEqual([]))).toBe(0);
  });

  it('reads a path of each for one change', () => {
    const { tree } = changed((snapshot) => snapshot.insert(654_321, 1));
    const found = { key: 654_321, before: 654_321, after: 1 };
    // One path each, and the one beside which the walks learn how high the trees are.
    expect(nrReadFor(() => expect([...diffTrees(origin, tree)]).toEqual([found]))).toBeLessThanOrEqual(6 + 4);
  });

  it('reads only blocks that are not shared for 1000 changed values, and finds them', () => {
    const random = seededRandom(7);
    const keys = new Set<number>();
    while (keys.size < 1000) keys.add(Math.floor(random() * NR));
    const { tree, nrUnshared } = changed((snapshot) => {
      for (const key of keys) snapshot.insert(key, NR + key);
    });
    const sorted = [...keys].sort((a, b) => a - b);
    let found: number[] = [];
    const nrRead = nrReadFor(() => {
      found = Array.from(diffTrees(origin, tree), ({ key }) => key);
    });
    expect(found).toEqual(sorted);
    expect(nrRead).toBeLessThanOrEqual(nrUnshared + 4);
    expect(nrRead).toBeLessThanOrEqual(1000 * 2 * 3);
  });

  it('reads in proportion to 1000 keys added and removed, which also move entries between nodes', () => {
    const random = seededRandom(8);
    const { tree, nrUnshared } = changed((snapshot) => {
      for (let i = 0; i < 500; i++) {
        snapshot.remove(Math.floor(random() * NR));
        snapshot.insert(NR + Math.floor(random() * NR), i);
      }
    });
    const nrRead = nrReadFor(() => {
      expect([...diffTrees(origin, tree)].length).toBeGreaterThan(990);
    });
    // Beside the unshared: a shared leaf is entered where the other walk stands in the middle of its neighbour.
    expect(nrRead).toBeLessThanOrEqual(1.5 * nrUnshared);
    expect(nrUnshared).toBeLessThan(1000 * 10);
  });

  it('reads only the paths to the keys that were asked for', () => {
    const { tree } = changed((snapshot) => {
      for (let key = 0; key < NR; key += 1000) snapshot.insert(key, NR);
    });
    const nrRead = nrReadFor(() => {
      expect(Array.from(diffTrees(origin, tree, 500_001, 502_001), ({ key }) => key)).toEqual([501_000, 502_000]);
    });
    expect(nrRead).toBeLessThanOrEqual(16);
  });

  it('reads no further than the caller goes', () => {
    const { tree } = changed((snapshot) => {
      for (let key = 0; key < NR; key += 1000) snapshot.insert(key, NR);
    });
    expect(nrReadFor(() => diffTrees(origin, tree).next())).toBeLessThanOrEqual(6);
  });
});

describe('a damaged tree', () => {
  /** Two unshared, committed trees of 900 keys 0, 10, 20 …, opened anew. */
  function twoTrees(damage: (device: MemoryMetadataDevice, root: number, leaves: number[]) => void): () => unknown {
    const device = new MemoryMetadataDevice({ nrBlocks: 200 });
    const target = SmallTarget.format(device);
    const trees = [BTree.create(target.tm, numbers), BTree.create(target.tm, numbers)];
    for (let i = 0; i < 900; i++) for (const [nr, tree] of trees.entries()) tree.insert(10 * i, 2 * i + nr);
    target.roots = trees.map(({ root }) => root);
    target.commit();
    const [root] = target.roots as [number, number];
    damage(
      device,
      root,
      (layersOf(target.tm, root)[1] ?? []).map(({ nr }) => nr),
    );
    const { tm, roots } = SmallTarget.open(device, { cacheBlocks: 32 });
    const [a, b] = roots.map((nr) => new BTree(tm, numbers, nr));
    return () => [...diffTrees(a, b)];
  }

  it('ends the comparison at a child that points back at the root', () => {
    for (const index of [0, 1, 2, 3]) {
      const compare = twoTrees((device, root) =>
        rewrite(device, root, (view) => setU64At(view, 2048 + 8 * index, root)),
      );
      expect(compare).toThrow(CorruptBlockError);
    }
  });

  it('is told as a leaf out of its place when the same leaf is reached twice', () => {
    const compare = twoTrees((device, root, leaves) =>
      rewrite(device, root, (view) => setU64At(view, 2048 + 8, leaves[0] as number)),
    );
    expect(compare).toThrow(
      /btree node in block \d+: key 0 is 0, expected \d+ or above, for its parents place it there/,
    );
  });

  it('is told when a leaf reaches into the next one’s keys', () => {
    const compare = twoTrees((device, root) => rewrite(device, root, (view) => setU64At(view, 40, 15)));
    expect(compare).toThrow(/key \d+ is \d+, expected below 15, for its parents place it there/);
  });

  it('is told when a leaf below the root is empty, or holds values of another size', () => {
    const empty = twoTrees((device, _root, leaves) =>
      rewrite(device, leaves[1] as number, (view) => view.setUint32(16, 0, true)),
    );
    expect(empty).toThrow('nrEntries is 0, expected 1 or more, for it is not a root');
    const other = twoTrees((device, _root, leaves) =>
      rewrite(device, leaves[1] as number, (view) => view.setUint32(24, 4, true)),
    );
    expect(other).toThrow('valueSize is 4, expected 8');
  });

  it('that is a lattice of 20 layers, each node twice a child of the one above, is not walked 2^20 times', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 200 });
    const target = SmallTarget.format(device);
    const chain = Array.from({ length: 21 }, () => BTree.create(target.tm, numbers));
    const other = BTree.create(target.tm, numbers);
    chain.at(-1)?.insert(1, 1);
    target.roots = [chain[0]?.root as number, other.root];
    target.commit();
    for (let layer = 0; layer < 20; layer++) {
      rewrite(device, chain[layer]?.root as number, (view) => {
        view.setUint32(4, 1, true);
        view.setUint32(16, 2, true);
        setU64At(view, 32, 0);
        setU64At(view, 40, 2 ** 20 - layer);
        for (const at of [2048, 2056]) setU64At(view, at, chain[layer + 1]?.root as number);
      });
    }
    const { tm, blocks } = SmallTarget.open(device);
    const compare = (): unknown => [
      ...diffTrees(new BTree(tm, numbers, target.roots[0] as number), new BTree(tm, numbers, other.root)),
    ];
    expect(compare).toThrow(CorruptBlockError);
    expect(blocks.counters.nrRead).toBeLessThan(40);
  });
});
