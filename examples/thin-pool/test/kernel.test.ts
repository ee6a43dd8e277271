/**
 * The real kernel takes over what the app made: a pool that it once made itself is imported, served, written to, snapshotted
 * and trimmed here, exported, and activated there. It reads the same content, works on, and gives the pool back.
 *
 * The kernel runs in a virtual machine (packages/conformance/oracle); where that is not prepared, the test says so and is skipped.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { connectNbd } from '@pdata/nbd';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { LocalPoolHost } from '../src/pool/local-host.js';
import type { PoolHost } from '../src/pool-host.js';
import { servePool } from '../src/serve/serve-pool.js';
import { exportPool, importPool } from '../src/transfer/kernel-pool.js';
import { MiB, noise, read } from './pools.js';
import { openScratch } from './program.js';

const oracle = (name: string): string =>
  fileURLToPath(new URL(`../../../packages/conformance/oracle/${name}`, import.meta.url));
const fixture = (name: string): Buffer =>
  gunzipSync(readFileSync(fileURLToPath(new URL(`../fixtures/${name}.gz`, import.meta.url))));
const SEED = 20_261_120;
const isReady = spawnSync(oracle('kernel-vm'), ['--ready']).status === 0;
if (!isReady) {
  if (process.env.PDATA_REQUIRE_TOOLS === '1') throw new Error('packages/conformance/oracle/kernel-vm is not prepared');
  console.warn(
    'Skipped: the pool of the app in the real kernel. packages/conformance/oracle/kernel-vm --build prepares it.',
  );
}

it.runIf(isReady).each(['lmdb', 'raw'] as const)(
  'the kernel reads and goes on with a %s pool that it made and we changed',
  { timeout: 300_000 },
  async (format) => {
    using scratch = openScratch();
    const [pool, back, metadata, data] = ['pool', 'back', 'metadata', 'data'].map((name) => scratch.path(name));
    writeFileSync(metadata!, fixture('meta.img'));
    writeFileSync(data!, fixture('data.img'));
    await importPool(pool!, { metadata: metadata!, data: data! }, format);
    await work(pool!);
    await exportPool(pool!, { metadata: metadata!, data: data! }, { force: true });
    const ours = await sumsOf(pool!);
    const volumes = [...ours].map(([thinId, { size }]) => `${thinId}:${size / 512}`).join(' ');
    const found = await runGuest(scratch.path('guest.sh'), [metadata!, data!], {
      POOL_SECTORS: (64 * MiB) / 512,
      BLOCK_SECTORS: 128,
      VOLUMES: volumes,
      SEED: 5,
      WORK: 'write:0 snapshot:20:5 write:5 discard:4', // 5: what thin 1 has become by its revert
    });
    expect(
      new Map(found.filter(([what]) => what === 'before').map(([, thinId, sum]) => [Number(thinId), sum])),
    ).toEqual(new Map([...ours].map(([thinId, { sum }]) => [thinId, sum])));
    expect(found.filter(([what]) => what === 'complaint')).toEqual([]);
    await importPool(back!, { metadata: metadata!, data: data! }, format);
    const theirs = await sumsOf(back!, new Map([...ours].map(([thinId, { size }]) => [thinId, size])));
    const kernels = found.filter(([what]) => what === 'sum');
    expect(kernels.length).toBe(ours.size + 1);
    for (const [, thinId, sum] of kernels) expect(theirs.get(Number(thinId))?.sum, `thin ${thinId}`).toBe(sum);
  },
);

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

/** The words of the guest's findings. A guest that dies while it boots (the emulator's fault) is started once more. */
async function runGuest(
  script: string,
  disks: readonly string[],
  env: Readonly<Record<string, string | number>>,
): Promise<string[][]> {
  const set = Object.entries(env).map(([name, value]) => `${name}='${value}'\n`);
  const parts = ['prelude', 'judge'].map((name) => readFileSync(oracle(`guests/${name}.sh`), 'utf8'));
  writeFileSync(script, [...set, ...parts].join(''));
  for (let attempt = 1; ; attempt++) {
    const { status, output } = await new Promise<{ status: number | null; output: string }>((resolve, reject) => {
      const child = spawn(oracle('kernel-vm'), [script, ...disks], { stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      }
      child.on('error', reject).on('close', (code) => resolve({ status: code, output }));
    });
    const findings = Array.from(output.matchAll(/^= (.*)$/gm), ([, line = '']) => line.trim().split(' '));
    if (status === 0) return findings;
    if (findings.length > 0 || attempt === 2) throw new Error(`the guest ended with ${status}:\n${output}`);
  }
}
