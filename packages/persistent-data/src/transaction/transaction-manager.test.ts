import { CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit } from '../../test/audit.js';
import { SmallTarget, superblockValidator } from '../../test/small-target.js';
import { CountedTokens, type Token } from '../../test/values.js';
import { type BlockValidator, checkHomeAndChecksum, sealHomeAndChecksum, setU64At, u64At } from '../block/block.js';
import { childAt, isLeaf, nodeValidator, nrEntries } from '../btree/node.js';
import { BTree } from '../btree/tree.js';
import { AbortRequiredError, CountRangeError } from './errors.js';

const kind: BlockValidator = {
  structure: 'test block',
  check: (block) => checkHomeAndChecksum(block, 'test block', 8, 1234),
  prepare: (block) => sealHomeAndChecksum(block, 8, 1234),
};

/** A committed target with one block of `kind` (value 7), which root 0 refers to. */
function withBlock(cacheBlocks = 64): { target: SmallTarget; nr: number; device: RecordingMetadataDevice } {
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 500 }));
  const target = SmallTarget.format(device, { cacheBlocks });
  const block = target.tm.newBlock(kind);
  setU64At(block.view, 16, 7);
  target.roots = [block.nr];
  target.commit();
  device.clear();
  return { target, nr: block.nr, device };
}

describe('shadow', () => {
  it('copies a committed block that nobody shares; its children change hands', () => {
    const { target, nr } = withBlock();
    const { tm } = target;
    let nrTold = 0;
    const copy = tm.shadow(nr, kind, () => nrTold++);
    expect(copy.nr).not.toBe(nr);
    expect(u64At(copy.view, 16)).toBe(7);
    expect([tm.spaceMap.count(nr), tm.spaceMap.count(copy.nr), nrTold]).toEqual([0, 1, 0]);
    setU64At(copy.view, 16, 8);
    expect(u64At(tm.read(nr, kind).view, 16)).toBe(7); // readers of the committed state still find it
  });

  it('copies a committed block that is shared, and has its children counted', () => {
    const { target, nr } = withBlock();
    const { tm } = target;
    tm.inc(nr);
    const told: number[] = [];
    const copy = tm.shadow(nr, kind, (block) => told.push(block.nr));
    expect([tm.spaceMap.count(nr), tm.spaceMap.count(copy.nr)]).toEqual([1, 1]);
    expect(told).toEqual([copy.nr]);
  });

  it('hands out a block of this transaction in place: nothing is copied or counted', () => {
    const { target } = withBlock();
    const { tm } = target;
    const { nr } = tm.newBlock(kind);
    const [nrFree, nrAllocated] = [tm.spaceMap.nrFree, tm.spaceMap.nrAllocated];
    for (let i = 0; i < 3; i++) expect(tm.shadow(nr, kind, () => expect.fail('not shared')).nr).toBe(nr);
    expect([tm.spaceMap.nrFree, tm.spaceMap.nrAllocated]).toEqual([nrFree, nrAllocated]);
    const copy = tm.shadow(target.roots[0] as number, kind, undefined).nr;
    expect(tm.shadow(copy, kind, undefined).nr).toBe(copy);
  });

  it('copies a block of this transaction when it has come to be shared', () => {
    const { target } = withBlock();
    const { tm } = target;
    const { nr } = tm.newBlock(kind);
    tm.inc(nr);
    let nrTold = 0;
    const copy = tm.shadow(nr, kind, () => nrTold++);
    expect(copy.nr).not.toBe(nr);
    expect([tm.spaceMap.count(nr), tm.spaceMap.count(copy.nr), nrTold]).toEqual([1, 1, 1]);
    // The original, now with one reader, is still of this transaction: in place.
    expect(tm.shadow(nr, kind, undefined).nr).toBe(nr);
  });

  it('copies again after a commit, and after an abort', () => {
    const { target, nr } = withBlock();
    const copy = target.tm.shadow(nr, kind, undefined).nr;
    target.roots = [copy];
    target.commit();
    const second = target.tm.shadow(copy, kind, undefined).nr;
    expect(second).not.toBe(copy);
    target.abort();
    expect(target.tm.spaceMap.count(copy)).toBe(1);
    expect(target.tm.shadow(copy, kind, undefined).nr).not.toBe(copy);
  });

  it('counts a block with 3 and more references exactly', () => {
    const { target, nr } = withBlock();
    const { tm } = target;
    for (let count = 1; count < 6; count++) tm.inc(nr);
    for (let count = 5; count >= 1; count--) {
      let nrTold = 0;
      tm.shadow(nr, kind, () => nrTold++);
      expect([tm.spaceMap.count(nr), nrTold]).toEqual([count, 1]);
    }
    tm.shadow(nr, kind, () => expect.fail('not shared'));
    expect(tm.spaceMap.count(nr)).toBe(0);
  });

  it.each([500, 2 ** 32 + 8, 2 ** 53, Number.NaN, -1])(
    'refuses block %d, outside the device, before anything is counted',
    (nr) => {
      const { target } = withBlock();
      const { tm } = target;
      const { nrAllocated, nrFree } = tm.spaceMap;
      expect(() => tm.shadow(nr, kind, undefined)).toThrow(CorruptBlockError);
      expect([tm.spaceMap.nrAllocated, tm.spaceMap.nrFree]).toEqual([nrAllocated, nrFree]);
      target.commit();
    },
  );

  it('refuses a corrupt block before anything is counted', () => {
    const { target, nr, device } = withBlock();
    const bytes = new Uint8Array(4096);
    device.read(nr, bytes);
    bytes[4000]! ^= 1;
    device.write(nr, bytes);
    target.abort(); // empties the cache
    const { tm } = target;
    const { nrAllocated } = tm.spaceMap;
    expect(() => tm.shadow(nr, kind, undefined)).toThrow(/test block in block \d+: checksum/);
    expect([tm.spaceMap.nrAllocated, tm.spaceMap.count(nr)]).toEqual([nrAllocated, 1]);
  });
});

it('counts the worked example as docs/format/block-and-transaction.md, section 2.1, does', () => {
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks: 500 }));
  const { tm } = target;
  const tokens = new CountedTokens();
  const first = BTree.create<Token>(tm, tokens);
  for (let key = 0; key < 300; key++) {
    tokens.take(key);
    first.insert(key, { token: key, tag: 0 });
  }
  const R = first.root;
  const root = tm.read(R, nodeValidator);
  expect([isLeaf(root), nrEntries(root)]).toEqual([false, 2]);
  const [A, B] = [childAt(root, 0), childAt(root, 1)];
  target.roots = [R];
  target.commit();
  tm.inc(R); // the snapshot
  target.roots = [R, R];
  target.commit();
  const count = (nr: number): number => tm.spaceMap.count(nr);
  expect([R, A, B].map(count)).toEqual([2, 1, 1]);

  const second = new BTree<Token>(tm, tokens, R);
  tokens.take(1000);
  second.insert(5, { token: 1000, tag: 0 });
  const R2 = second.root;
  const A2 = childAt(tm.read(R2, nodeValidator), 0);
  expect(R2).not.toBe(R);
  expect(A2).not.toBe(A);
  expect([R, R2, A, A2, B].map(count)).toEqual([1, 1, 1, 1, 2]);
  expect(childAt(tm.read(R2, nodeValidator), 1)).toBe(B);
  expect(childAt(tm.read(R, nodeValidator), 0)).toBe(A);
  const nrInLeafA = nrEntries(tm.read(A, nodeValidator));
  for (let key = 0; key < 300; key++) {
    expect(tokens.counts.get(key), `token ${key}`).toBe(key < nrInLeafA && key !== 5 ? 2 : 1);
  }

  const { nrAllocated, nrFree } = tm.spaceMap;
  tokens.take(1001);
  second.insert(6, { token: 1001, tag: 0 });
  expect([second.root, childAt(tm.read(R2, nodeValidator), 0)]).toEqual([R2, A2]);
  expect([tm.spaceMap.nrAllocated, tm.spaceMap.nrFree]).toEqual([nrAllocated, nrFree]);
  target.roots = [R, R2];
  target.commit();
  audit(
    tm,
    target.roots.map((nr) => ({ root: nr, kind: { valueSize: 8 } })),
  );
});

describe('a commit', () => {
  it('writes everything else, flushes, writes block 0 alone, flushes', () => {
    const { target, nr, device } = withBlock();
    setU64At(target.tm.shadow(nr, kind, undefined).view, 16, 9);
    target.roots = [target.tm.spaceMap.nrBlocks - 1]; // whatever
    target.commit();
    const { summary } = device;
    expect(summary.slice(-3)).toEqual(['flush', 'write block 0', 'flush']);
    const before = summary.slice(0, -3);
    expect(before.length).toBeGreaterThan(0);
    for (const entry of before) expect(entry).toMatch(/^write blocks? [1-9]/);
  });

  it.each<[what: string, late: (target: SmallTarget, nr: number) => unknown]>([
    ['newBlock', ({ tm }) => tm.newBlock(kind)],
    ['shadow', ({ tm }, nr) => tm.shadow(nr, kind, undefined)],
    ['inc', ({ tm }, nr) => tm.inc(nr)],
    ['dec', ({ tm }, nr) => tm.dec(nr)],
    ['newBlock of the space map', ({ tm }) => tm.spaceMap.newBlock()],
    ['inc of the space map', ({ tm }, nr) => tm.spaceMap.inc(nr)],
    ['dec of the space map', ({ tm }, nr) => tm.spaceMap.dec(nr)],
    ['setCount of the space map', ({ tm }, nr) => tm.spaceMap.setCount(nr, 4)],
    ['preCommit', ({ tm }) => tm.preCommit()],
  ])('refuses a late change after preCommit, which would be lost: %s', (_, late) => {
    const { target, nr } = withBlock();
    target.tm.preCommit();
    expect(() => late(target, nr)).toThrow('the transaction changed between preCommit and commit');
  });

  it('has to be prepared', () => {
    const { target } = withBlock();
    expect(() => target.tm.commit(superblockValidator, () => {})).toThrow('commit without preCommit');
  });

  it('hands the superblock out whole, however many blocks its filling reads', () => {
    const { target, device } = withBlock(32);
    const { tm } = target;
    const others = Array.from({ length: 100 }, (_, i) => {
      const block = tm.newBlock(kind);
      setU64At(block.view, 16, i);
      return block.nr;
    });
    tm.preCommit();
    device.clear();
    tm.commit(superblockValidator, ({ view }) => {
      setU64At(view, 1000, 1);
      for (const nr of others) tm.read(nr, kind);
      setU64At(view, 1008, 2);
    });
    expect(device.summary).toEqual(['write block 0', 'flush']);
    target.blocks.drop();
    const { view } = target.blocks.read(0, superblockValidator);
    expect([u64At(view, 1000), u64At(view, 1008)]).toEqual([1, 2]);
  });
});

describe('a change that failed half-way', () => {
  it('leaves a transaction that can only be aborted', () => {
    const { target, nr } = withBlock();
    const { tm } = target;
    expect(() => tm.shadow(nr, kind, undefined) && tm.dec(nr)).toThrow(CountRangeError);
    for (const refused of [
      () => tm.newBlock(kind),
      () => tm.shadow(nr, kind, undefined),
      () => tm.inc(nr),
      () => tm.preCommit(),
      () => tm.commit(superblockValidator, () => {}),
    ]) {
      expect(refused).toThrow(AbortRequiredError);
      expect(refused).toThrow(expect.objectContaining({ cause: expect.any(CountRangeError) }));
    }
    target.abort();
    expect(target.tm.spaceMap.count(nr)).toBe(1);
    target.roots = [target.tm.shadow(nr, kind, undefined).nr];
    target.commit();
  });

  it('may have been a commit: it is not tried again', () => {
    const { target } = withBlock();
    target.tm.preCommit();
    expect(() =>
      target.tm.commit(superblockValidator, () => {
        throw new Error('the roots cannot be read');
      }),
    ).toThrow('the roots cannot be read');
    expect(() => target.tm.commit(superblockValidator, () => {})).toThrow(AbortRequiredError);
  });
});
