/** The store as its user sees it, one promise after the other. Random runs against a model are in test/store-model.test.ts. */
import { MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import {
  array,
  bitset,
  btree,
  bytes,
  MetadataStore,
  nested,
  record,
  schema,
  spaceMap,
  struct,
  u32,
  u64,
  unit,
} from './index.js';

const everything = schema({
  version: 1,
  collections: {
    files: btree({ key: u64, value: struct({ size: u64, mtime: u64 }) }),
    names: btree({ key: [u64, u32], value: record<{ name: string; tags?: string[]; body?: Uint8Array }>() }),
    hashes: btree({ key: bytes(32), value: struct({ unit: unit('blocks'), length: u32 }) }),
    notes: btree({ key: u64, value: record<string>() }),
    used: bitset(),
    slots: array(u32),
    versions: nested({ value: u64 }),
    blocks: spaceMap(),
  },
});

it('keeps what every kind of collection was given, through a commit and a reopening', async () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 64 });
  const store = MetadataStore.open(device, everything);
  store.transaction((c) => {
    c.files.set(7, { size: 100, mtime: 5 });
    c.names.set([7, 1], { name: 'seven', tags: ['a'] });
    c.names.set([7, 2], { name: 'big', body: new Uint8Array(20_000).fill(9) });
    c.notes.set(3, 'three');
    c.used.resize(100);
    c.used.set(42);
    c.slots.push(5);
    c.slots.push(6);
    c.versions.set(1, 10, 100);
    c.versions.copyTree(1, 2);
    c.versions.set(2, 10, 200);
    c.blocks.extend(50);
  });
  await store.commit();
  const unitNr = store.transaction((c) => {
    const nr = c.blocks.allocate();
    c.hashes.set(new Uint8Array(32).fill(1), { unit: nr, length: 9 });
    c.blocks.release(nr);
    return nr;
  });
  store.snapshot('monday');
  store.transaction((c) => c.hashes.delete(new Uint8Array(32).fill(1)));
  expect(store.collections.blocks.count(unitNr)).toBe(1);
  await store.close();

  const again = MetadataStore.open(device, everything);
  const { files, names, notes, used, slots, versions, blocks } = again.collections;
  expect(files.get(7)).toEqual({ size: 100, mtime: 5 });
  expect([...names.keys()]).toEqual([
    [7, 1],
    [7, 2],
  ]);
  expect(names.get([7, 2])?.body?.length).toBe(20_000);
  expect(notes.get(3)).toBe('three');
  expect([used.length, used.nextSet(), used.count()]).toEqual([100, 42, 1]);
  expect([...slots]).toEqual([5, 6]);
  expect([...versions.trees()].map((tree) => [...versions.entries(tree)])).toEqual([[[10, 100]], [[10, 200]]]);
  using monday = again.view('monday');
  expect(monday.collections.hashes.get(new Uint8Array(32).fill(1))).toEqual({ unit: unitNr, length: 9 });
  expect(again.collections.hashes.size).toBe(0);
  expect(blocks.count(unitNr)).toBe(1);
  expect((await again.check()).findings).toEqual([]);
  again.drop('monday');
  expect(blocks.count(unitNr)).toBe(0);
  monday.close();
  expect((await again.check()).findings).toEqual([]);
  await again.close();
});
