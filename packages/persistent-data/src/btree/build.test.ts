import { MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { audit } from '../../test/audit.js';
import { layersOf, leafSizes } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { numbers, sized } from '../../test/values.js';
import { BTreeBuilder, buildTree } from './build.js';
import type { BTree } from './tree.js';

const emptyTarget = (): SmallTarget => SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 1000 }));

function* range(nr: number, step = 1): Generator<[number, number]> {
  for (let i = 0; i < nr; i++) yield [i * step, i];
}

function commitAndAudit(target: SmallTarget, ...trees: BTree<number>[]): void {
  target.roots = trees.map(({ root }) => root);
  target.commit();
  audit(
    target.tm,
    trees.map(({ root, type }) => ({ root, kind: { valueSize: type.size } })),
  );
}

describe('a tree built at once', () => {
  it.each([
    [8, 252],
    [24, 126],
    [400, 9],
  ])('of %d-byte values has the right shape at every size', (size, max) => {
    const target = emptyTarget();
    const type = sized(size);
    for (let nr = 0; nr <= 1000; nr += size !== 8 && nr > 3 * max ? 37 : 1) {
      const tree = buildTree(target.tm, type, range(nr));
      audit(target.tm, [{ root: tree.root, kind: { valueSize: size } }]);
      const sizes = leafSizes(target.tm, tree.root);
      expect(sizes.reduce((a, b) => a + b, 0)).toBe(nr);
      // Full leaves from left to right; the last two evened out when the last would be under a third.
      for (const leaf of sizes.slice(0, -2)) expect(leaf).toBe(max);
      tree.delete();
    }
  });

  it('evens the last two leaves out only when it must', () => {
    const target = emptyTarget();
    const sizesFor = (nr: number): number[] => leafSizes(target.tm, buildTree(target.tm, numbers, range(nr)).root);
    expect(sizesFor(252)).toEqual([252]);
    expect(sizesFor(253)).toEqual([127, 126]);
    expect(sizesFor(252 + 83)).toEqual([168, 167]);
    expect(sizesFor(252 + 84)).toEqual([252, 84]);
    expect(sizesFor(504)).toEqual([252, 252]);
    expect(sizesFor(505)).toEqual([252, 127, 126]);
  });

  it.each([252 * 252 - 1, 252 * 252, 252 * 252 + 1, 252 * 252 + 84, 253 * 252 + 1])(
    'has the right layers around a full root (%d entries)',
    (nr) => {
      const target = emptyTarget();
      const tree = buildTree(target.tm, numbers, range(nr, 3));
      const layers = layersOf(target.tm, tree.root);
      expect(layers.map((layer) => layer.length)).toEqual(nr <= 252 * 252 ? [1, 252] : [1, 2, Math.ceil(nr / 252)]);
      expect(tree.last()).toEqual({ key: 3 * (nr - 1), value: nr - 1 });
      for (const i of [0, 1, 251, 252, 253, 252 * 126, nr - 1]) expect(tree.lookup(3 * i)).toBe(i);
      commitAndAudit(target, tree);
    },
  );

  it('can be changed like any other', () => {
    const target = emptyTarget();
    const tree = buildTree(target.tm, sized(400), range(2000, 2));
    const model = new Map(range(2000, 2));
    for (let i = 0; i < 1500; i++) {
      const key = (i * 7919) % 4000;
      if (i % 3 === 0) expect(tree.remove(key)).toBe(model.delete(key));
      else {
        tree.insert(key, i);
        model.set(key, i);
      }
    }
    expect(new Map([...tree].map(({ key, value }) => [key, value]))).toEqual(model);
    commitAndAudit(target, tree);
  });

  it('refuses keys that do not ascend, and keys that are none', () => {
    const builder = new BTreeBuilder(emptyTarget().tm, numbers);
    builder.add(5, 0);
    for (const key of [5, 4, -1, 0.5, Number.NaN, 2 ** 53]) expect(() => builder.add(key, 0)).toThrow(RangeError);
    builder.add(6, 0);
  });

  it('refuses values of which not three fit into a leaf', () => {
    const target = emptyTarget();
    for (const size of [0, -8, 2.5, 1347, 4096]) {
      expect(() => new BTreeBuilder(target.tm, { ...numbers, size })).toThrow(RangeError);
    }
    expect([...buildTree(target.tm, sized(1346), range(10))].length).toBe(10);
  });
});

describe('leaves that several trees use', () => {
  it.each([
    ['before a detached leaf', 83, 200],
    ['behind one', 200, 83],
  ])('leave no room for a small leaf %s: the tree would be none', (_, nrBefore, nrBehind) => {
    const builder = new BTreeBuilder(emptyTarget().tm, numbers);
    for (let key = 0; key < nrBefore; key++) builder.add(key, key);
    builder.detachLeaves();
    for (let key = 1000; key < 1000 + nrBehind; key++) builder.add(key, key);
    expect(() => builder.finish()).toThrow('a leaf beside others has 84 entries or more, not 83');
    const alone = new BTreeBuilder(emptyTarget().tm, numbers);
    for (let key = 0; key < 5; key++) alone.add(key, key);
    alone.detachLeaves();
    expect([...alone.finish()].length).toBe(5);
  });

  it('are built once, adopted by number, and counted by the caller', () => {
    const target = emptyTarget();
    const { tm } = target;
    const first = new BTreeBuilder(tm, numbers);
    for (const [key, value] of range(200)) first.add(key, value);
    const own = first.detachLeaves();
    expect(own.length).toBe(1);
    for (let key = 1000; key < 1200; key++) first.add(key, key);
    const shared = first.detachLeaves();
    expect(shared.map(({ firstKey }) => firstKey)).toEqual([1000]);
    for (let key = 2000; key < 2200; key++) first.add(key, key);
    const a = first.finish();

    const second = new BTreeBuilder(tm, numbers);
    for (const [key, value] of range(150, 2)) second.add(key, value);
    for (const leaf of shared) {
      tm.inc(leaf.blockNr);
      second.adoptLeaf(leaf, 1199);
    }
    expect(() => second.add(1199, 0)).toThrow(RangeError);
    for (let key = 1200; key < 1400; key++) second.add(key, key);
    const b = second.finish();

    expect(leafSizes(tm, a.root)).toEqual([200, 200, 200]);
    expect(leafSizes(tm, b.root)).toEqual([150, 200, 200]);
    commitAndAudit(target, a, b);
    b.insert(1100, 7);
    expect(a.lookup(1100)).toBe(1100);
    commitAndAudit(target, a, b);
    a.delete();
    expect(b.lookup(1150)).toBe(1150);
    commitAndAudit(target, b);
  });
});
