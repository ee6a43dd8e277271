/** States of a store by name: snapshots, clones, the history, and what differs between two. */
import { MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { everything, newStore, small } from '../../test/sample-stores.js';
import { NoSpaceError } from '../transaction/errors.js';
import { MetadataStore, NameError } from './index.js';

describe('names', () => {
  it('are of snapshots, which are read, and of clones, which are changed too, dropped in any order', async () => {
    const store = newStore();
    store.transaction(({ numbers }) => numbers.set(1, 1));
    store.snapshot('a');
    store.clone('b', 'a');
    store.transaction((_, tx) => {
      tx.on('b').numbers.set(1, 20);
      tx.on('b').numbers.set(2, 20);
      expect(tx.read('a').numbers.get(1)).toBe(1);
      expect(tx.read('b').numbers.get(1)).toBe(20);
    });
    store.snapshot('c', { of: 'b' });
    store.drop('a');
    expect(store.collections.numbers.get(1)).toBe(1);
    store.restore('c');
    expect([...store.collections.numbers]).toEqual([
      [1, 20],
      [2, 20],
    ]);
    expect(store.names().map(({ name, kind }) => `${kind} ${name}`)).toEqual(['clone b', 'snapshot c']);
    expect(() => store.transaction((_, tx) => tx.on('c'))).toThrow(NameError);
    expect(() => store.view('a')).toThrow('called "a"');
    expect(() => store.snapshot('b')).toThrow('already');
    expect(() => store.snapshot('')).toThrow(NameError);
    expect((await store.check()).findings).toEqual([]);
  });

  it('say that a clone was dropped to whoever still holds its collections', () => {
    const store = newStore();
    store.clone('b');
    store.transaction((_, tx) => {
      const { numbers } = tx.on('b');
      tx.drop('b');
      expect(() => numbers.set(1, 1)).toThrow(NameError);
      expect(() => numbers.get(1)).toThrow(NameError);
    });
  });
});

describe('the history', () => {
  it('keeps the latest commits, as many as were asked for', async () => {
    let time = 1000;
    const store = newStore({ history: 3, now: () => time++ });
    for (let value = 1; value <= 6; value++) {
      store.transaction(({ numbers }) => numbers.set(1, value));
      await store.commit();
    }
    const kept = store.commits();
    expect(kept.map(({ commit }) => commit)).toEqual([5, 6, 7]);
    expect(kept.every(({ time: at }) => at >= 1000)).toBe(true);
    const values = kept.map(({ commit }) => {
      using view = store.at(commit);
      return view.collections.numbers.get(1);
    });
    expect(values).toEqual([4, 5, 6]);
    expect(() => store.at(2)).toThrow('commits 5 to 7 are');
    expect([...store.diff({ commit: 5 }, { commit: 7 }).numbers]).toEqual([{ key: 1, before: 4, after: 6 }]);
    store.forget(7);
    expect(store.commits().map(({ commit }) => commit)).toEqual([7]);
    expect((await store.check()).findings).toEqual([]);
  });
});

describe('a difference', () => {
  it('tells what was added, changed and removed in every kind of collection', () => {
    const store = newStore();
    store.transaction(({ numbers, pairs, bits, slots, trees }) => {
      for (let key = 0; key < 3000; key++) numbers.set(key, key);
      pairs.set([1, 1], 1);
      pairs.set([1, 2], 2);
      bits.resize(100);
      slots.resize(2000, 7);
      trees.set(1, 1, 1);
      trees.set(2, 2, 2);
    });
    store.snapshot('before');
    store.transaction(({ numbers, pairs, bits, slots, trees }) => {
      numbers.set(5, 50);
      numbers.delete(2999);
      numbers.set(9000, 1);
      pairs.set([1, 2], 3);
      pairs.delete([1, 1]);
      bits.set(64);
      bits.resize(101, true);
      slots.set(1500, 8);
      slots.push(9);
      trees.set(2, 2, 3);
      trees.dropTree(1);
      trees.set(3, 1, 1);
    });
    const diff = store.diff('before', undefined);
    expect([...diff.numbers]).toEqual([
      { key: 5, before: 5, after: 50 },
      { key: 2999, before: 2999, after: undefined },
      { key: 9000, before: undefined, after: 1 },
    ]);
    expect([...diff.pairs]).toEqual([
      { key: [1, 1], before: 1, after: undefined },
      { key: [1, 2], before: 2, after: 3 },
    ]);
    expect([...diff.bits]).toEqual([
      { key: 64, before: false, after: true },
      { key: 100, before: undefined, after: true },
    ]);
    expect([...diff.slots]).toEqual([
      { key: 1500, before: 7, after: 8 },
      { key: 2000, before: undefined, after: 9 },
    ]);
    expect([...diff.trees]).toEqual([
      { key: [1, 1], before: 1, after: undefined },
      { key: [2, 2], before: 2, after: 3 },
      { key: [3, 1], before: undefined, after: 1 },
    ]);
    expect([...store.diff('before', 'before').numbers]).toEqual([]);
  });

  it('reads what differs, and not the rest', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 256 });
    const store = MetadataStore.open(device, small);
    store.transaction(({ numbers }) => numbers.load(Array.from({ length: 100_000 }, (_, i) => [i, i] as const)));
    store.snapshot('before');
    store.transaction(({ numbers }) => numbers.set(50_000, 1));
    store.snapshot('after');
    await store.close();
    const cold = MetadataStore.open(device, small);
    const { nrRead } = cold.space;
    expect([...cold.diff('before', 'after').numbers]).toHaveLength(1);
    expect(cold.space.nrRead - nrRead).toBeLessThan(12);
    expect(cold.space.nrAllocated).toBeGreaterThan(390);
  });
});

describe('a snapshot', () => {
  it('writes the same few blocks whatever the size of the store', async () => {
    const blocksOf = async (nr: number): Promise<number> => {
      const store = newStore();
      store.transaction(({ numbers }) => numbers.load(Array.from({ length: nr }, (_, i) => [i, i] as const)));
      await store.commit();
      const { nrAllocated } = store.space;
      store.snapshot('s');
      return store.space.nrAllocated - nrAllocated;
    };
    expect(await blocksOf(200_000)).toBe(await blocksOf(10));
  });

  it('gives everything back at once when it is dropped', async () => {
    const store = newStore();
    store.transaction(({ numbers }) => numbers.load(Array.from({ length: 50_000 }, (_, i) => [i, i] as const)));
    await store.commit();
    const { nrAllocated } = store.space;
    store.snapshot('s');
    store.transaction(({ numbers }) => numbers.deleteRange({}));
    expect(store.space.nrAllocated).toBeGreaterThan(nrAllocated);
    store.drop('s');
    expect(store.space.nrAllocated).toBeLessThan(30);
    await store.commit();
    expect((await store.check()).findings).toEqual([]);
  });
});

describe('units', () => {
  it('freed by a transaction are not handed out by it, for they may be written to at once and it may be rolled back', () => {
    const store = MetadataStore.open(new MemoryMetadataDevice({ nrBlocks: 64 }), everything);
    store.transaction(({ blocks }) => blocks.extend(2));
    store.commitSync();
    const [first, second] = store.transaction(({ blocks }) => [blocks.allocate(), blocks.allocate()]);
    expect(() =>
      store.transaction(({ blocks }) => {
        blocks.release(first ?? -1);
        blocks.allocate();
      }),
    ).toThrow(NoSpaceError);
    expect(store.collections.blocks.count(first ?? -1)).toBe(1);

    store.transaction(({ blocks }) => {
      blocks.release(second ?? -1);
      blocks.release(first ?? -1);
    });
    expect(store.transaction(({ blocks }) => [blocks.allocate(), blocks.allocate()]).sort()).toEqual([0, 1]);
  });
});
