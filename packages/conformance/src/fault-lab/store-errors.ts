/** The embedded store under the error explorer: every kind of change, each with its commit. */
import { MetadataStore } from '@pdata/persistent-data/store';
import type { ErrorSubject } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';
import { audit, type Store, shownBy, storeSchema } from './store-subject.js';

const NR_BLOCKS = 200;
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;
const OPTIONS = { maxBlocks: NR_BLOCKS, cacheBlocks: 32, now: () => 1_700_000_000_000 } as const;
const NR_BITS = 60;
const NR_UNITS = 40;

const recordOf = (value: number): string => `${value} `.repeat(120);

function put(store: Store, begin: number, end: number, value: number): void {
  store.transaction(({ numbers, records, bits, stamps, units }) => {
    const home = units.allocate();
    stamps.set(value, { stamp: value, home });
    units.release(home);
    for (let key = begin; key < end; key++) {
      numbers.set(key, value);
      records.set(key, recordOf(value));
      bits.set(key, true);
    }
  });
}

const doing = (work: (store: Store) => void) => (store: Store) => {
  work(store);
  store.commitSync();
};

export const subject: ErrorSubject<Store, typeof MEDIA> = {
  name: 'store',
  media: MEDIA,
  async prepare({ metadata }) {
    const store = MetadataStore.open(metadata, storeSchema, OPTIONS);
    store.transaction(({ bits, units }) => {
      bits.resize(NR_BITS);
      units.extend(NR_UNITS);
    });
    await store.commit();
    put(store, 0, 30, 1);
    store.snapshot('a');
    store.clone('b');
    put(store, 10, 20, 2);
    await store.commit();
    await store.close();
  },
  open: ({ metadata }) => MetadataStore.open(metadata, storeSchema, OPTIONS),
  operations: {
    'transaction that sets': doing((store) => put(store, 25, 40, 3)),
    'transaction that removes': doing((store) =>
      store.transaction(({ numbers, records, bits, stamps }) => {
        stamps.delete(2);
        for (let key = 5; key < 15; key++) {
          numbers.delete(key);
          records.delete(key);
          bits.set(key, false);
        }
      }),
    ),
    snapshot: doing((store) => store.snapshot('c')),
    clone: doing((store) => store.clone('c')),
    drop: doing((store) => store.drop('a')),
    restore: doing((store) => store.restore('a')),
    commit: async (store) => {
      put(store, 0, 5, 4);
      await store.commit();
    },
  },
  inspect: (store) => shownBy(store),
  close: (store) => store.close(),
  async recover({ metadata }) {
    const store = MetadataStore.open(metadata, storeSchema, OPTIONS);
    await audit(store);
    const state = shownBy(store);
    await store.close();
    return state;
  },
  sources: allocationFaults,
  // A commit without room for its own blocks (which the store sets aside, so that only this lab gets there) keeps what transactions did.
  mayKeep: ['allocation of a metadata block'],
};
