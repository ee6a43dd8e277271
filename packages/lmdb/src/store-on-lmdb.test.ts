/** One store, three homes: what a program does to it leaves the same blocks in memory, in a file and in LMDB. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { array, bitset, btree, MetadataStore, record, schema, u32, u64 } from '@pdata/persistent-data/store';
import { seededRandom } from '@pdata/testing';
import { afterAll, expect, it } from 'vitest';
import { LmdbEnvironment } from './environment.js';

const root = mkdtempSync(join(tmpdir(), 'pdata-store-lmdb-'));
afterAll(() => rmSync(root, { recursive: true }));

const shape = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: u64 }),
    notes: btree({ key: [u32, u32], value: record<{ text: string }>() }),
    bits: bitset(),
    slots: array(u32),
  },
});
type Store = MetadataStore<(typeof shape)['collections']>;

/** The same for every device: nothing in it depends on how long a flush takes. */
async function work(open: () => Store): Promise<string> {
  const random = seededRandom(5);
  let store = open();
  for (let round = 0; round < 25; round++) {
    store.transaction(({ numbers, notes, bits, slots }, tx) => {
      for (let i = 0; i < 60; i++) {
        numbers.set(Math.floor(random() * 3000), round);
        notes.set([round, i], { text: 'x'.repeat(Math.floor(random() * (i === 7 ? 9000 : 90))) });
      }
      bits.resize(1000 + round);
      bits.set(Math.floor(random() * 1000));
      slots.push(round);
      if (round % 5 === 0) tx.snapshot(`s${round}`);
      if (round === 12) tx.drop('s5');
    });
    await store.commit();
    if (round === 15) {
      await store.close();
      store = open();
    }
  }
  expect((await store.check()).findings).toEqual([]);
  const differences = [...store.diff('s10', undefined).numbers].length;
  const { nrBlocks, nrAllocated } = store.space;
  await store.close();
  return JSON.stringify({ differences, nrBlocks, nrAllocated });
}

const NR_BLOCKS = 256;
const openOn = (device: MetadataDevice) => (): Store =>
  MetadataStore.open(device, shape, { now: () => 1_795_000_000_000 });

function imageOf(device: MetadataDevice): Uint8Array {
  const bytes = new Uint8Array(device.nrBlocks * 4096);
  device.read(0, bytes);
  return bytes;
}

it('is the same, block for block, in memory, in a file and in LMDB', async () => {
  const memory = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const expected = await work(openOn(memory));

  const file = openFileMetadataDevice(join(root, 'store'), { mode: 'write', create: { nrBlocks: NR_BLOCKS } });
  expect(await work(openOn(file))).toBe(expected);
  expect(Buffer.compare(imageOf(file), memory.bytes)).toBe(0);
  file.close();

  const environment = LmdbEnvironment.open(join(root, 'lmdb'), { create: true });
  const device = environment.createPool('store', { nrBlocks: NR_BLOCKS });
  expect(await work(openOn(device))).toBe(expected);
  expect(Buffer.compare(imageOf(device), memory.bytes)).toBe(0);
  await environment.close();
});

it('is read by others, commit by commit, while one writes', async () => {
  const environment = LmdbEnvironment.open(join(root, 'shared'), { create: true });
  const store = openOn(environment.createPool('store', { nrBlocks: NR_BLOCKS }))();
  store.transaction(({ numbers }) => numbers.set(1, 1));
  await store.commit();
  const reader = MetadataStore.open(environment.openPool('store', { mode: 'read' }), shape);
  store.transaction(({ numbers }) => numbers.set(1, 2));
  await store.commit();
  expect([reader.collections.numbers.get(1), store.collections.numbers.get(1)]).toEqual([1, 2]);
  await reader.close();
  await store.close();
  await environment.close();
});
