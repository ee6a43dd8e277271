/** Which store a program may open, as what, and how it is told that it may not. */
import { ClosedError, DeviceBusyError, MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { newStore, small } from '../../test/sample-stores.js';
import {
  array,
  bitset,
  btree,
  bytes,
  MetadataStore,
  NotAStoreError,
  nested,
  record,
  SchemaError,
  schema,
  struct,
  u32,
  u64,
  unit,
} from './index.js';

describe('a schema', () => {
  const device = (): MemoryMetadataDevice => {
    const made = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(made, small);
    store.transaction(({ numbers, pairs }) => {
      numbers.set(1, 10);
      pairs.set([1, 2], 3);
    });
    store.snapshot('old');
    store.clone('branch');
    store[Symbol.dispose]();
    return made;
  };
  const { numbers, pairs, bits, slots, trees } = small.collections;

  it.each([
    {
      what: 'another shape',
      open: (made: MemoryMetadataDevice) =>
        MetadataStore.open(
          made,
          schema({ version: 1, collections: { ...small.collections, numbers: btree({ key: u64, value: u32 }) } }),
        ),
      says: 'collection numbers is declared',
    },
    {
      what: 'a collection more',
      open: (made: MemoryMetadataDevice) =>
        MetadataStore.open(made, schema({ version: 1, collections: { ...small.collections, more: bitset() } })),
      says: 'it has no such collection',
    },
    {
      what: 'a collection less',
      open: (made: MemoryMetadataDevice) =>
        MetadataStore.open(made, schema({ version: 1, collections: { numbers, pairs, bits, slots } })),
      says: 'it has a collection trees',
    },
  ])('with $what under the same version is refused, and the store is left as it was', ({ open, says }) => {
    const made = device();
    const before = made.bytes.slice();
    expect(() => open(made)).toThrow(SchemaError);
    expect(() => open(made)).toThrow(says);
    expect(Buffer.compare(made.bytes, before)).toBe(0);
    MetadataStore.open(made, small)[Symbol.dispose](); // and it can still be opened
  });

  const second = schema({
    version: 3,
    collections: {
      numbers: btree({ key: u64, value: struct({ value: u64, seen: u32 }) }),
      pairs,
      bits,
      slots,
      names: btree({ key: u64, value: record<string>() }),
    },
    upgrade: {
      2: ({ collections, before }) => {
        for (const [key, value] of before({ numbers, trees }).numbers) collections.numbers.set(key, { value, seen: 0 });
      },
      3: ({ collections }) => {
        for (const [key, { value }] of [...collections.numbers]) collections.names.set(key, `number ${value}`);
      },
    },
  });

  it('of a later version upgrades the current state and the clones, in one commit', async () => {
    const made = device();
    const store = MetadataStore.open(made, second);
    expect([...store.collections.numbers]).toEqual([[1, { value: 10, seen: 0 }]]);
    expect([store.collections.names.get(1), store.collections.pairs.get([1, 2])]).toEqual(['number 10', 3]);
    using branch = store.view('branch');
    expect(branch.collections.names.get(1)).toBe('number 10');
    using old = store.view('old');
    expect(old.collections.pairs.get([1, 2])).toBe(3);
    expect(() => old.collections.numbers).toThrow('it is older');
    expect((await store.check()).findings).toEqual([]);
    await store.close();
    expect(() => MetadataStore.open(made, small)).toThrow('version 3 of its schema');
    const again = MetadataStore.open(made, second);
    again.drop('old');
    again.drop('branch');
    expect((await again.check()).findings).toEqual([]);
  });

  it('is upgraded by hooks that are over when they return', () => {
    const made = device();
    const before = made.bytes.slice();
    const slow = schema({ ...second, upgrade: { 3: async () => {} } as never });
    expect(() => MetadataStore.open(made, slow)).toThrow('the hook that upgrades to version 3 is synchronous');
    expect(Buffer.compare(made.bytes, before)).toBe(0);
    expect(() => schema({ ...second, upgrade: { 3: 7 } as never })).toThrow('upgrade 3 is no hook');
    expect(() => schema({ ...second, upgrade: { 4: () => {} } })).toThrow('one of the versions up to 3');
  });

  it('whose upgrade fails leaves the store as it was', () => {
    const made = device();
    const before = made.bytes.slice();
    const failing = schema({
      ...second,
      upgrade: {
        2: () => {
          throw new Error('cannot');
        },
      },
    });
    expect(() => MetadataStore.open(made, failing)).toThrow('cannot');
    expect(Buffer.compare(made.bytes, before)).toBe(0);
    MetadataStore.open(made, small)[Symbol.dispose]();
  });

  it('is refused when it contradicts itself', () => {
    expect(() => schema({ version: 0, collections: {} })).toThrow(RangeError);
    expect(() => schema({ version: 1, collections: { a: btree({ key: u64, value: unit('b') }) } })).toThrow(
      'no space map',
    );
    expect(() => schema({ version: 1, collections: { a: u64 as never } })).toThrow('collection a is none');
    expect(() => array(record() as never)).toThrow('a codec of a fixed size');
    expect(() => nested({ value: record() as never })).toThrow('a codec of a fixed size');
    expect(() => btree({ key: bytes(200), value: u32 })).toThrow('128 bytes');
    expect(() => btree({ key: u64, value: bytes(1024) })).not.toThrow();
    expect(() => btree({ key: [u64], value: bytes(1024) })).toThrow('make it a record');
  });
});

describe('what is wrong', () => {
  it('is one clear error: a second opener', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(device, small);
    expect(() => MetadataStore.open(device, small)).toThrow(DeviceBusyError);
    store[Symbol.dispose]();
    MetadataStore.open(device, small)[Symbol.dispose]();
  });

  it('is one clear error: a store of a later format, a damaged superblock, a damaged table', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(device, small);
    store.transaction(({ numbers }) => numbers.set(1, 1));
    await store.close();
    const damaged = (at: number, value: number): MemoryMetadataDevice => {
      const bytes = device.bytes.slice();
      bytes[at] = value;
      return new MemoryMetadataDevice({ bytes });
    };
    expect(() => MetadataStore.open(damaged(24, 2), small)).toThrow('format 2, made by a later version');
    expect(() => MetadataStore.open(damaged(40, 99), small)).toThrow(
      /^the store on \S+ is damaged: store superblock in block 0: checksum .*; nothing has been changed: put back a copy of it$/,
    );
    expect(() => MetadataStore.open(damaged(16, 0), small)).toThrow(NotAStoreError);
    const stateNr = new DataView(device.bytes.buffer).getUint32(48, true);
    expect(() => MetadataStore.open(damaged(stateNr * 4096 + 40, 99), small)).toThrow(
      `state table in block ${stateNr}`,
    );
  });

  it('is one clear error: a store whose first block is lost, and a device that holds something else behind its first block', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(device, small);
    store.transaction(({ numbers }) => numbers.set(1, 1));
    await store.close();
    const wiped = new MemoryMetadataDevice({ bytes: device.bytes.slice().fill(0, 0, 4096) });
    const fileSystem = new MemoryMetadataDevice({ nrBlocks: 1000 });
    fileSystem.bytes.set([0x5f, 0x42, 0x48], 65_600);
    for (const full of [wiped, fileSystem]) {
      const before = full.bytes.slice();
      expect(() => MetadataStore.open(full, small)).toThrow(NotAStoreError);
      expect(() => MetadataStore.open(full, small)).toThrow('is not empty, though its first block is all zeroes');
      expect(Buffer.compare(full.bytes, before)).toBe(0);
    }
  });

  it('is found by the check, which reports all of it', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(device, small);
    store.transaction(({ numbers }) => numbers.load(Array.from({ length: 5000 }, (_, i) => [i, i] as const)));
    await store.close();
    const whole = MetadataStore.open(new MemoryMetadataDevice({ bytes: device.bytes.slice() }), small);
    const { nrBlocks } = await whole.check();
    const bytes = device.bytes.slice();
    let nrDamaged = 0;
    for (let nr = 1; nr < 256 && nrDamaged < 2; nr++) {
      const view = new DataView(bytes.buffer, nr * 4096);
      if (view.getUint32(4, true) !== 2 || view.getUint32(24, true) !== 8 || view.getUint32(16, true) < 100) continue;
      bytes[nr * 4096 + 100] = 0xee; // a leaf of numbers
      nrDamaged++;
    }
    const broken = MetadataStore.open(new MemoryMetadataDevice({ bytes }), small);
    const report = await broken.check();
    expect(report.findings).toHaveLength(2);
    expect(report.findings[0]).toContain('btree node in block');
    expect(report.nrBlocks).toBe(nrBlocks);
  });

  it('is told of a store that was closed', async () => {
    const store = newStore();
    const { numbers } = store.collections;
    await store.close();
    await store.close();
    expect(() => numbers.get(1)).toThrow(ClosedError);
    expect(() => store.view()).toThrow(ClosedError);
    await expect(store.commit()).rejects.toThrow(ClosedError);
  });
});
