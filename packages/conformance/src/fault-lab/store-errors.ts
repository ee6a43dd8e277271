/** The embedded store under the error explorer: every kind of collection, and every kind of change, each with its commit. */
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { MetadataStore, SchemaError, type Transaction, type WritableCollections } from '@pdata/persistent-data/store';
import type { ErrorSubject } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';
import { type collections, inWords, nextShape, type RichStore, shape } from './rich-store.js';

const NR_BLOCKS = 256;
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;
const OPTIONS = { maxBlocks: NR_BLOCKS, cacheBlocks: 32, now: () => 1_700_000_000_000 } as const;
const LONG = 'a record for a chain of blocks; '.repeat(200);

type Work = (into: WritableCollections<typeof collections>, transaction: Transaction<typeof collections>) => void;

/** A transaction, made durable. */
const doing = (work: Work) => (store: RichStore) => {
  store.transaction(work);
  store.commitSync();
};

export const subject: ErrorSubject<RichStore, typeof MEDIA> = {
  name: 'store',
  media: MEDIA,
  async prepare({ metadata }) {
    const store = MetadataStore.open(metadata, shape, OPTIONS);
    store.transaction(({ bits, words, units }) => {
      bits.resize(600);
      words.resize(600, 7);
      units.extend(40);
    });
    await store.commit();
    store.transaction(({ numbers, records, places, hashes, families, units }) => {
      for (let key = 0; key < 300; key++) numbers.set(key, key);
      for (let key = 0; key < 20; key++) records.set(key, key % 5 === 0 ? LONG : `record ${key}`);
      for (let key = 0; key < 60; key++) {
        const home = key < 20 ? units.allocate() : key % 20;
        places.set([key % 3, key], { name: `place ${key}`, home });
        if (key < 20) units.release(home);
      }
      for (let key = 0; key < 10; key++) hashes.set(new Uint8Array(32).fill(key), `${key}`);
      for (let key = 0; key < 40; key++) families.set(key % 4, key, key);
    });
    store.snapshot('a');
    store.clone('b');
    store.transaction(({ numbers, words }) => {
      for (let key = 0; key < 300; key += 9) numbers.set(key, 1);
      words.set(3, 3);
    });
    await store.commit();
    await store.close();
  },
  open: ({ metadata }) => MetadataStore.open(metadata, shape, OPTIONS),
  operations: {
    'tree of numbers': doing(({ numbers }) => {
      for (let key = 290; key < 320; key++) numbers.set(key, 5);
      numbers.deleteRange({ from: 20, to: 120 });
      numbers.delete(200);
    }),
    'records, some in chains': doing(({ records }) => {
      records.set(3, LONG);
      records.set(5, 'short now');
      records.delete(10);
    }),
    'values that name units': doing(({ places, units }) => {
      places.set([9, 9], { name: 'new', home: units.allocate() });
      places.delete([0, 0]);
      places.deleteRange({ from: [1, 0], to: [2, 0] });
    }),
    'keys of bytes': doing(({ hashes }) => {
      hashes.set(new Uint8Array(32).fill(77), 'seventy-seven');
      hashes.delete(new Uint8Array(32).fill(3));
    }),
    array: doing(({ words }) => {
      words.set(500, 1);
      words.resize(1700, 9);
    }),
    bitset: doing(({ bits }) => {
      for (let bit = 5; bit < 600; bit += 50) bits.set(bit, true);
      bits.resize(3000);
    }),
    'trees of trees': doing(({ families }) => {
      families.set(7, 1, 1);
      families.copyTree(1, 8);
      families.dropTree(2);
      families.delete(3, 3);
    }),
    'space map': doing(({ units }) => {
      units.allocate();
      units.retain(3);
      units.extend(20_000);
    }),
    snapshot: doing((_, transaction) => transaction.snapshot('c')),
    clone: doing((_, transaction) => transaction.clone('c', 'a')),
    'change of a clone': doing((_, transaction) => transaction.on('b').numbers.set(1, 2)),
    drop: doing((_, transaction) => transaction.drop('a')),
    restore: doing((_, transaction) => transaction.restore('a')),
    'savepoint, rolled back': doing(({ numbers }, transaction) => {
      numbers.set(1, 2);
      const savepoint = transaction.savepoint();
      for (let key = 0; key < 300; key += 3) numbers.set(key, 3);
      transaction.drop('a');
      savepoint.rollback();
    }),
    commit: async (store) => {
      store.transaction(({ numbers }) => numbers.set(2, 22));
      await store.commit();
    },
    'commits on top of each other': async (store) => {
      store.transaction(({ numbers }) => numbers.set(2, 22));
      const both = [store.commit(), store.commit()];
      await Promise.all(both);
    },
    'commit that a backup asks for': async (store) => {
      store.transaction(({ numbers }) => numbers.set(3, 33));
      await store.backup(new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS }));
    },
  },
  inspect: (store) => inWords(store),
  close: (store) => store.close(),
  async recover({ metadata }) {
    const store = MetadataStore.open(metadata, shape, OPTIONS);
    const { findings } = await store.check();
    if (findings.length > 0) throw new Error(`the check says: ${findings.join('; ')}`);
    const state = inWords(store);
    await store.close();
    return state;
  },
  sources: allocationFaults,
  // A commit that could not be prepared (a block cannot be read; or there is no room, though the store sets some aside) keeps what
  // transactions did.
  mayKeep: ['allocation of a metadata block', 'metadata read'],
};

/** An upgrade happens as the store is opened: what is opened is a device, and looked at with whichever schema fits. */
export const upgrading: ErrorSubject<MetadataDevice, typeof MEDIA> = {
  name: 'store, upgraded',
  media: MEDIA,
  prepare: subject.prepare,
  open: ({ metadata }) => metadata,
  operations: {
    upgrade: async (device) => {
      const store = MetadataStore.open(device, nextShape, OPTIONS);
      await store.close();
    },
  },
  inspect: ofEitherVersion,
  close() {},
  recover: ({ metadata }) => ofEitherVersion(metadata),
  sources: allocationFaults,
};

async function ofEitherVersion(device: MetadataDevice): Promise<string> {
  try {
    return await subject.recover({ metadata: device });
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
  }
  const store = MetadataStore.open(device, nextShape, OPTIONS);
  const { findings } = await store.check();
  if (findings.length > 0) throw new Error(`the check says: ${findings.join('; ')}`);
  const { words, added, numbers } = store.collections;
  const state = JSON.stringify([[...words.values()], [...added], [...numbers]]);
  await store.close();
  return state;
}
