/** A small size of the benchmarks of served disks, in this process and from source: so that they cannot rot. No timing. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryDataDevice } from '@pdata/device';
import { NbdServer } from '@pdata/nbd';
import { afterAll, expect, it } from 'vitest';
import type { DiskServer } from './disk-servers.js';
import { fullCacheTable, measureFullCache } from './full-cache.js';
import { measureNbd, missingForNbd, nbdTable } from './nbd-suite.js';
import { measureSnapshots, snapshotTable } from './snapshot-suite.js';

const directory = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
afterAll(() => rmSync(directory, { recursive: true }));
const missing = missingForNbd();
const required = process.env.PDATA_REQUIRE_TOOLS === '1';
const options = { runs: 2, seed: 1, size: 4 * 1024 ** 2, seconds: 0, progress: () => {} };

function memoryServer(name: string, calls: string[]): DiskServer {
  let device = new MemoryDataDevice({ size: 512 });
  let processorTime = 0;
  return {
    name,
    create(size) {
      calls.push('create');
      device = new MemoryDataDevice({ size });
    },
    snapshot: () => calls.push('snapshot'),
    async start() {
      const socketPath = join(directory, `${name}.sock`);
      const exports = { list: async () => [{ name: '' }], open: async () => ({ device }) };
      const server = await NbdServer.listen({ exports, listen: { socketPath } });
      return {
        uri: `nbd+unix:///?socket=${socketPath}`,
        peakMemory: () => 150e6,
        processorTime: () => {
          processorTime += 0.5;
          return processorTime;
        },
        async stop() {
          calls.push('stop');
          await server.close();
        },
      };
    },
  };
}

it.skipIf(missing !== undefined && !required)(
  `measures every work on every contender, each on a disk of its own${missing ? ` (skipped: ${missing})` : ''}`,
  { timeout: 120_000 },
  async () => {
    const calls: string[] = [];
    const contenders = [memoryServer('pdata', calls), memoryServer('qemu-nbd', calls)];
    const figures = await measureNbd({ ...options, contenders, runs: 1 });
    expect(calls.filter((call) => call === 'create')).toHaveLength(2 * 6);
    expect(calls.filter((call) => call === 'snapshot')).toHaveLength(2);
    for (const [work, results] of figures.works) {
      for (const [name, { iops, failure }] of results) {
        expect(failure, `${work} of ${name}`).toBeUndefined();
        expect(iops[0], `${work} of ${name}`).toBeGreaterThan(0);
      }
    }
    const shown = nbdTable(figures, { ...options, contenders });
    expect(shown).toMatch(/^largest memory of the server +150 MB +150 MB +≤ 200 MB +yes$/m);
    expect(shown.match(/≥ 1x/g)).toHaveLength(6);
    // Half a second for 4 MiB in pieces of 4 KiB.
    expect(shown).toMatch(/^4 KiB random read .* CPU 488 µs .* CPU 488 µs /m);
  },
);

it('names a contender that is missing or fails, and measures nothing of it', async () => {
  const broken: DiskServer = {
    ...memoryServer('pdata', []),
    create() {
      throw new Error('no room');
    },
  };
  const absent: DiskServer = { ...broken, name: 'qemu-nbd', missing: 'qemu-nbd is not here' };
  const contenders = [broken, absent];
  const shown = nbdTable(await measureNbd({ ...options, contenders }), { ...options, contenders });
  expect(shown).toMatch(/^4 KiB random read +n\/a +n\/a +n\/a +≥ 1x +not measured$/m);
  expect(shown).toContain('n/a: qemu-nbd is not here');
  expect(shown).toContain('4 KiB random read of pdata could not be measured: no room');
});

it('times snapshots of full volumes, and keeps their pools for the next time', async () => {
  const sizes = [1024 ** 3, 2 * 1024 ** 3];
  for (const _ of ['made', 'kept']) {
    const times = await measureSnapshots(sizes, 3, directory);
    expect(times.map(({ size, seconds }) => [size, seconds.length])).toEqual(sizes.map((size) => [size, 3]));
    expect(snapshotTable(times)).toMatch(/^2 GiB +.* +≤ 5 ms +(yes|NO)$/m);
    expect(snapshotTable(times)).toMatch(/^2 GiB \/ 1 GiB +[\d.]+x +≤ 2x +(yes|NO)$/m);
  }
});

it.skipIf(missing !== undefined && !required)(
  `measures the memory of a server of a full volume, and leaves nothing${missing ? ` (skipped: ${missing})` : ''}`,
  async () => {
    const size = 1024 ** 3;
    const calls: string[] = [];
    const before = readdirSync(directory).filter((name) => name.startsWith('full.'));
    const peak = await measureFullCache({
      size,
      cache: directory,
      directory,
      seconds: 1,
      async serve({ metadata, data }) {
        expect([statSync(metadata).size > 2 ** 20, statSync(data).size]).toEqual([true, 2 * size]);
        const server = memoryServer('full', calls);
        server.create(size);
        return server.start();
      },
    });
    expect(fullCacheTable(peak)).toMatch(/ 150 MB +≤ 200 MB +yes$/m);
    expect(calls).toEqual(['create', 'stop']);
    expect(readdirSync(directory).filter((name) => name.startsWith('full.'))).toEqual(before);
  },
);
