/** Page trees beside a sorted map, shared and copied, with every reference counted in the end; and pages that lie. */
import { CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { SmallTarget } from '../../test/small-target.js';
import { Block, u64At } from '../block/block.js';
import { TwoWayCursor } from '../btree/two-way-cursor.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { type BlockKind, pageKind } from './block-kinds.js';
import { diffPageTrees } from './page-diff.js';
import {
  entryOffset,
  isPageLeaf,
  maxInline,
  nrPageEntries,
  PAGE_CAPACITY,
  pageFree,
  pageValidator,
} from './page-node.js';
import { pageReader } from './page-reader.js';
import { PageTree } from './page-tree.js';

const newTarget = (nrBlocks = 3000, cacheBlocks = 64): SmallTarget =>
  SmallTarget.format(new MemoryMetadataDevice({ nrBlocks }), { cacheBlocks });

function key(nr: number, size = 8): DataView {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(size - 4, nr);
  return view;
}
const keyNr = (view: DataView, at = 0, size = 8): number => view.getUint32(at + size - 4);
const filled = (length: number, seed: number): Uint8Array => new Uint8Array(length).fill(seed % 251);
const plain = (view: DataView, at: number, length: number): string =>
  `${length}:${length === 0 ? '' : view.getUint8(at)}`;

function entriesOf(tree: PageTree, downwards = false): [number, string][] {
  const found: [number, string][] = [];
  const cursor = new TwoWayCursor(pageReader(tree));
  for (cursor.seek(undefined, downwards); !cursor.done; downwards ? cursor.previous() : cursor.next()) {
    const { leaf, index } = cursor;
    found.push([keyNr(leaf.view, entryOffset(leaf, index), tree.keySize), '']);
    (found.at(-1) as [number, string])[1] = tree.valueAt(leaf, index, plain);
  }
  return found;
}

/** References by the walk that check and compact stand on, held against the counts; and how full the nodes are. */
function auditPages(tm: TransactionManager, trees: readonly PageTree[]): void {
  const counts = new Map<number, number>();
  const pending: { nr: number; kind: BlockKind; isRoot: boolean }[] = [];
  const refer = (nr: number, kind: BlockKind, isRoot: boolean): void => {
    counts.set(nr, (counts.get(nr) ?? 0) + 1);
    if (counts.get(nr) === 1) pending.push({ nr, kind, isRoot });
  };
  const kind = pageKind();
  for (const tree of trees) refer(tree.root, kind, true);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { isRoot } = next;
    const block = new Block(tm.read(next.nr, next.kind.validator).bytes.slice(), next.nr);
    if (next.kind === kind && !isRoot) expect(nrPageEntries(block), `entries of node ${block.nr}`).toBeGreaterThan(0);
    next.kind.visit(block, { block: (at, child) => refer(u64At(block.view, at), child, false), unit: () => {} });
  }
  for (const [nr, count] of counts) expect(tm.spaceMap.count(nr), `count of block ${nr}`).toBe(count);
}

describe.each([
  { keySize: 8, seed: 1 },
  { keySize: 8, seed: 2 },
  { keySize: 40, seed: 3 },
  { keySize: 128, seed: 4 },
])('a page tree with keys of $keySize bytes (seed $seed)', ({ keySize, seed }) => {
  it('does what a sorted map does, with copies that share its blocks', () => {
    const random = seededRandom(seed);
    const target = newTarget();
    const { tm } = target;
    let trees = [{ tree: PageTree.create(tm, keySize), model: new Map<number, string>() }];
    const valueLength = (): number =>
      random() < 0.05
        ? 1000 + Math.floor(random() * 9000)
        : Math.floor(random() * (random() < 0.1 ? maxInline(keySize) : 120));
    for (let step = 0; step < 3000; step++) {
      const { tree, model } = trees[Math.floor(random() * trees.length)] as (typeof trees)[number];
      const nr = Math.floor(random() * 1500);
      if (random() < (step % 1000 < 600 ? 0.8 : 0.25)) {
        const length = valueLength();
        expect(tree.insert(key(nr, keySize), filled(length, step))).toBe(!model.has(nr));
        model.set(nr, `${length}:${length === 0 ? '' : step % 251}`);
      } else expect(tree.remove(key(nr, keySize))).toBe(model.delete(nr));
      if (step % 400 === 200 && trees.length < 4) {
        tm.inc(tree.root);
        trees.push({ tree: new PageTree(tm, keySize, tree.root), model: new Map(model) });
      }
      if (step % 900 === 899) {
        trees.splice(1, 1)[0]?.tree.delete();
        target.roots = trees.map((each) => each.tree.root);
        target.commit();
      }
    }
    for (const { tree, model } of trees) {
      const expected = [...model].sort(([a], [b]) => a - b);
      expect(entriesOf(tree)).toEqual(expected);
      expect(entriesOf(tree, true)).toEqual(expected.reverse());
      for (const nr of [0, 7, 700, 1499]) expect(tree.lookup(key(nr, keySize), plain)).toBe(model.get(nr));
    }
    auditPages(
      tm,
      trees.map(({ tree }) => tree),
    );
    const [a, b] = trees;
    if (a !== undefined && b !== undefined) {
      const found = [...diffPageTrees(a.tree, b.tree)].length;
      const keys = new Set([...a.model.keys(), ...b.model.keys()]);
      expect(found).toBe([...keys].filter((nr) => a.model.get(nr) !== b.model.get(nr)).length);
    }
    for (const { tree } of trees) tree.delete();
    trees = [];
    target.roots = [];
    target.commit();
    expect(tm.spaceMap.nrAllocated).toBeLessThan(8);
  });
});

it('leaves full nodes behind when keys come in order', () => {
  const { tm } = newTarget();
  const tree = PageTree.create(tm, 8);
  for (let nr = 0; nr < 5000; nr++) tree.insert(key(nr), filled(60, nr));
  const kind = pageKind();
  let [used, leaves] = [0, 0];
  const visit = (nr: number): void => {
    const block = new Block(tm.read(nr, pageValidator).bytes.slice(), nr);
    if (isPageLeaf(block)) {
      used += PAGE_CAPACITY - pageFree(block);
      leaves++;
    } else kind.visit(block, { block: (at) => visit(u64At(block.view, at)), unit: () => {} });
  };
  visit(tree.root);
  expect(used / leaves / PAGE_CAPACITY).toBeGreaterThan(0.95);
});

it('tells the differences of two trees at the cost of the differences', () => {
  const target = newTarget(6000, 4096);
  const { tm } = target;
  const tree = PageTree.create(tm, 8);
  for (let nr = 0; nr < 30_000; nr++) tree.insert(key(nr), filled(40, nr));
  target.roots = [tree.root];
  target.commit();
  tm.inc(tree.root);
  const old = new PageTree(tm, 8, tree.root);
  tree.insert(key(77), filled(40, 99));
  tree.remove(key(20_000));
  tree.insert(key(40_000), filled(5000, 1));
  target.roots = [tree.root, old.root];
  target.commit();
  const cold = SmallTarget.open(target.tm.blocks.device, { cacheBlocks: 64 });
  const [before, after] = [new PageTree(cold.tm, 8, old.root), new PageTree(cold.tm, 8, tree.root)];
  const readBefore = cold.tm.blocks.counters.nrRead;
  const found = Array.from(diffPageTrees(before, after), ({ key: at, before: was, after: is }) => [
    keyNr(at),
    was !== undefined,
    is !== undefined,
  ]);
  expect(found).toEqual([
    [77, true, true],
    [20_000, true, false],
    [40_000, false, true],
  ]);
  expect(cold.tm.blocks.counters.nrRead - readBefore).toBeLessThan(30);
});

it.each([
  { lie: 'both kinds at once', at: 4, u32: 3, says: 'flags is 3' },
  { lie: 'a key size that is none', at: 18, u16: 6, says: 'keySize is 6' },
  { lie: 'more entries than there is room for', at: 16, u16: 3000, says: 'heapStart' },
  { lie: 'an entry outside the heap', at: 32, u16: 8, says: 'slot 0 is 8' },
  { lie: 'an entry that ends behind the block', at: 32, u16: 4094, says: 'slot 0 is 4094' },
  { lie: 'keys out of order', at: 34, swap: true, says: 'key 1 is not above' },
  { lie: 'unused bytes that are in use', at: 22, u16: 9, says: 'nrUnused is 9' },
])('refuses a page that claims $lie under a good checksum', ({ at, u32, u16, swap, says }) => {
  const { tm } = newTarget();
  const tree = PageTree.create(tm, 8);
  tree.insert(key(1), filled(10, 1));
  tree.insert(key(2), filled(10, 2));
  const lying = new Block(tm.read(tree.root, pageValidator).bytes.slice(), tree.root);
  if (u32 !== undefined) lying.view.setUint32(at, u32, true);
  if (u16 !== undefined) lying.view.setUint16(at, u16, true);
  if (swap === true) {
    const [a, b] = [lying.view.getUint16(32, true), lying.view.getUint16(34, true)];
    lying.view.setUint16(32, b, true);
    lying.view.setUint16(34, a, true);
  }
  pageValidator.prepare(lying);
  expect(() => pageValidator.check(lying)).toThrow(CorruptBlockError);
  expect(() => pageValidator.check(lying)).toThrow(says);
});
