/**
 * The real kernel takes over what the app made: a pool that it once made itself is imported, served, written to, snapshotted
 * and trimmed here, exported, and activated there. It reads the same content, works on, and gives the pool back.
 *
 * The kernel runs in a virtual machine (packages/conformance/oracle); where that is not prepared, the test says so and is skipped.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { openScratch, requireKernel, runGuests, type Scratch } from '@pdata/conformance';
import { connectNbd } from '@pdata/nbd';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { LocalPoolHost } from '../src/pool/local-host.js';
import type { PoolHost } from '../src/pool-host.js';
import { servePool } from '../src/serve/serve-pool.js';
import { exportPool, importPool } from '../src/transfer/kernel-pool.js';
import { MiB, noise, read } from './pools.js';

const fixture = (name: string): Buffer =>
  gunzipSync(readFileSync(fileURLToPath(new URL(`../fixtures/${name}.gz`, import.meta.url))));
const SEED = 20_261_120;

describe.runIf(requireKernel())('the kernel', () => {
  it('reads and goes on with pools that it made and we changed, whatever our app keeps them in', {
    timeout: 300_000,
  }, async () => {
    using scratch = openScratch();
    const pools = await Promise.all((['lmdb', 'raw'] as const).map((format) => changed(scratch, format)));
    const found = await runGuests(
      pools.map(({ metadata, data, sums }) => ({
        guest: 'judge',
        disks: [metadata, data],
        env: {
          POOL_SECTORS: (64 * MiB) / 512,
          BLOCK_SECTORS: 128,
          VOLUMES: Array.from(sums, ([thinId, { size }]) => `${thinId}:${size / 512}`).join(' '),
          SEED: 5,
          WORK: 'write:0 snapshot:20:5 write:5 discard:4', // 5: what thin 1 has become by its revert
        },
      })),
    );
    for (const [nr, { format, metadata, data, sums }] of pools.entries()) {
      const { all, sums: kernels } = found[nr]!;
      expect(all('before').sort(), format).toEqual(Array.from(sums, ([thinId, { sum }]) => `${thinId} ${sum}`).sort());
      expect(all('complaint'), format).toEqual([]);
      const back = scratch.path(`${format}-back`);
      await importPool(back, { metadata, data }, format);
      const theirs = await sumsOf(back, new Map([...sums].map(([thinId, { size }]) => [thinId, size])));
      expect(kernels.size).toBe(sums.size + 1);
      for (const [thinId, sum] of kernels) expect(theirs.get(thinId)?.sum, `${format}, thin ${thinId}`).toBe(sum);
    }
  });
});

/** The fixture pool, imported, worked on, and exported again; what its volumes hold then. */
async function changed(scratch: Scratch, format: 'lmdb' | 'raw') {
  const [pool, metadata, data] = ['pool', 'metadata', 'data'].map((name) => scratch.path(`${format}-${name}`)) as [
    string,
    string,
    string,
  ];
  writeFileSync(metadata, fixture('meta.img'));
  writeFileSync(data, fixture('data.img'));
  await importPool(pool, { metadata, data }, format);
  await work(pool);
  await exportPool(pool, { metadata, data }, { force: true });
  return { format, metadata, data, sums: await sumsOf(pool) };
}

/** Over NBD and by commands, in between. */
async function work(pool: string): Promise<void> {
  const served = await servePool(pool, { page: false });
  const { host } = served;
  const random = seededRandom(SEED);
  for (const nr of [0, 1, 2, 4]) await host.resizeVolume({ name: `thin-${nr}`, size: 32 * MiB });
  await host.removeVolume({ name: 'thin-7' });
  const disk = await connectNbd({ socketPath: `${pool}/nbd.sock` }, { exportName: 'thin-0' });
  for (let nr = 0; nr < 60; nr++) {
    const length = 512 * (1 + Math.floor(random() * 256));
    const offset = 512 * Math.floor((random() * (32 * MiB - length)) / 512);
    const kind = random();
    if (kind < 0.7) await disk.write(offset, noise(length, nr));
    else if (kind < 0.85) await disk.discard(offset, length);
    else await disk.writeZeroes(offset, length);
    if (nr === 20) await host.snapshot({ origin: 'thin-0', name: 'middle' });
    if (nr === 40) await host.removeVolume({ name: 'thin-2' });
  }
  await disk.flush();
  await disk.close();
  await host.createVolume({ name: 'new', size: 8 * MiB });
  const fresh = await connectNbd({ socketPath: `${pool}/nbd.sock` }, { exportName: 'new' });
  await fresh.write(3 * MiB + 512, noise(70_144, 99));
  await fresh.close();
  await host.revertVolume({ name: 'thin-1', snapshot: 'thin-4' });
  expect((await host.check()).findings).toEqual([]);
  await served.close();
}

async function sumsOf(pool: string, sizes?: ReadonlyMap<number, number>) {
  const host = await LocalPoolHost.open(pool);
  const sums = new Map<number, { size: number; sum: string }>();
  for (const { name, thinId, size: known } of await host.volumes()) {
    const size = sizes?.get(thinId) ?? (sizes === undefined ? known : 32 * MiB);
    if (size > known) await host.resizeVolume({ name, size });
    sums.set(thinId, { size, sum: await sumOf(host, name, size) });
  }
  await host.close();
  return sums;
}

const sumOf = async (host: PoolHost, name: string, size: number): Promise<string> =>
  createHash('sha256')
    .update(await read(host, name, 0, size))
    .digest('hex');
