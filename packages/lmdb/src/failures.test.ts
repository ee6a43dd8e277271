/** Commits that cannot be made: the environment at its limit, a full disk. What was committed stays; the rest is gone. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BLOCK_SIZE, DeviceError } from '@pdata/device';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { blocks, firstBytes, rejectionOf, thrownBy } from '../test/blocks.js';
import { type TemporaryEnvironment, temporaryEnvironment } from '../test/temporary-environment.js';
import { LmdbEnvironment } from './environment.js';
import { EnvironmentFullError } from './errors.js';
import type { LmdbMetadataDevice } from './lmdb-metadata-device.js';

const MIB = 2 ** 20;
/** Random enough that nothing is left out as zero. */
function noise(nrBlocks: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(nrBlocks * BLOCK_SIZE);
  const { length } = bytes;
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + seed) | 1;
  return bytes;
}

/** A pool of which block 0 and a record are committed, and more is staged. */
function stagedPool(environment: LmdbEnvironment, nrBlocks = 2000): LmdbMetadataDevice {
  const pool = environment.createPool('pool', { nrBlocks });
  const catalogue = environment.catalogue<number>('pool');
  pool.write(0, blocks(1));
  catalogue.put('committed', 1);
  pool.flush();
  pool.write(0, blocks(2));
  pool.grow(nrBlocks + 1);
  catalogue.put('committed', 2);
  catalogue.put('staged', 2);
  return pool;
}

/** After a failure: the last commit, and no more changes. */
async function expectLastCommit(environment: LmdbEnvironment, pool: LmdbMetadataDevice): Promise<void> {
  const catalogue = environment.catalogue<number>('pool');
  expect([pool.nrBlocks, firstBytes(pool)[0]]).toEqual([2000, 1]);
  expect([...catalogue.entries()]).toEqual([['committed', 1]]);
  const changes = [
    () => pool.flush(),
    () => pool.write(1, blocks(1)),
    () => pool.grow(3000),
    () => catalogue.put('x', 1),
    () => catalogue.commit(),
  ];
  for (const change of changes) {
    const refusal = thrownBy(change);
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toMatch(/an earlier (flush|commit) failed.*open it again/);
  }
  const refusal = await rejectionOf(pool.flushAsync());
  expect(refusal.message).toMatch(/an earlier (flush|commit) failed/);
  const reader = environment.openPool('pool', { mode: 'read' });
  expect([reader.nrBlocks, firstBytes(reader)[0]]).toEqual([2000, 1]);
  reader.close();
}

describe('an environment at its mapSize', () => {
  let temporary: TemporaryEnvironment;
  let environment: LmdbEnvironment;
  beforeEach(() => {
    temporary = temporaryEnvironment({ mapSize: 2 * MIB });
    ({ environment } = temporary);
  });
  afterEach(() => temporary.end());

  const says = (path: string): string =>
    `cannot flush pool "pool" in ${path}: the environment ${path} would grow beyond its mapSize of ${2 * MIB} bytes; ` +
    'close it and open it with a larger one';

  it.each(['flush', 'flushAsync'] as const)(
    'refuses a %s with one sentence, and stays at the last commit',
    async (how) => {
      const pool = stagedPool(environment);
      pool.write(1, noise(600));
      const refusal = await rejectionOf((async () => pool[how]())());
      expect(refusal).toBeInstanceOf(EnvironmentFullError);
      expect(refusal.message).toBe(says(temporary.path));
      await expectLastCommit(environment, pool);
      pool.close();
      const again = environment.openPool('pool');
      again.write(1, noise(10));
      again.flush();
      expect(firstBytes(again)[10], 'what fits is committed still').toBe(noise(10)[9 * BLOCK_SIZE]);
    },
  );

  it('takes all that fits, and no more than it may', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 2000 });
    let nrFlushed = 0;
    let refusal: Error | undefined;
    while (refusal === undefined) {
      pool.write(nrFlushed, noise(1, nrFlushed));
      const flushed = nrFlushed % 2 === 0 ? pool.flushAsync() : (async () => pool.flush())();
      refusal = await flushed.then(
        () => undefined,
        (error: Error) => error,
      );
      if (refusal === undefined) nrFlushed++;
    }
    expect(refusal).toBeInstanceOf(EnvironmentFullError);
    expect((nrFlushed * BLOCK_SIZE) / (2 * MIB), 'share of the file that is blocks').toBeGreaterThan(0.9);
    expect(environment.size).toBeLessThanOrEqual(2 * MIB + 16 * 4096);
    const kept = firstBytes(pool);
    for (let nr = 0; nr < nrFlushed; nr++) expect(kept[nr]).toBe(noise(1, nr)[0]);
    expect(kept[nrFlushed]).toBe(0);
  });

  it('can be opened with a larger one, and goes on', async () => {
    const pool = stagedPool(environment);
    pool.write(1, noise(600));
    expect(thrownBy(() => pool.flush())).toBeInstanceOf(EnvironmentFullError);
    await environment.close();
    const larger = LmdbEnvironment.open(temporary.path, { mapSize: 8 * MIB });
    const again = larger.openPool('pool');
    again.write(1, noise(600));
    await again.flushAsync();
    expect([firstBytes(again)[0], firstBytes(again)[600]]).toEqual([1, noise(600)[599 * BLOCK_SIZE]]);
    await larger.close();
  });

  it('makes room by deleting a pool', async () => {
    const pool = environment.createPool('large', { nrBlocks: 2000 });
    pool.write(0, noise(420));
    pool.flush();
    pool.close();
    const small = environment.createPool('small', { nrBlocks: 2000 });
    small.write(0, noise(300));
    expect(thrownBy(() => small.flush())).toBeInstanceOf(EnvironmentFullError);
    small.close();
    environment.deletePool('large');
    await environment.close();
    const roomier = LmdbEnvironment.open(temporary.path, { mapSize: 2 * MIB });
    const again = roomier.openPool('small');
    again.write(0, noise(300));
    again.flush();
    expect(firstBytes(again)[299]).toBe(noise(300)[299 * BLOCK_SIZE]);
    await roomier.close();
  });

  it('names the reader that keeps its space', () => {
    const pool = environment.createPool('pool', { nrBlocks: 2000 });
    const rewrite = (seed: number): void => {
      pool.write(0, noise(100, seed));
      pool.flush();
    };
    for (let seed = 0; seed < 20; seed++) rewrite(2 * seed);
    environment.openPool('pool', { mode: 'read' });
    const refusal = thrownBy(() => {
      for (let seed = 0; seed < 20; seed++) rewrite(2 * seed);
    });
    expect(refusal).toBeInstanceOf(EnvironmentFullError);
    expect(refusal.message).toMatch(
      /beyond its mapSize of 2097152 bytes; a reader in this process still reads a commit that is \d+ commits old, and what was freed since cannot be reused before it refreshes or closes; close it and open it with a larger one$/,
    );
  });

  it('refuses what does not fit while it spills, in write', async () => {
    environment.createPool('pool', { nrBlocks: 2000 }).close();
    const pool = environment.openPool('pool', { maxStagedBytes: 100 * BLOCK_SIZE });
    const refusal = thrownBy(() => pool.write(0, noise(1000)));
    expect(refusal).toBeInstanceOf(EnvironmentFullError);
    expect(refusal.message).toContain('cannot write to pool "pool"');
    expect(thrownBy(() => pool.flush()).message).toContain('an earlier flush failed');
    expect(firstBytes(pool)[0], 'block 0 waits for the flush').toBe(0);
  });
});

const whyNot = whyNoSmallDisk();
if (whyNot !== undefined) console.warn(`skipped, environments on a full disk: ${whyNot}`);

describe.skipIf(whyNot !== undefined)('an environment on a disk that is full', () => {
  let disk: string;
  let environment: LmdbEnvironment;
  beforeEach(() => {
    disk = mkdtempSync(join(tmpdir(), 'pdata-lmdb-disk-'));
    mount(disk, '4m');
    environment = LmdbEnvironment.open(join(disk, 'pools'), { create: true });
    // The library prints a failed commit, besides rejecting.
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await environment.close();
    execFileSync('umount', [disk]);
    rmSync(disk, { recursive: true });
  });

  it.each(['flush', 'flushAsync'] as const)(
    'refuses a %s with one sentence, and stays at the last commit',
    async (how) => {
      const pool = stagedPool(environment);
      const other = environment.createPool('other', { nrBlocks: 1 });
      pool.write(1, noise(1500));
      const refusal = await rejectionOf((async () => pool[how]())());
      expect(refusal).toBeInstanceOf(DeviceError);
      expect(refusal.message).toBe(
        // LMDB takes a write that came out short, which is how this disk becomes full, for an error of the disk.
        `cannot flush pool "pool" in ${disk}/pools: the disk is full or reported an error; ` +
          'see to that, close the environment and open it again',
      );
      expect(refusal.cause).toMatchObject({ code: 5 });
      await expectLastCommit(environment, pool);
      expect(thrownBy(() => other.write(0, blocks(1))).message, 'other pools of the environment').toContain(
        'an earlier commit failed; close the environment',
      );
      await environment.close();
      environment = LmdbEnvironment.open(join(disk, 'pools'));
      const again = environment.openPool('pool');
      again.write(1, noise(100));
      await again.flushAsync();
      expect([again.nrBlocks, firstBytes(again)[0], firstBytes(again)[100]]).toEqual([
        2000,
        1,
        noise(100)[99 * BLOCK_SIZE],
      ]);
    },
  );

  it('fails all flushes that wait, and keeps none of what they cover', async () => {
    const pool = stagedPool(environment);
    pool.write(1, noise(1500));
    const flushes: Promise<Error>[] = [];
    for (let nr = 0; nr < 5; nr++) {
      flushes.push(rejectionOf(pool.flushAsync()));
      pool.write(1600 + nr, blocks(7));
    }
    for (const refusal of await Promise.all(flushes)) expect(refusal.message).toContain('the disk is full or reported');
    await expectLastCommit(environment, pool);
  });

  it('cannot be made there', () => {
    mkdirSync(join(disk, 'second'));
    writeFileSync(join(disk, 'filler'), Buffer.alloc(3 * MIB));
    expect(() => {
      for (let nr = 0; ; nr++) writeFileSync(join(disk, `filler ${nr}`), Buffer.alloc(4096, 1));
    }).toThrow('ENOSPC');
    const path = join(disk, 'second');
    const refusal = thrownBy(() => LmdbEnvironment.open(path, { create: true }));
    expect(refusal.message).toContain(`cannot open ${path} for writing: the disk, or the quota on it, is full`);
  });
});

function mount(directory: string, size: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory], { stdio: 'pipe' });
}

function whyNoSmallDisk(): string | undefined {
  if (process.platform !== 'linux') return 'needs a tmpfs of Linux';
  if (process.geteuid?.() !== 0) return 'mounting a tmpfs needs root';
  const directory = mkdtempSync(join(tmpdir(), 'pdata-lmdb-mount-'));
  try {
    mount(directory, '1m');
    execFileSync('umount', [directory]);
    return undefined;
  } catch (error) {
    return `no tmpfs can be mounted: ${(error as Error).message}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
