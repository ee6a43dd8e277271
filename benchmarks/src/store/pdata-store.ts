/**
 * Our contender: a MetadataStore in a file. `node dist/store/pdata-store.js WORKLOAD-AS-JSON` prints a StoreResult as JSON.
 *
 * Besides what all do, it takes snapshots and compares two that differ in 1000 records. The cache holds the whole tree, as the
 * peers' memory maps do.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { btree, type MetadataStore, schema, struct, u64 } from '@pdata/persistent-data/store';
import { openStore } from '@pdata/persistent-data/store/node';
import { measureStore, secondsOf } from './measure.js';
import {
  batchKeys,
  keysOf,
  mtimeOf,
  type StoreContender,
  type StoreResult,
  type StoreWorkload,
  sizeOf,
} from './store-workload.js';

const files = schema({
  version: 1,
  collections: { files: btree({ key: u64, value: struct({ size: u64, mtime: u64 }) }) },
});
type FileStore = MetadataStore<(typeof files)['collections']>;

const NR_CHANGED = 1000;
const NR_SNAPSHOTS = 6;

export async function measurePdataStore(workload: StoreWorkload): Promise<StoreResult> {
  const store = openStore(join(workload.directory, 'store.pdata'), files, { cacheBlocks: 65_536 });
  try {
    const result = await measureStore(contender(store), workload);
    return { ...result, ...(await measureSnapshots(store, workload)) };
  } finally {
    await store.close();
  }
}

function contender(store: FileStore): StoreContender {
  const { files: current } = store.collections;
  return {
    async fill(keys) {
      store.transaction(({ files }) => {
        for (let place = 0; place < keys.length; place++)
          files.set(keys[place] as number, { size: sizeOf(place, 0), mtime: mtimeOf(place, 0) });
      });
      await store.commit();
    },
    get: (key) => current.get(key),
    scan(visit, down) {
      for (const [key, record] of current.entries(down ? { reverse: true } : {})) visit(key, record);
    },
    async putAll(keys, from, to, version) {
      store.transaction(({ files }) => {
        for (let place = from; place < to; place++)
          files.set(keys[place] as number, { size: sizeOf(place, version), mtime: mtimeOf(place, version) });
      });
      await store.commit();
    },
    async putOne(key, version) {
      store.transaction(({ files }) =>
        files.set(key, { size: sizeOf(key % 1e6, version), mtime: mtimeOf(key % 1e6, version) }),
      );
      await store.commit();
    },
  };
}

/** Snapshots, and comparisons of one with the next: changed in 1000 records each time. The first comparison is not measured. */
async function measureSnapshots(
  store: FileStore,
  workload: StoreWorkload,
): Promise<{ snapshots: number[]; diffs: number[]; nrDifferences: number }> {
  const keys = keysOf(workload);
  const batchSize = Math.min(NR_CHANGED, workload.nrKeys);
  const changed = batchKeys(keys, { ...workload, nrBatches: NR_SNAPSHOTS, batchSize });
  const snapshots: number[] = [];
  const diffs: number[] = [];
  let nrDifferences = 0;
  for (let nr = 0; nr <= NR_SNAPSHOTS; nr++) {
    snapshots.push(await secondsOf(() => store.snapshot(`${nr}`)));
    if (nr > 0) {
      nrDifferences = 0;
      const seconds = await secondsOf(() => {
        for (const _ of store.diff(`${nr - 1}`, `${nr}`).files) nrDifferences++;
      });
      if (nr > 1) diffs.push(seconds);
    }
    store.transaction(({ files }) => {
      for (let i = 0; i < batchSize; i++)
        files.set(changed[(nr * batchSize + i) % changed.length] as number, { size: nr, mtime: 2 ** 40 + i });
    });
    await store.commit();
  }
  return { snapshots, diffs, nrDifferences };
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(await measurePdataStore(JSON.parse(argument) as StoreWorkload)));
}
