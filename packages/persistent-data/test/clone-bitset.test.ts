/**
 * A bitset that a kernel made: the hydrated regions of a clone. And the same facts the other way round: what a kernel lays
 * out for a new clone, we lay out too. Format: docs/format/clone.md, sections 1 and 2.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { arrayBlockValidator, nrArrayEntries } from '../src/array/array-block.js';
import { Bitset } from '../src/array/bitset.js';
import { u64At } from '../src/block/block.js';
import { openTransactionManager } from '../src/space-map/open.js';
import { readSpaceMapRoot } from '../src/space-map/root.js';
import type { TransactionManager } from '../src/transaction/transaction-manager.js';
import { auditArrays, TestStore } from './arrays.js';

const AT = { magic: 32, spaceMap: 44, regionSize: 172, targetSize: 180, bitsetRoot: 188 } as const;

function openClone(): { tm: TransactionManager; set: Bitset } {
  const bytes = new Uint8Array(gunzipSync(readFileSync(new URL('fixtures/clone-partial.img.gz', import.meta.url))));
  const superblock = new DataView(bytes.buffer, bytes.byteOffset, BLOCK_SIZE);
  expect(u64At(superblock, AT.magic)).toBe(0x8af27f64);
  const nrRegions = Math.ceil(u64At(superblock, AT.targetSize) / u64At(superblock, AT.regionSize));
  const tm = openTransactionManager(new MemoryMetadataDevice({ bytes }), readSpaceMapRoot(superblock, AT.spaceMap));
  return { tm, set: new Bitset(tm, u64At(superblock, AT.bitsetRoot), nrRegions) };
}

it("reads as many hydrated regions as the kernel's status line counts", () => {
  const { tm, set } = openClone();
  expect(set.nrBits).toBe(4096);
  expect(set.countSet()).toBe(224);
  expect(bitsRead(set)).toBe(224);
  expect(tm.spaceMap.nrBlocks).toBe(1024);
  expect(tm.spaceMap.nrAllocated).toBe(6);
  auditArrays(tm, [set.root]);
});

it('changes the set of a kernel and gives it back whole', () => {
  const { tm, set } = openClone();
  const first = set.nextClear() as number;
  set.set(first);
  set.flush();
  expect(set.countSet()).toBe(225);
  auditArrays(tm, [set.root]);
  set.delete();
  auditArrays(tm, []);
});

it('lays out the 40 961 regions of a new clone as the kernel does', () => {
  const store = new TestStore(1024);
  const set = Bitset.create(store.tm, 40_961);
  const { references, arrayBlocks } = auditArrays(store.tm, [set.root]);
  expect(set.root).toBe(4);
  expect(arrayBlocks).toEqual([5, 6]);
  expect(arrayBlocks.map((nr) => nrArrayEntries(store.tm.read(nr, arrayBlockValidator)))).toEqual([509, 132]);
  expect([set.root, ...arrayBlocks].map((nr) => references.get(nr))).toEqual([1, 1, 1]);
  expect(store.tm.spaceMap.nrAllocated).toBe(4 + 1 + 2);
});

it('rewrites for one hydrated region what the kernel rewrites: array block, index node, bitmap, metadata index', () => {
  const store = new TestStore(1024);
  const set = Bitset.create(store.tm, 40_961);
  store.commit();
  const { counters } = store.tm.blocks;
  const { nrWritten, nrFlushes } = counters;
  set.set(40_960);
  set.flush();
  store.commit();
  expect(counters.nrWritten - nrWritten).toBe(4 + 1); // and the superblock
  expect(counters.nrFlushes - nrFlushes).toBe(2);
});

function bitsRead(set: Bitset): number {
  let nr = 0;
  for (let bit = 0; bit < set.nrBits; bit++) if (set.test(bit)) nr++;
  return nr;
}
