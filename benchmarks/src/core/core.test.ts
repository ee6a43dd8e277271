/** A small size of the core benchmark, in this process and from source: so that it cannot rot. No timing. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { measureLmdb } from './lmdb-core.js';
import { measurePdata } from './pdata-core.js';
import { type CoreWorkload, strideOf } from './workload.js';

const directory = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
afterAll(() => rmSync(directory, { recursive: true }));

const workload: CoreWorkload = { nrKeys: 20_000, nrCommits: 10, seed: 1, directory };

it('finds the same in both stores, and always the same', async () => {
  const ours = measurePdata(workload);
  expect(ours.hash).toBe(RESULT_HASH);
  expect((await measureLmdb(workload)).hash).toBe(RESULT_HASH);
});

it('counts what a commit of one key writes', () => {
  const { written, commits } = measurePdata({ ...workload, directory: mkdtempSync(join(directory, 'again-')) });
  expect(commits).toHaveLength(10);
  expect(written).toMatchObject({ maxSuperblocks: 1, maxFlushes: 2 });
  expect(written?.medianBlocks).toBeGreaterThanOrEqual(5); // leaf, root, bitmap, index block, superblock
  expect(written?.maxBlocks).toBeLessThanOrEqual(12);
});

it.each([1, 2, 7, 1000, 20_000, 1_000_000])('visits each of %i places once', (nr) => {
  const stride = strideOf(nr);
  const seen = new Uint8Array(nr);
  for (let i = 0, place = 0; i < nr; i++, place = (place + stride) % nr) seen[place]!++;
  expect(seen.every((times) => times === 1)).toBe(true);
});

const RESULT_HASH = '28c5686745f65450';
