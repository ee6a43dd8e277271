/** The store as its user sees it, one promise after the other. Random runs against a model are in test/store-model.test.ts. */
import { ClosedError, MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { everything, newStore, small } from '../../test/sample-stores.js';
import { AbortRequiredError } from '../transaction/errors.js';
import {
  btree,
  MetadataStore,
  NameError,
  type Range,
  type ReadableCollections,
  record,
  schema,
  type Tree,
  text,
  u32,
  u64,
  type WritableCollections,
  WrongTimeError,
} from './index.js';

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

describe('a transaction', () => {
  it('leaves nothing behind when its body throws', () => {
    const store = newStore();
    store.transaction(({ numbers }) => numbers.set(1, 1));
    expect(() =>
      store.transaction(({ numbers, bits }, tx) => {
        numbers.set(1, 2);
        numbers.set(2, 2);
        bits.resize(10);
        tx.snapshot('s');
        throw new Error('no');
      }),
    ).toThrow('no');
    const { numbers, bits } = store.collections;
    expect([[...numbers], bits.length, store.names()]).toEqual([[[1, 1]], 0, []]);
  });

  it('returns what its body returns, and takes no body that would go on later', () => {
    const store = newStore();
    expect(store.transaction(({ numbers }) => numbers.set(1, 1))).toBe(true);
    expect(() =>
      store.transaction(async ({ numbers }) => {
        numbers.set(2, 2);
        await Promise.resolve();
        numbers.set(3, 3); // refused; nobody is left to hear of it
      }),
    ).toThrow('promise');
    expect(store.collections.numbers.size).toBe(1);
  });

  it('is undone when a change in it failed half-way, even if its body makes nothing of that', async () => {
    const store = newStore();
    const broken = (): void =>
      store.transaction(({ numbers, bits }) => {
        bits.resize(5);
        try {
          numbers.load([
            [2, 2],
            [1, 1],
          ]);
        } catch {}
      });
    expect(broken).toThrow(AbortRequiredError);
    expect(store.collections.bits.length).toBe(0);
    store.transaction(({ numbers }, tx) => {
      numbers.set(1, 1);
      const savepoint = tx.savepoint();
      expect(() => numbers.deleteRange({})).not.toThrow();
      expect(() =>
        numbers.load([
          [5, 5],
          [5, 6],
        ]),
      ).toThrow('ascend');
      expect(() => numbers.set(2, 2)).toThrow(AbortRequiredError);
      savepoint.rollback();
      numbers.set(3, 3);
    });
    expect([...store.collections.numbers.keys()]).toEqual([1, 3]);
    await store.commit();
    expect((await store.check()).findings).toEqual([]);
  });

  it('refuses changes outside, another transaction inside, commits and views inside, and handles after its end', () => {
    const store = newStore();
    expect(() => store.collections.numbers.set(1, 1)).toThrow(WrongTimeError);
    const tx = store.transaction((_, transaction) => {
      expect(() => store.transaction(() => {})).toThrow(WrongTimeError);
      expect(() => store.commitSync()).toThrow(WrongTimeError);
      expect(() => store.view()).toThrow(WrongTimeError);
      return transaction;
    });
    expect(() => tx.snapshot('late')).toThrow(WrongTimeError);
  });

  it('goes back to a savepoint, which is gone then, with those made after it', () => {
    const store = newStore();
    store.transaction(({ numbers }, tx) => {
      numbers.set(1, 1);
      const first = tx.savepoint();
      numbers.set(2, 2);
      const second = tx.savepoint();
      numbers.set(3, 3);
      first.rollback();
      numbers.set(4, 4);
      tx.savepoint();
      expect(() => second.rollback()).toThrow(WrongTimeError);
      expect(() => first.rollback()).toThrow(WrongTimeError);
    });
    expect([...store.collections.numbers.keys()]).toEqual([1, 4]);
  });

  it('stores no value that is none, and says which field', () => {
    const store = MetadataStore.open(new MemoryMetadataDevice({ nrBlocks: 256 }), everything);
    store.transaction(({ files, hashes, slots }) => {
      expect(() => files.set(1, { size: -1, mtime: 0 })).toThrow('field size');
      expect(() => files.set(2 ** 53, { size: 1, mtime: 0 })).toThrow(RangeError);
      expect(() => hashes.set(new Uint8Array(31), { unit: undefined, length: 0 })).toThrow('31 bytes');
      expect(() => slots.set(0, 1)).toThrow(RangeError);
      expect(() => slots.push(2 ** 32)).toThrow(RangeError);
    });
    expect([store.collections.files.size, store.collections.hashes.size, store.collections.slots.length]).toEqual([
      0, 0, 0,
    ]);
  });
});

it.each<[string, unknown, string]>([
  ['a function', () => 1, 'the value is a function'],
  ['a method', { list: [1, { run() {} }] }, 'the value at .list[1].run is a function'],
  ['a symbol', [Symbol('x')], 'the value at [0] is a symbol'],
  ['a map', { tags: new Map() }, 'the value at .tags is of type Map'],
  ['a set', new Set([1]), 'the value is of type Set'],
  ['floats', new Float64Array(2), 'the value is of type Float64Array'],
  ['a prototype', JSON.parse('{"__proto__": 1}'), 'the value is an object with a property __proto__'],
  ['an integer of more than 64 bits', 2n ** 70n, 'too large'],
])('a record is refused that would not come back: %s', (_, value, says) => {
  const { transaction, collections } = storeOfRecords();
  expect(() => transaction(value)).toThrow(TypeError);
  expect(() => transaction(value)).toThrow(says);
  expect([...collections.records]).toEqual([]);
});

it('a record is refused that contains itself, and what JSON can say comes back, and bytes, dates and big integers', () => {
  const { transaction, collections } = storeOfRecords();
  const endless: unknown[] = [];
  endless.push({ endless });
  expect(() => transaction(endless)).toThrow('it contains itself');
  const said = {
    a: [null, true, -1.5, 'ä', undefined],
    b: { when: new Date(5), bytes: new Uint8Array([1, 2]), big: 2n ** 60n },
  };
  transaction(said);
  expect(collections.records.get(1)).toEqual(said);
});

function storeOfRecords() {
  const store = MetadataStore.open(
    new MemoryMetadataDevice({ nrBlocks: 128 }),
    schema({ version: 1, collections: { records: btree({ key: u64, value: record() }) } }),
  );
  return {
    collections: store.collections,
    transaction: (value: unknown): unknown => store.transaction(({ records }) => records.set(1, value)),
  };
}

it('refuses halves of characters, all of which would become the same sign', () => {
  const store = MetadataStore.open(
    new MemoryMetadataDevice({ nrBlocks: 128 }),
    schema({ version: 1, collections: { names: btree({ key: text(8), value: u32 }) } }),
  );
  store.transaction(({ names }) => names.set('\u{1f600}\ufffd', 1)); // a whole one, and that sign itself
  expect([...store.collections.names.keys()]).toEqual(['\u{1f600}\ufffd']);
  expect(() => store.transaction(({ names }) => names.set('\ud83d', 1))).toThrow('without halves of characters');
  expect(() => store.snapshot('\ude00')).toThrow(NameError);
});

it('takes no size that is none', () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 128 });
  for (const maxBlocks of [-1, Number.NaN])
    expect(() => MetadataStore.open(device, small, { maxBlocks })).toThrow(RangeError);
  const { numbers } = MetadataStore.open(device, small).collections;
  for (const limit of [-1, Number.NaN])
    expect(() => [...numbers.entries({ limit })]).toThrow('a limit is a number of entries');
  expect([...numbers.entries({ limit: 0 })]).toEqual([]);
});

describe('ranges', () => {
  const keys = (range: Range<number>): number[] => {
    const store = newStore();
    store.transaction(({ numbers }) => {
      for (let key = 0; key < 1000; key += 10) numbers.set(key, key);
    });
    return [...store.collections.numbers.keys(range)];
  };

  it.each([
    { range: { from: 30, to: 60 }, found: [30, 40, 50] },
    { range: { above: 30, through: 60 }, found: [40, 50, 60] },
    { range: { from: 25, limit: 2 }, found: [30, 40] },
    { range: { from: 970 }, found: [970, 980, 990] },
    { range: { to: 20, reverse: true }, found: [10, 0] },
    { range: { through: 20, above: 0, reverse: true }, found: [20, 10] },
    { range: { from: 985, reverse: true }, found: [990] },
    { range: { limit: 1, reverse: true }, found: [990] },
    { range: { from: 60, to: 30 }, found: [] },
    { range: { from: 2000 }, found: [] },
  ])('give what lies in $range', ({ range, found }) => {
    expect(keys(range)).toEqual(found);
  });

  it('of compound keys go by the first component, then the second, both ways', () => {
    const store = newStore();
    store.transaction(({ pairs }) => {
      for (let a = 5; a > 0; a--) for (let b = 300; b > 0; b--) pairs.set([a, b], a * b);
    });
    const { pairs } = store.collections;
    expect([...pairs.keys({ from: [2, 299], through: [3, 2] })]).toEqual([
      [2, 299],
      [2, 300],
      [3, 1],
      [3, 2],
    ]);
    expect([...pairs.keys({ to: [3, 2], limit: 2, reverse: true })]).toEqual([
      [3, 1],
      [2, 300],
    ]);
    expect([pairs.first(), pairs.last(), pairs.floor([3, 0]), pairs.ceiling([3, 301])]).toEqual([
      [[1, 1], 1],
      [[5, 300], 1500],
      [[2, 300], 600],
      [[4, 1], 4],
    ]);
  });

  it('go on where they were when the collection is changed under them', () => {
    const store = newStore();
    store.transaction(({ numbers }) => {
      for (let key = 0; key < 2000; key++) numbers.set(key, key);
    });
    store.transaction(({ numbers }) => {
      const seen: number[] = [];
      for (const [key] of numbers) {
        seen.push(key);
        numbers.delete(key);
        if (key % 2 === 0) numbers.delete(key + 1);
        if (key === 100) numbers.set(5000, 1);
      }
      expect(seen).toEqual([...Array.from({ length: 1000 }, (_, i) => 2 * i), 5000]);
      expect(numbers.size).toBe(0);
    });
  });
});

describe('a view', () => {
  it('shows its moment while others write, and says so when it is closed', async () => {
    const store = newStore();
    store.transaction(({ numbers }) => {
      for (let key = 0; key < 5000; key++) numbers.set(key, 1);
    });
    const view = store.view();
    for (let round = 2; round < 30; round++) {
      store.transaction(({ numbers }) => {
        for (let key = 0; key < 5000; key += 3) numbers.set(key, round);
      });
      await store.commit();
    }
    expect([...view.collections.numbers.values()].every((value) => value === 1)).toBe(true);
    const entries = view.collections.numbers.entries();
    entries.next();
    view.close();
    expect(() => entries.next()).toThrow(ClosedError);
    expect(() => view.collections.numbers.get(1)).toThrow(ClosedError);
  });

  it('of a snapshot outlives the snapshot', async () => {
    const store = newStore();
    store.transaction(({ numbers }) => numbers.set(1, 1));
    store.snapshot('s');
    store.transaction(({ numbers }) => numbers.set(1, 2));
    using view = store.view('s');
    store.drop('s');
    await store.commit();
    store.transaction(({ numbers }) => {
      for (let key = 0; key < 20_000; key++) numbers.set(key, 3);
    });
    await store.commit();
    expect(view.collections.numbers.get(1)).toBe(1);
  });

  it('gives its blocks back when it is closed', async () => {
    const store = newStore({ maxBlocks: 256 });
    const fill = (value: number): void =>
      store.transaction(({ numbers }) => {
        for (let key = 0; key < 5000; key++) numbers.set(key, value);
      });
    fill(1);
    await store.commit();
    const view = store.view();
    fill(2);
    await store.commit();
    expect(() => {
      for (let value = 3; value < 6; value++) {
        fill(value);
        store.commitSync();
      }
    }).not.toThrow();
    view.close();
    fill(6);
    await store.commit();
    expect((await store.check()).findings).toEqual([]);
  });
});

it('commits with `using`', () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 256 });
  {
    using store = MetadataStore.open(device, small);
    store.transaction(({ numbers }) => numbers.set(1, 1));
  }
  using again = MetadataStore.open(device, small);
  expect(again.collections.numbers.get(1)).toBe(1);
});

it('tells how its collections lie, and what they share', async () => {
  const store = newStore();
  store.transaction(({ numbers, slots }) => {
    numbers.load(Array.from({ length: 50_000 }, (_, i) => [i, i] as const));
    slots.resize(3000, 1);
  });
  await store.commit();
  const alone = store.statistics();
  expect(alone.numbers).toEqual({ length: 50_000, depth: 2, nrBlocks: 200, nrShared: 0 });
  expect(alone.slots).toEqual({ length: 3000, depth: 2, nrBlocks: 4, nrShared: 0 });
  store.snapshot('s');
  store.transaction(({ numbers }) => numbers.set(5, 1));
  expect(store.statistics().numbers).toEqual({ length: 50_000, depth: 2, nrBlocks: 200, nrShared: 198 });
  expect(store.statistics('s').numbers?.nrShared).toBe(198);
});

it('builds full nodes of what is loaded in order, and refuses what is not', () => {
  const store = newStore();
  store.transaction(({ numbers }) => {
    expect(numbers.load(Array.from({ length: 25_200 }, (_, i) => [i, i] as const))).toBe(25_200);
  });
  expect(store.statistics().numbers?.nrBlocks).toBe(101);
  expect(() =>
    store.transaction(({ pairs, numbers }) => {
      pairs.set([1, 1], 1);
      numbers.deleteRange({});
      numbers.load([
        [2, 2],
        [1, 1],
      ]);
    }),
  ).toThrow('ascend');
  expect([store.collections.numbers.size, store.collections.pairs.size]).toEqual([25_200, 0]);
});

it('infers the types of keys and values', () => {
  type Files = (typeof everything)['collections'];
  expectTypeOf<WritableCollections<Files>['files']>().toEqualTypeOf<Tree<number, { size: number; mtime: number }>>();
  expectTypeOf<WritableCollections<Files>['names']>().toEqualTypeOf<
    Tree<[number, number], { name: string; tags?: string[]; body?: Uint8Array }>
  >();
  expectTypeOf<WritableCollections<Files>['hashes']>().toEqualTypeOf<
    Tree<Uint8Array, { unit: number | undefined; length: number }>
  >();
  expectTypeOf<ReadableCollections<Files>>().not.toHaveProperty('blocks');
});
