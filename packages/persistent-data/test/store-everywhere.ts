/** The same work on a store, wherever it runs: what it finds, and what is on the device afterwards. Imports nothing of Node's. */
import { MemoryMetadataDevice } from '@pdata/device';
import { array, bitset, btree, MetadataStore, nested, record, schema, u32, u64 } from '@pdata/persistent-data/store';
import { seededRandom } from '@pdata/testing';

const shape = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: u64 }),
    notes: btree({ key: [u32, u32], value: record<{ text: string; when: Date; bytes: Uint8Array }>() }),
    bits: bitset(),
    slots: array(u32),
    trees: nested({ value: u32 }),
  },
});

export async function workEverywhere(): Promise<string> {
  const random = seededRandom(11);
  const device = new MemoryMetadataDevice({ nrBlocks: 256 });
  const store = MetadataStore.open(device, shape, { now: () => 1_795_000_000_000 });
  for (let round = 0; round < 20; round++) {
    store.transaction(({ numbers, notes, bits, slots, trees }, tx) => {
      for (let i = 0; i < 80; i++) {
        numbers.set(Math.floor(random() * 5000), round);
        const text = 'ä'.repeat(Math.floor(random() * (i === 7 ? 6000 : 60)));
        notes.set([round % 5, i], { text, when: new Date(round * 1e9), bytes: new Uint8Array(i) });
        trees.set(i % 3, Math.floor(random() * 500), round);
      }
      bits.resize(900 + round);
      bits.set(Math.floor(random() * 900));
      slots.push(round);
      if (round % 6 === 0) tx.snapshot(`s${round}`);
      if (round === 13) tx.drop('s6');
    });
    await store.commit();
  }
  const { findings } = await store.check();
  const { notes, numbers } = store.collections;
  const found = {
    findings,
    differences: [...store.diff('s0', 's18').notes].length,
    sizes: [numbers.size, notes.size, store.space.nrAllocated],
    note: notes.get([3, 7])?.when.getTime(),
  };
  await store.close();
  let hash = 0;
  for (const byte of device.bytes) hash = (Math.imul(hash, 31) + byte) | 0;
  return JSON.stringify({ ...found, hash });
}
