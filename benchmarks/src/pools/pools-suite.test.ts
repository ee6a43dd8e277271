/** A small size of the benchmark of the programs, in this process and from source: so that it cannot rot. No timing. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keptIo, run } from '@pdata/tools';
import { afterAll, expect, it, vi } from 'vitest';
import { measureMemory, measureTimes, memoryTable, type PoolsSuiteOptions, timesTable } from './pools-suite.js';
import { randomPool } from './random-pools.js';
import { type Contender, realPrograms } from './thin-tools.js';

const directory = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
afterAll(() => rmSync(directory, { recursive: true }));

const ours: Contender = {
  name: 'pdata',
  async run(tool, args) {
    let stderr = '';
    const exitCode = await run([tool, ...args], {
      ...quiet,
      err: (text) => {
        stderr += text;
      },
    });
    return { seconds: 0.001, exitCode, stderr };
  },
  peakMemory: async () => 123e6,
};
const absent: Contender = { ...ours, name: '1.1.0', missing: 'thin-provisioning-tools 1.1.0 is not here' };
const options: PoolsSuiteOptions = { contenders: [ours, absent], runs: 1, directory, progress: () => {} };

it('checks, dumps and restores the pool of its seed, and always the same one', async () => {
  const pool = await randomPool(directory, 5000, 1, ours);
  const times = await measureTimes(pool, options);
  expect(times.get('thin_check')?.get('pdata')?.hash).toBe('clean');
  expect(times.get('thin_dump')?.get('pdata')?.hash).toBe(POOL_HASH);
  expect(times.get('thin_restore')?.get('pdata')?.hash).toBe(POOL_HASH);

  const shown = timesTable(pool, times, options);
  expect(shown).toMatch(/^thin_check +1000 µs \(1000–1000\) +n\/a +n\/a +≤ 1x +not measured +clean$/m);
  expect(shown).toContain('n/a: thin-provisioning-tools 1.1.0 is not here');
});

it('says of a contender that fails that it did, and measures the others', async () => {
  const broken: Contender = {
    ...ours,
    name: '0.9.0',
    run: async () => ({ seconds: 1, exitCode: 1, stderr: 'broken' }),
  };
  const pool = await randomPool(directory, 1000, 1, ours);
  const both = { ...options, contenders: [ours, broken] };
  const shown = timesTable(pool, await measureTimes(pool, both), both);
  expect(shown).toMatch(/^thin_dump +1000 µs \(1000–1000\) +n\/a /m);
  expect(shown).toContain(
    'thin_check of 0.9.0 could not be measured: thin_check of 0.9.0 ended with exit code 1: broken',
  );
});

it('keeps its pools for the next time, and no half-made ones', async () => {
  const { image } = await randomPool(directory, 5000, 1, ours);
  const before = readFileSync(image);
  await randomPool(directory, 5000, 1, absent);
  expect(readFileSync(image).equals(before)).toBe(true);
  expect(readdirSync(directory).filter((name) => name.endsWith('.part'))).toEqual([]);

  const failing: Contender = { ...ours, run: async () => ({ seconds: 0, exitCode: 64, stderr: 'no room' }) };
  await expect(randomPool(directory, 100, 1, failing)).rejects.toThrow(/could not make .*no room/);
  expect(existsSync(join(directory, 'random-100-seed1.img'))).toBe(false);
});

it('tabulates peak memory and its growth', async () => {
  const pools = [await randomPool(directory, 500, 1, ours), await randomPool(directory, 1000, 1, ours)];
  const shown = memoryTable(await measureMemory(pools, options), options);
  expect(shown).toMatch(/^thin_restore, 1000 +123 MB +n\/a +≤ 300 MB +yes$/m);
  expect(shown).toContain('thin_dump of pdata: 0 MB more for 1000 than for 500, 0.0 bytes a mapping');
});

it('takes a real tool that is missing, or of another version, for missing', () => {
  vi.stubEnv('PATH', directory);
  vi.stubEnv('PDATA_CACHE', directory);
  vi.stubEnv('PDATA_TPT_09', undefined);
  try {
    expect(realPrograms('0.9.0').missing).toBe(
      'thin-provisioning-tools 0.9.0 is not here: packages/conformance/oracle/install-tools brings it',
    );
  } finally {
    vi.unstubAllEnvs();
  }
});

/** Of what thin_dump 1.1.0 prints for it. */
const POOL_HASH = 'a8f7fa02c9455927';
const quiet = keptIo({ out: () => {}, err: () => {} }).io;
