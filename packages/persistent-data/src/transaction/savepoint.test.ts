import { MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit } from '../../test/audit.js';
import { SmallTarget } from '../../test/small-target.js';
import { numbers } from '../../test/values.js';
import { BTree } from '../btree/tree.js';
import { AbortRequiredError, NoSpaceError } from './errors.js';

const text = (tree: BTree<number>): string => JSON.stringify([...tree]);

function withTree(options: { nrBlocks?: number; cacheBlocks?: number } = {}): {
  target: SmallTarget;
  tree: BTree<number>;
} {
  const { nrBlocks = 500, cacheBlocks = 64 } = options;
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks }), { cacheBlocks });
  const tree = BTree.create(target.tm, numbers);
  for (let key = 0; key < 1000; key++) tree.insert(key, key);
  target.roots = [tree.root];
  target.commit();
  return { target, tree };
}

function finish(target: SmallTarget, tree: BTree<number>): void {
  target.roots = [tree.root];
  target.commit();
  audit(target.tm, [{ root: tree.root, kind: { valueSize: 8 } }]);
}

describe('a rollback', () => {
  it('undoes what came after the savepoint, and nothing that came before', () => {
    const { target, tree } = withTree();
    tree.insert(5000, 1);
    const [before, root, nrAllocated] = [text(tree), tree.root, target.tm.spaceMap.nrAllocated];
    const savepoint = target.tm.savepoint();
    tree.removeRange(100, 900);
    for (let key = 6000; key < 8000; key++) tree.insert(key, 2);
    savepoint.rollback();
    tree.root = root;
    expect(text(tree)).toBe(before);
    expect(target.tm.spaceMap.nrAllocated).toBe(nrAllocated);
    finish(target, tree);
  });

  it('brings back a block that was given up and handed out again meanwhile', () => {
    const { target, tree } = withTree({ nrBlocks: 60 });
    const other = BTree.create(target.tm, numbers);
    other.insert(1, 77);
    const savepoint = target.tm.savepoint();
    target.tm.dec(other.root);
    // Whatever is free is handed out, the block just given up among it.
    const taken: number[] = [];
    expect(() => {
      for (;;) taken.push(BTree.create(target.tm, numbers).root);
    }).toThrow(NoSpaceError);
    expect(taken).toContain(other.root);
    savepoint.rollback();
    expect([...other]).toEqual([{ key: 1, value: 77 }]);
    target.tm.dec(other.root);
    finish(target, tree);
  });

  it('makes a transaction usable again in which a change failed half-way', () => {
    const { target, tree } = withTree({ nrBlocks: 40 });
    const { root } = tree;
    const before = text(tree);
    const savepoint = target.tm.savepoint();
    expect(() => {
      for (let key = 10_000; ; key++) tree.insert(key, key);
    }).toThrow(NoSpaceError);
    expect(() => target.tm.inc(root)).toThrow(AbortRequiredError);
    savepoint.rollback();
    tree.root = root;
    expect(text(tree)).toBe(before);
    tree.insert(3, 333);
    finish(target, tree);
  });

  it('of an outer savepoint undoes an inner one that was released', () => {
    const { target, tree } = withTree();
    tree.insert(5000, 1);
    const { root } = tree;
    const before = text(tree);
    const outer = target.tm.savepoint();
    tree.insert(5001, 1);
    const inner = target.tm.savepoint();
    tree.insert(5001, 2);
    for (let key = 6000; key < 7000; key++) tree.insert(key, 2);
    inner.release();
    outer.rollback();
    tree.root = root;
    expect(text(tree)).toBe(before);
    finish(target, tree);
  });
});

it.each([1, 2, 3, 4, 5, 6])('nest, release and roll back as copies of a map do (seed %i)', (seed) => {
  const random = seededRandom(seed);
  // A cache of 32 blocks: blocks are written early, and their images come from the device.
  const { target, tree } = withTree({ nrBlocks: 1500, cacheBlocks: seed % 2 === 0 ? 32 : 512 });
  let model = new Map([...tree].map(({ key, value }) => [key, value]));
  const change = (): void => {
    for (let i = 0; i < 60; i++) {
      const key = Math.floor(random() * 4000);
      if (random() < 0.7) {
        tree.insert(key, i);
        model.set(key, i);
      } else {
        tree.removeRange(key, key + 60);
        for (let gone = key; gone < key + 60; gone++) model.delete(gone);
      }
    }
  };
  const nest = (depth: number): void => {
    const savepoint = target.tm.savepoint();
    const { root } = tree;
    const kept = new Map(model);
    change();
    while (depth < 4 && random() < 0.6) nest(depth + 1);
    if (random() < 0.5) {
      savepoint.release();
      return;
    }
    savepoint.rollback();
    tree.root = root;
    model = kept;
  };
  for (let round = 0; round < 12; round++) {
    if (random() < 0.5) change();
    nest(0);
    if (random() < 0.5) finish(target, tree);
    expect([...tree].map(({ key, value }) => [key, value])).toEqual([...model].sort(([a], [b]) => a - b));
  }
  finish(target, tree);
});
