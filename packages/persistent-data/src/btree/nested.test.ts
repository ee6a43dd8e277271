import { MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit, nestedKind } from '../../test/audit.js';
import { layersOf } from '../../test/nodes.js';
import { SmallTarget } from '../../test/small-target.js';
import { CountedTokens, numbers, type Token } from '../../test/values.js';
import { NestedBTree, subtreeType } from './nested.js';
import { BTree } from './tree.js';

function empty(nrLevels: number, cacheBlocks = 64): { target: SmallTarget; tree: NestedBTree<number> } {
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 5000 }), { cacheBlocks });
  return { target, tree: NestedBTree.create(target.tm, nrLevels, numbers) };
}

function commitAndAudit(target: SmallTarget, nrLevels: number, ...roots: number[]): void {
  target.roots = roots;
  target.commit();
  const kind = nestedKind(nrLevels, { valueSize: 8 });
  audit(
    target.tm,
    roots.map((root) => ({ root, kind })),
  );
}

describe('trees of trees', () => {
  it.each([2, 3, 4])('behave like maps of maps (%d levels)', (nrLevels) => {
    const random = seededRandom(nrLevels);
    const { target, tree } = empty(nrLevels, 32);
    const model = new Map<string, number>();
    const prefixes = new Set<string>();
    const some = (): number[] =>
      Array.from({ length: nrLevels }, (_, level) => Math.floor(random() * (level === nrLevels - 1 ? 300 : 4)));
    for (let i = 0; i < 4000; i++) {
      const keys = some();
      const [name, prefix] = [keys.join(), keys.slice(0, -1).join()];
      const choice = random();
      if (choice < 0.6) {
        expect(tree.insert(keys, i)).toBe(!model.has(name));
        model.set(name, i);
        prefixes.add(prefix);
      } else if (choice < 0.8) expect(tree.remove(keys)).toBe(model.delete(name));
      else if (choice < 0.82) {
        const end = (keys.at(-1) as number) + 100;
        let nr = 0;
        for (let key = keys.at(-1) as number; key < end; key++) if (model.delete(`${prefix},${key}`)) nr++;
        expect(tree.removeRange(keys.slice(0, -1), keys.at(-1) as number, end)).toBe(nr);
      } else {
        expect(tree.lookup(keys)).toBe(model.get(name));
        let next = keys.at(-1) as number;
        while (next < 300 && !model.has(`${prefix},${next}`)) next++;
        expect(tree.ceiling(keys)?.key).toBe(next < 300 ? next : undefined);
        expect(tree.subtree(keys.slice(0, -1)) === undefined).toBe(!prefixes.has(prefix));
      }
      if (i % 500 === 0) commitAndAudit(target, nrLevels, tree.root);
    }
    commitAndAudit(target, nrLevels, tree.root);
    const reopened = new NestedBTree(SmallTarget.open(target.blocks.device).tm, nrLevels, numbers, tree.root);
    for (const [name, value] of model) expect(reopened.lookup(name.split(',').map(Number))).toBe(value);
  });

  it('keep a subtree that has become empty, and make one for a missing key only when inserting', () => {
    const { target, tree } = empty(2);
    expect(tree.remove([5, 1])).toBe(false);
    expect(tree.removeRange([5], 0, 10)).toBe(0);
    expect(tree.subtree([5])).toBeUndefined();
    expect(tree.change([5], false, () => expect.fail('there is no subtree'))).toBeUndefined();
    tree.insert([5, 1], 1);
    expect(tree.remove([5, 1])).toBe(true);
    expect(tree.subtree([5])?.first()).toBeUndefined();
    commitAndAudit(target, 2, tree.root);
  });

  it('refuse the wrong number of keys, and keys that are none', () => {
    const { target, tree } = empty(3);
    tree.insert([1, 2, 3], 4);
    for (const keys of [[1], [1, 2], [1, 2, 3, 4], [-1, 2, 3], [1, Number.NaN, 3], [1, 2, 0.5]]) {
      expect(() => tree.insert(keys, 1), `${keys}`).toThrow(RangeError);
    }
    expect(() => new NestedBTree(target.tm, 1, numbers, tree.root)).toThrow(RangeError);
    commitAndAudit(target, 3, tree.root);
  });

  it('are as they were after a refused key, or an error of the work on a subtree', () => {
    const { target, tree } = empty(2);
    for (let id = 0; id < 5; id++) for (let key = 0; key < 300; key++) tree.insert([id, key], key);
    commitAndAudit(target, 2, tree.root);
    for (const [what, refused] of [
      ['insert', () => tree.insert([1, -1], 0)],
      ['insert into a new subtree', () => tree.insert([7, 0.5], 0)],
      ['removeRange', () => tree.removeRange([1], 0, Number.NaN)],
    ] as const) {
      expect(refused, what).toThrow(RangeError);
    }
    expect(tree.subtree([7])).toBeUndefined();
    expect(tree.remove([1, 0.5])).toBe(false);
    expect(tree.lookup([1, 299])).toBe(299);
    commitAndAudit(target, 2, tree.root);
    expect(() =>
      tree.change([1], false, (subtree) => {
        subtree.insert(1000, 1);
        throw new Error('thought better of it');
      }),
    ).toThrow('thought better of it');
    // What was done before the error stays, reachable and counted.
    tree.insert([2, 1000], 2);
    commitAndAudit(target, 2, tree.root);
    expect([tree.lookup([1, 1000]), tree.lookup([2, 1000])]).toEqual([1, 2]);
  });

  it('change nothing outside the path of a change in place', () => {
    const { target, tree } = empty(2);
    for (let id = 0; id < 5; id++) for (let key = 0; key < 300; key++) tree.insert([id, key], key);
    commitAndAudit(target, 2, tree.root);
    const before = layersOf(target.tm, tree.root).at(-1)?.[0]?.keys;
    const { nrAllocated } = target.tm.spaceMap;
    tree.insert([3, 7], 1);
    const { root } = tree;
    const sub = tree.subtree([3])?.root;
    for (let i = 0; i < 50; i++) tree.insert([3, 8 + i], i);
    expect([tree.root, tree.subtree([3])?.root]).toEqual([root, sub]);
    expect(layersOf(target.tm, tree.root).at(-1)?.[0]?.keys).toEqual(before);
    expect(target.tm.spaceMap.nrAllocated).toBe(nrAllocated);
    commitAndAudit(target, 2, tree.root);
  });
});

describe('snapshots of a tree of trees', () => {
  // Leaves of the upper level hold roots: copying one counts every root once more (b0dc3c8b).
  it('of the whole count every subtree root once more when the upper leaf is copied', () => {
    const { target, tree } = empty(2);
    for (let id = 0; id < 100; id++) for (let key = 0; key < 3; key++) tree.insert([id, key], 10 * id + key);
    const roots = Array.from({ length: 100 }, (_, id) => tree.subtree([id])?.root as number);
    commitAndAudit(target, 2, tree.root);
    target.tm.inc(tree.root);
    const snapshot = new NestedBTree(target.tm, 2, numbers, tree.root);
    tree.insert([50, 1], 7);
    roots.forEach((root, id) => {
      expect(target.tm.spaceMap.count(root), `root ${id}`).toBe(id === 50 ? 1 : 2);
    });
    expect([snapshot.lookup([50, 1]), tree.lookup([50, 1])]).toEqual([501, 7]);
    commitAndAudit(target, 2, tree.root, snapshot.root);
  });

  it('of the whole and of subtrees, changed on every side and deleted in any order, leave exact counts', () => {
    const random = seededRandom(2011);
    const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 5000 }), { cacheBlocks: 32 });
    const tokens = new CountedTokens();
    /** Deletes the subtree with the value: what a target does that removes devices. */
    const deleting = {
      ...subtreeType(target.tm),
      dec: (view: DataView, at: number, count: number) => {
        for (let i = 0; i < count; i++) new BTree<Token>(target.tm, tokens, view.getUint32(at + 8 * i, true)).delete();
      },
    };
    const versions: { tree: NestedBTree<Token>; model: Map<number, Map<number, number>> }[] = [
      { tree: NestedBTree.create<Token>(target.tm, 2, tokens), model: new Map() },
    ];
    const check = (): void => {
      const references = new Map<number, number>();
      const kind = nestedKind(2, {
        valueSize: 8,
        value: (_, view, at) => {
          const token = view.getUint32(at, true);
          references.set(token, (references.get(token) ?? 0) + 1);
        },
      });
      target.roots = versions.map(({ tree }) => tree.root);
      target.commit();
      audit(
        target.tm,
        versions.map(({ tree }) => ({ root: tree.root, kind })),
      );
      expect(tokens.counts).toEqual(references);
      for (const { tree, model } of versions) {
        for (const [id, subtree] of model) {
          const found = [...(tree.subtree([id]) as BTree<Token>)].map(({ key, value }) => [key, value.token]);
          expect(found).toEqual([...subtree].sort(([a], [b]) => a - b));
        }
      }
    };
    for (let step = 0; step < 600; step++) {
      const version = versions[Math.floor(random() * versions.length)] as (typeof versions)[number];
      const { tree, model } = version;
      const id = Math.floor(random() * 200);
      const choice = random();
      if (choice < 0.6) {
        const subtree = model.get(id) ?? new Map<number, number>();
        model.set(id, subtree);
        for (let i = Math.floor(random() * 60); i >= 0; i--) {
          const [key, token] = [Math.floor(random() * 600), Math.floor(random() * 2 ** 32)];
          tokens.take(token);
          tree.insert([id, key], { token, tag: 0 });
          subtree.set(key, token);
        }
      } else if (choice < 0.75) {
        const nr = tree.removeRange([id], 100, 400);
        const doomed = [...(model.get(id)?.keys() ?? [])].filter((key) => key >= 100 && key < 400);
        expect(nr).toBe(doomed.length);
        for (const key of doomed) model.get(id)?.delete(key);
      } else if (choice < 0.85 && model.has(id)) {
        // A thin snapshot: another id for the same subtree.
        const copy = 200 + Math.floor(random() * 200);
        if (model.has(copy)) continue;
        const root = tree.subtree([id])?.root as number;
        target.tm.inc(root);
        const upper = new BTree<number>(target.tm, subtreeType(target.tm), tree.root);
        upper.insert(copy, root);
        tree.root = upper.root;
        model.set(copy, new Map(model.get(id)));
      } else if (choice < 0.9 && model.size > 0) {
        const [doomed] = [...model.keys()].slice(Math.floor(random() * model.size));
        const upper = new BTree<number>(target.tm, deleting, tree.root);
        expect(upper.remove(doomed as number)).toBe(true);
        tree.root = upper.root;
        model.delete(doomed as number);
      } else if (choice < 0.93 && versions.length < 4) {
        target.tm.inc(tree.root);
        versions.push({
          tree: new NestedBTree<Token>(target.tm, 2, tokens, tree.root),
          model: new Map([...model].map(([key, subtree]) => [key, new Map(subtree)])),
        });
      } else if (choice < 0.95 && versions.length > 1) {
        new BTree<number>(target.tm, deleting, tree.root).delete();
        versions.splice(versions.indexOf(version), 1);
      }
      if (step % 60 === 0) check();
    }
    check();
    for (const { tree } of versions.splice(0)) new BTree<number>(target.tm, deleting, tree.root).delete();
    check();
    expect(tokens.counts).toEqual(new Map());
    expect(target.tm.spaceMap.nrAllocated).toBe(4);
  });
});
