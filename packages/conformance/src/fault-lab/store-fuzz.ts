/** The embedded store for the fuzzer: the core's structures under it. (Its pages and its superblock are validated by code that is not exported.) */
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { MetadataStore } from '@pdata/persistent-data/store';
import { seededRandom } from '@pdata/testing';
import { CORE_STRUCTURES } from './format-tables.js';
import type { FuzzTarget } from './fuzz-targets.js';
import { storeSchema, subject } from './store-subject.js';

const OPTIONS = { maxBlocks: 256, cacheBlocks: 64, now: () => 1_700_000_000_000 } as const;
const MOST_ENTRIES = 20_000;

export const target: FuzzTarget = {
  name: 'store',
  structures: CORE_STRUCTURES,
  readers: [
    { name: 'open and check', run: check },
    { name: 'open and read', run: readAll },
    { name: 'open and change', writes: true, run: change },
  ],
  async image(seed) {
    const device = new MemoryMetadataDevice(subject.media.metadata);
    const devices = { metadata: device, units: new MemoryMetadataDevice(subject.media.units) };
    await subject.prepare?.(devices);
    const nothing = (): void => {};
    const operations = [...subject.operations(seededRandom(seed)), { op: 'commitSync' } as const];
    await subject.run(operations, { devices, begins: nothing, promises: nothing });
    return device.bytes;
  },
};

async function check(device: MetadataDevice): Promise<void> {
  const store = MetadataStore.open(device, storeSchema, OPTIONS);
  await store.check();
  await store.close();
}

async function readAll(device: MetadataDevice): Promise<void> {
  const store = MetadataStore.open(device, storeSchema, OPTIONS);
  let nr = 0;
  for (const shown of [store.collections, ...store.names().map(({ name }) => store.view(name).collections)]) {
    for (const entries of [shown.numbers, shown.records, shown.stamps])
      for (const _ of entries) if (nr++ > MOST_ENTRIES) return;
    for (let bit = 0; bit < Math.min(MOST_ENTRIES, shown.bits.length); bit++) shown.bits.has(bit);
  }
  await store.close();
}

async function change(device: MetadataDevice): Promise<void> {
  const store = MetadataStore.open(device, storeSchema, OPTIONS);
  try {
    store.transaction(({ numbers, records }, transaction) => {
      for (let key = 0; key < 40; key += 3) numbers.set(key, key);
      records.set(5, 'five');
      numbers.delete(6);
      transaction.snapshot('fuzzed');
    });
    store.commitSync();
    for (const { name } of store.names()) store.drop(name);
    store.commitSync();
    await store.close();
  } catch (error) {
    if (!(error instanceof NoSpaceError)) throw error;
  }
}
