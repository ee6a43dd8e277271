/** The embedded store for the fuzzer: collections of every kind, snapshots, clones and a history, and everything that reads them. */
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { MetadataStore, type Transaction } from '@pdata/persistent-data/store';
import { seededRandom } from '@pdata/testing';
import { CORE_STRUCTURES } from './format-tables.js';
import type { FuzzTarget } from './fuzz-targets.js';
import { type collections, nextShape, type RichStore, type Shown, shape, states, viewOf } from './rich-store.js';
import { STORE_STRUCTURES } from './store-tables.js';

const NR_BLOCKS = 256;
const NR_UNITS = 40;
const OPTIONS = { maxBlocks: NR_BLOCKS, cacheBlocks: 64, history: 2, now: () => 1_700_000_000_000 } as const;
const MOST_ENTRIES = 5000;

export const target: FuzzTarget = {
  name: 'store',
  structures: [...CORE_STRUCTURES, ...STORE_STRUCTURES],
  readers: [
    { name: 'open and check', run: on((store) => store.check()) },
    { name: 'open and read', run: on(readAll) },
    { name: 'open and compare', run: on(compareAll) },
    { name: 'statistics', run: on((store) => store.statistics()) },
    { name: 'backup', every: 8, run: on((store) => store.backup(roomy())) },
    { name: 'compact', every: 2, run: on((store) => store.compact(roomy())) },
    { name: 'open and change', writes: true, run: on(change) },
    { name: 'drop and forget', writes: true, run: on(dropAll) },
    { name: 'upgrade', writes: true, every: 2, run: upgrade },
  ],
  image,
};

function roomy(): MemoryMetadataDevice {
  return new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
}

async function image(seed: number): Promise<Uint8Array> {
  const random = seededRandom(seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const device = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const store = MetadataStore.open(device, shape, OPTIONS);
  store.transaction(({ units, bits, words }) => {
    units.extend(NR_UNITS);
    bits.resize(100 + pick(4000));
    words.resize(200 + pick(3000), 7);
  });
  store.commitSync();
  const nrRounds = 3 + pick(4);
  for (let round = 0; round < nrRounds; round++) {
    const fill = (into: typeof store.collections, transaction: Transaction<typeof collections>): void => {
      for (let nr = pick(120); nr > 0; nr--) into.numbers.set(pick(600), pick(2 ** 40));
      // Some in a leaf, some in a chain of blocks.
      for (let nr = pick(8); nr > 0; nr--)
        into.records.set(pick(30), { round, nr, text: 'record '.repeat(pick(3) === 0 ? 300 + pick(900) : pick(60)) });
      for (let nr = pick(40); nr > 0; nr--) {
        const home = into.units.count(nr % NR_UNITS) === 0 ? into.units.allocate() : nr % NR_UNITS;
        into.places.set([pick(5), pick(200)], { name: `place ${nr}`, home });
      }
      for (let nr = pick(20); nr > 0; nr--) into.hashes.set(new Uint8Array(32).fill(pick(256)), `hash ${nr}`);
      for (let nr = pick(60); nr > 0; nr--) into.words.set(pick(into.words.length), pick(2 ** 32));
      for (let nr = pick(60); nr > 0; nr--) into.bits.set(pick(into.bits.length), random() < 0.5);
      for (let nr = pick(30); nr > 0; nr--) into.families.set(pick(6), pick(50), nr);
      for (let nr = pick(40); nr > 0; nr--) into.numbers.delete(pick(600));
      if (random() < 0.7) transaction.snapshot(`snapshot ${round}`);
      if (random() < 0.4) transaction.clone(`clone ${round}`);
    };
    withinRoom(() => store.transaction(fill));
    store.commitSync();
  }
  await store.close();
  return device.bytes;
}

/** A reader that opens the store, and closes it unless that was damaged. */
function on(work: (store: RichStore) => unknown): (device: MetadataDevice) => Promise<void> {
  return async (device) => {
    const store = MetadataStore.open(device, shape, OPTIONS);
    await work(store);
    await store.close();
  };
}

function readAll(store: RichStore): void {
  let nr = 0;
  const every = (entries: Iterable<unknown>): void => {
    for (const _ of entries) if (nr++ > MOST_ENTRIES) return;
  };
  const read = (shown: Shown): void => {
    for (const entries of [shown.numbers, shown.records, shown.places, shown.hashes]) {
      every(entries);
      entries.last();
    }
    every(shown.words.values());
    for (let bit = 0; bit < Math.min(MOST_ENTRIES, shown.bits.length); bit++) shown.bits.has(bit);
    shown.bits.nextClear(0);
    for (const tree of shown.families.trees()) {
      every(shown.families.entries(tree));
      if (nr > MOST_ENTRIES) return;
    }
    shown.numbers.get(77);
    shown.records.get(7);
    shown.places.floor([2, 50]);
  };
  for (const state of states(store)) {
    using view = viewOf(store, state);
    read(view.collections);
  }
}

function compareAll(store: RichStore): void {
  const all = states(store);
  let nr = 0;
  for (const before of all) {
    for (const differences of Object.values(store.diff(before, all.at(-1))) as Iterable<unknown>[])
      for (const _ of differences) if (nr++ > MOST_ENTRIES) return;
  }
}

function change(store: RichStore): void {
  withinRoom(() => {
    store.transaction((into, transaction) => {
      for (let key = 0; key < 600; key += 37) into.numbers.set(key, key);
      into.records.set(5, 'five'.repeat(500));
      into.records.delete(6);
      into.places.deleteRange({ from: [1, 0], to: [2, 0] });
      into.places.set([9, 9], { name: 'nine', home: into.units.allocate() });
      into.words.push(1);
      into.bits.resize(10);
      into.families.set(3, 3, 3);
      into.hashes.set(new Uint8Array(32), 'zero');
      transaction.snapshot('fuzzed');
    });
    store.commitSync();
    const [first] = store.names();
    if (first !== undefined) store.restore(first.name);
    store.commitSync();
  });
}

function dropAll(store: RichStore): void {
  withinRoom(() => {
    for (const { name } of store.names()) store.drop(name);
    store.forget(store.commitNr);
    store.commitSync();
  });
}

async function upgrade(device: MetadataDevice): Promise<void> {
  await withinRoom(async () => {
    const store = MetadataStore.open(device, nextShape, OPTIONS);
    await store.close();
  });
}

/** What a damaged image makes of it may need more room than there is. */
function withinRoom<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof NoSpaceError) return undefined;
    throw error;
  }
}
