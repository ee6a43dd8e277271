import { spawnSync } from 'node:child_process';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { MemoryDataDevice } from '@pdata/device';
import { openFileDataDevice } from '@pdata/device/node';
import { describe, expect, it } from 'vitest';
import { BLOCK, MiB, names, noise, read, testPools, write } from '../../test/pools.js';
import { openScratch } from '../../test/program.js';
import { runCommand } from '../../test/run-command.js';
import { DataWithReserve, isDiskFull, trimUnused } from './full-disk.js';
import { LocalPoolHost } from './local-host.js';
import { openParts } from './pool-directory.js';

const spaceOf = (path: string): number => statSync(path).blocks * 512;

describe('data with a reserve', () => {
  it('are refused while only that is left, and go on when there is room again', async () => {
    let free = 100 * MiB;
    const device = new DataWithReserve(new MemoryDataDevice({ size: 16 * MiB }), () => ({ free, kept: 16 * MiB }));
    const bytes = new Uint8Array(MiB).fill(1);
    await device.write(0, bytes);
    free = 15 * MiB;
    await expect(device.write(0, bytes)).rejects.toMatchObject({
      code: 'ERR_NO_SPACE',
      message: expect.stringContaining(
        'the disk that holds the pool is full (what is left, 15 MiB, is kept for metadata)',
      ),
    });
    await expect(device.write(0, bytes.subarray(0, 512))).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    await expect(device.writeZeroes(0, 512, { keepAllocated: true })).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    await device.writeZeroes(0, BLOCK);
    await device.discard(MiB, MiB);
    await device.flush();
    await device.read(0, bytes);
    free = 17 * MiB;
    await device.write(0, bytes);
  });

  it('do not mind a system that does not tell', async () => {
    const device = new DataWithReserve(new MemoryDataDevice({ size: MiB }), () => undefined);
    await device.write(0, new Uint8Array(MiB));
  });
});

it('knows a full disk wherever it is told of in an error', () => {
  const deep = new Error('commit', {
    cause: new Error('flush', { cause: Object.assign(new Error('x'), { code: 28 }) }),
  });
  expect(isDiskFull(deep)).toBe(true);
  expect(isDiskFull(Object.assign(new Error('x'), { code: 'ENOSPC' }))).toBe(true);
  expect(isDiskFull(new Error('x'))).toBe(false);
  expect(isDiskFull('ENOSPC')).toBe(false);
});

describe.each(['lmdb', 'raw'] as const)('the disk under a %s pool', (format) => {
  it('gets back what a removed volume alone had, and no more', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format });
    const data = `${host.directory}/data`;
    await host.createVolume({ name: 'disk', size: 8 * MiB });
    await write(host, 'disk', 0, noise(4 * MiB, 1));
    await host.snapshot({ origin: 'disk', name: 'snap' });
    const snap = await read(host, 'snap');
    await write(host, 'disk', 0, noise(2 * MiB, 2));
    const full = spaceOf(data);
    expect(full).toBeGreaterThanOrEqual(6 * MiB);
    await host.removeVolume({ name: 'disk' });
    expect((await read(host, 'snap')).equals(snap)).toBe(true);
    if (!(await canPunchHoles(data))) return console.log('not looked at: this file system punches no holes');
    expect(spaceOf(data)).toBeLessThanOrEqual(full - 2 * MiB);
    expect(spaceOf(data)).toBeGreaterThanOrEqual(4 * MiB);
    await host.removeVolume({ name: 'snap' });
    expect(spaceOf(data)).toBeLessThan(BLOCK);
    expect((await host.check()).clean).toBe(true);
  });

  it('gets back what no commit uses, when asked, and nothing else', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format, size: 8 * MiB });
    await host.createVolume({ name: 'disk', size: 4 * MiB });
    await write(host, 'disk', 0, noise(MiB, 1));
    const before = await read(host, 'disk');
    await host.close();
    const parts = await openParts(host.directory, 'write');
    const used = spaceOf(`${host.directory}/data`);
    await parts.data.write(2 * MiB, noise(4 * MiB, 2)); // as a transaction leaves it that was thrown away
    await parts.data.flush();
    await trimUnused(parts);
    await parts.close();
    const again = await pools.reopen(host);
    expect((await read(again, 'disk')).equals(before)).toBe(true);
    if (await canPunchHoles(`${host.directory}/data`)) {
      expect(spaceOf(`${host.directory}/data`)).toBe(used);
    }
  });

  it('may run full: an import leaves nothing, a client is told, and a removal makes room', async () => {
    using scratch = openScratch();
    const small = scratch.path('small');
    mkdirSync(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small]);
    if (mounted.status !== 0) return console.log('not tried: a small disk cannot be mounted here (that wants root)');
    try {
      const pool = `${small}/pool`;
      writeFileSync(scratch.path('image'), noise(32 * MiB, 1));
      await LocalPoolHost.create(pool, { size: 1024 * MiB, blockSize: BLOCK, format });
      const refused = await runCommand(['import', pool, scratch.path('image'), 'big']);
      expect(refused).toMatchObject({ exitCode: 1, out: '' });
      expect(refused.err).toMatch(/^thin-pool: the disk that holds the pool is full [^\n]+\n$/);
      const host = await LocalPoolHost.open(pool);
      expect(await names(host)).toEqual([]);
      await host.createVolume({ name: 'disk', size: 100 * MiB });
      const device = await host.openVolume({ name: 'disk', mode: 'write' });
      let written = 0;
      const fill = async (): Promise<void> => {
        for (; written < 40; written++) await device.write(written * MiB, noise(MiB, written));
      };
      await expect(fill()).rejects.toThrow('the disk that holds the pool is full');
      expect(written).toBeGreaterThan(10);
      await device.flush();
      await device.close();
      await host.snapshot({ origin: 'disk', name: 'snap' });
      expect((await read(host, 'snap', 0, MiB)).equals(noise(MiB, 0))).toBe(true);
      await host.removeVolume({ name: 'disk' });
      await host.removeVolume({ name: 'snap' });
      await host.createVolume({ name: 'next', size: 10 * MiB });
      await write(host, 'next', 0, noise(10 * MiB, 5));
      expect((await host.check()).clean).toBe(true);
      await host.close();
    } finally {
      spawnSync('umount', [small]);
    }
  });
});

async function canPunchHoles(data: string): Promise<boolean> {
  const device = await openFileDataDevice(`${data}.probe`, { mode: 'write', create: { size: MiB } });
  const { discardGranularity } = device.hints;
  await device.close();
  return discardGranularity > 0;
}
