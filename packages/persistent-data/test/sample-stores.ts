/** Stores for the tests of the store's interface: one with every kind of collection, and a small one. */
import { MemoryMetadataDevice } from '@pdata/device';
import {
  array,
  bitset,
  btree,
  bytes,
  MetadataStore,
  nested,
  record,
  type StoreOptions,
  schema,
  spaceMap,
  struct,
  u32,
  u64,
  unit,
} from '../src/store/index.js';

export const everything = schema({
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

export const small = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: u64 }),
    pairs: btree({ key: [u32, u32], value: u32 }),
    bits: bitset(),
    slots: array(u32),
    trees: nested({ value: u32 }),
  },
});
export const newStore = (options: StoreOptions = {}) =>
  MetadataStore.open(new MemoryMetadataDevice({ nrBlocks: 256 }), small, options);
