/** A small size of the store benchmark, in this process and from source: so that it cannot rot. No timing. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { measureLevelStore } from './level-store.js';
import { measureLmdbStore } from './lmdb-store.js';
import { measurePdataStore } from './pdata-store.js';
import { measureSqliteStore, whyNoSqlite } from './sqlite-store.js';
import type { StoreWorkload } from './store-workload.js';

const root = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
afterAll(() => rmSync(root, { recursive: true }));

const workload = (): StoreWorkload => ({
  nrKeys: 5000,
  nrBatches: 4,
  batchSize: 100,
  nrSingles: 48,
  nrAwaiting: 16,
  seed: 1,
  directory: mkdtempSync(join(root, 'store-')),
});
const RESULT_HASH = 'da7a735cfeabdb30';

it('finds the same in all stores, and always the same', async () => {
  expect((await measurePdataStore(workload())).hash).toBe(RESULT_HASH);
  expect((await measureLmdbStore(workload())).hash).toBe(RESULT_HASH);
  expect((await measureLevelStore(workload())).hash).toBe(RESULT_HASH);
});

const noSqlite = await whyNoSqlite();
it.skipIf(noSqlite !== undefined)(
  `finds the same in better-sqlite3 ${noSqlite === undefined ? '' : `(skipped: ${noSqlite})`}`,
  async () => {
    expect((await measureSqliteStore(workload())).hash).toBe(RESULT_HASH);
  },
);

it('finds as many differences as were made', async () => {
  const { nrDifferences, diffs, snapshots } = await measurePdataStore(workload());
  expect(nrDifferences).toBe(1000);
  expect([diffs?.length, snapshots?.length]).toEqual([5, 7]);
});
