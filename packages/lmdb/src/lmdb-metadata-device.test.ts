/** The device on LMDB: the contract of every metadata device, and what is special about this one. */
import { BLOCK_SIZE, ClosedError, DeviceError, MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { metadataDeviceConformance, seededRandom } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blocks, bytesOf, firstBytes, rejectionOf, thrownBy } from '../test/blocks.js';
import { type TemporaryEnvironment, temporaryEnvironment } from '../test/temporary-environment.js';
import { LmdbEnvironment } from './environment.js';
import { poolKey } from './layout.js';
import { type LmdbDatabase, loadLmdb } from './lmdb-library.js';

describe.each([
  { kind: 'a device in an environment of many pools', maxStagedBytes: undefined, nrRandomWorkloads: 40 },
  { kind: 'a device that spills after every other block', maxStagedBytes: 2 * BLOCK_SIZE, nrRandomWorkloads: 10 },
])('$kind', ({ maxStagedBytes, nrRandomWorkloads }) => {
  const { environment, end } = temporaryEnvironment();
  afterAll(end);
  let nrPools = 0;
  const cases = metadataDeviceConformance({
    create: (nrBlocks) =>
      environment.createPool(`pool ${++nrPools}`, {
        nrBlocks,
        ...(maxStagedBytes === undefined ? {} : { maxStagedBytes }),
      }),
    reopen: (closed, mode) => environment.openPool(/"(.*)"/.exec(closed.name)?.[1] ?? '', { mode }),
    nrRandomWorkloads,
  });
  for (const { name, run } of cases) it(name, run);
});

let temporary: TemporaryEnvironment;
let environment: LmdbEnvironment;
beforeEach(() => {
  temporary = temporaryEnvironment();
  ({ environment } = temporary);
});
afterEach(() => temporary.end());

describe('a flush', () => {
  it('says that it is a transaction', () => {
    expect(environment.createPool('pool', { nrBlocks: 3 }).flushIsAtomic).toBe(true);
  });

  it('makes all that was written since the last one visible at once, nothing before it', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 4 });
    pool.write(1, blocks(1, 1));
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([0, 0, 0, 0]);
    await pool.flushAsync();
    pool.write(2, blocks(2, 2));
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([0, 1, 1, 0]);
    pool.flush();
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([0, 1, 2, 2]);
  });

  it('leaves what is written while it runs to the next one', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 3 });
    pool.write(0, blocks(1, 1));
    const flushed = pool.flushAsync();
    pool.write(1, blocks(2, 2));
    expect(firstBytes(pool)).toEqual([1, 2, 2]);
    await flushed;
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([1, 1, 0]);
    pool.close();
    expect(firstBytes(environment.openPool('pool')), 'the rest was never flushed').toEqual([1, 1, 0]);
  });

  it('does not wait for the disk, and lets timers run meanwhile', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 3000 });
    pool.write(0, new Uint8Array(3000 * BLOCK_SIZE).fill(1));
    let isFlushed = false;
    const flushed = pool.flushAsync().then(() => {
      isFlushed = true;
    });
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))[0], 'nothing is committed yet').toBe(0);
    let nrTurns = 0;
    while (!isFlushed) {
      await new Promise((resolve) => setImmediate(resolve));
      nrTurns++;
    }
    await flushed;
    expect(nrTurns).toBeGreaterThan(1);
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))[2999]).toBe(1);
  });

  it('covers what was written before it, however flushes of both kinds follow each other', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 8 });
    const random = seededRandom(7);
    const below = (limit: number): number => Math.floor(random() * limit);
    const model = new Array<number>(8).fill(0);
    const pending: Promise<void>[] = [];
    const reader = environment.openPool('pool', { mode: 'read' });
    for (let step = 1; step <= 600; step++) {
      const [at, value] = [below(8), 1 + (step % 255)];
      pool.write(at, blocks(value));
      model[at] = value;
      const chosen = below(6);
      if (chosen === 0) {
        pool.flush();
        reader.refresh();
        expect(firstBytes(reader), `seed 7, step ${step}`).toEqual(model);
      } else if (chosen <= 2) {
        pending.push(pool.flushAsync());
      } else if (chosen === 3) await new Promise((resolve) => setImmediate(resolve));
      else if (chosen === 4 && pending.length > 0) {
        await pending.at(-1);
      }
      expect(firstBytes(pool), `seed 7, step ${step}`).toEqual(model);
    }
    await Promise.all(pending);
    await pool.flushAsync();
    reader.refresh();
    expect(firstBytes(reader)).toEqual(model);
  });

  it('is over when the device has been closed, and then its pool can be opened again at once', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 3 });
    pool.write(0, blocks(1, 1, 1));
    const flushed = pool.flushAsync();
    pool.write(2, blocks(9));
    pool.close();
    const again = environment.openPool('pool');
    expect(firstBytes(again)).toEqual([1, 1, 1]);
    again.write(0, blocks(2));
    again.flush();
    await flushed;
    await again.flushAsync();
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([2, 1, 1]);
  });

  it('ends before the environment is closed', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 3 });
    pool.write(0, blocks(5, 5, 5));
    const flushed = pool.flushAsync();
    await environment.close();
    await flushed;
    expect(thrownBy(() => pool.read(0, blocks(0)))).toBeInstanceOf(ClosedError);
    const again = LmdbEnvironment.open(temporary.path);
    expect(firstBytes(again.openPool('pool'))).toEqual([5, 5, 5]);
    await again.close();
  });

  it('grows the pool in the same transaction', () => {
    const pool = environment.createPool('pool', { nrBlocks: 2 });
    pool.grow(5);
    pool.write(4, blocks(4));
    expect(environment.openPool('pool', { mode: 'read' }).nrBlocks).toBe(2);
    pool.flush();
    const reader = environment.openPool('pool', { mode: 'read' });
    expect([reader.nrBlocks, firstBytes(reader)]).toEqual([5, [0, 0, 0, 0, 4]]);
  });

  it('refuses to follow a writer that came without the lock', async () => {
    const pool = environment.createPool('pool', { nrBlocks: 2 });
    pool.write(0, blocks(1, 1));
    pool.flush();
    // What only a writer on a file system without locks could do.
    await intrude('pool');
    pool.write(0, blocks(2, 2));
    const refusal = await rejectionOf(pool.flushAsync());
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toContain('somebody else has written to it without its lock; nothing of ours was written');
    expect(thrownBy(() => pool.flush()).message).toContain('an earlier flush failed');
    expect(firstBytes(environment.openPool('pool', { mode: 'read' }))).toEqual([1, 1]);
  });
});

/** Gives the pool's entry a commit number that its writer does not expect. */
async function intrude(poolName: string): Promise<void> {
  const binary = { encoding: 'binary', keyEncoding: 'binary' };
  const root = loadLmdb().open(temporary.path, { ...binary, noSubdir: false, overlappingSync: false });
  const pdata = root.openDB('pdata', { ...binary, useVersions: true }) as LmdbDatabase;
  const entry = pdata.getEntry(poolKey(poolName));
  root.transactionSync(() => void pdata.put(poolKey(poolName), entry?.value as Uint8Array, 999));
  await root.close();
}

describe('a reader', () => {
  it('shows one commit until it is refreshed, through blocks and size alike', () => {
    const pool = environment.createPool('pool', { nrBlocks: 3 });
    pool.write(0, blocks(1, 1, 1));
    pool.flush();
    const reader = environment.openPool('pool', { mode: 'read' });
    for (let value = 2; value < 40; value++) {
      pool.write(0, blocks(value, value, value));
      if (value === 20) pool.grow(4);
      pool.flush();
      expect(firstBytes(reader)).toEqual([1, 1, 1]);
    }
    reader.refresh();
    expect(firstBytes(reader)).toEqual([39, 39, 39, 0]);
  });

  it('keeps its commit when its pool is deleted, and says so when it is refreshed', () => {
    const pool = environment.createPool('pool', { nrBlocks: 2 });
    pool.write(0, blocks(1, 1));
    pool.flush();
    const reader = environment.openPool('pool', { mode: 'read' });
    pool.close();
    environment.deletePool('pool');
    environment.createPool('pool', { nrBlocks: 7 });
    expect(firstBytes(reader)).toEqual([1, 1]);
    const refusal = thrownBy(() => reader.refresh());
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toBe(`cannot read pool "pool" in ${temporary.path}: it has been deleted`);
    expect(firstBytes(reader)).toEqual([1, 1]);
  });

  it('keeps freed space from being reused, is listed with its age, and gives the space back when it refreshes', () => {
    const pool = environment.createPool('pool', { nrBlocks: 100 });
    const rewrite = (nr: number): void => {
      for (let i = 0; i < nr; i++) {
        pool.write(0, new Uint8Array(100 * BLOCK_SIZE).fill(1 + (i % 200)));
        pool.flush();
      }
    };
    rewrite(5);
    const before = environment.size;
    rewrite(10);
    expect(environment.size, 'without a reader, space is reused').toBeLessThan(before * 1.5);
    const reader = environment.openPool('pool', { mode: 'read' });
    rewrite(10);
    const grown = environment.size;
    expect(grown).toBeGreaterThan(before * 2);
    const oldest = environment.readers()[0];
    expect(oldest?.processId).toBe(process.pid);
    expect(oldest?.nrCommitsBehind).toBeGreaterThanOrEqual(10);
    reader.refresh();
    expect(environment.readers()[0]?.nrCommitsBehind ?? 0).toBeLessThanOrEqual(1);
    rewrite(10);
    expect(environment.size).toBeLessThan(grown * 1.1);
  });
});

describe('space', () => {
  it('is not taken by blocks that were never written, or are zero', () => {
    const pool = environment.createPool('pool', { nrBlocks: 4_000_000 });
    expect(environment.size).toBeLessThan(100_000);
    pool.write(0, new Uint8Array(1000 * BLOCK_SIZE).fill(1));
    pool.flush();
    const full = environment.size;
    expect(full / (1000 * BLOCK_SIZE), 'overhead of LMDB for random blocks').toBeLessThan(1.1);
    pool.write(0, new Uint8Array(1000 * BLOCK_SIZE));
    pool.write(1000, new Uint8Array(1000 * BLOCK_SIZE));
    pool.flush();
    pool.write(2000, new Uint8Array(900 * BLOCK_SIZE).fill(2));
    pool.flush();
    pool.write(3000, new Uint8Array(900 * BLOCK_SIZE).fill(2));
    pool.flush();
    expect(environment.size, 'zeroed blocks gave their space to others').toBeLessThan(full * 2);
  });

  it('of a run with holes of any length reads as zeroes', () => {
    const pool = environment.createPool('pool', { nrBlocks: 400 });
    const model = new Array<number>(400).fill(0);
    const random = seededRandom(3);
    for (let nr = 0; nr < 400; nr += 1 + Math.floor(random() ** 4 * 60)) {
      model[nr] = 1 + (nr % 250);
      pool.write(nr, blocks(model[nr] as number));
      if (nr === 150 || nr > 300) pool.flush();
    }
    expect(firstBytes(pool)).toEqual(model);
    pool.flush();
    for (const [first, nr] of [
      [0, 400],
      [13, 200],
      [399, 1],
    ] as const) {
      const run = new Uint8Array(nr * BLOCK_SIZE).fill(0xa5);
      environment.openPool('pool', { mode: 'read' }).read(first, run);
      expect(Array.from({ length: nr }, (_, index) => run[(index + 1) * BLOCK_SIZE - 1])).toEqual(
        model.slice(first, first + nr),
      );
    }
  });
});

describe('thin metadata on it', () => {
  it.each([
    { how: 'in memory as usual', maxStagedBytes: 2 ** 25, cacheBlocks: 16384 },
    { how: 'with transactions larger than cache and stage', maxStagedBytes: 64 * BLOCK_SIZE, cacheBlocks: 40 },
  ])(
    'is the same, block by block, as in memory after the same operations, $how',
    async ({ maxStagedBytes, cacheBlocks }) => {
      const memory = new MemoryMetadataDevice({ nrBlocks: 1024 });
      const pool = environment.createPool('pool', { nrBlocks: 1024, maxStagedBytes });
      const reader = environment.openPool('pool', { mode: 'read' });
      for await (const states of bothWays([memory, pool], cacheBlocks)) {
        reader.refresh();
        const [inMemory, onLmdb] = states.map(bytesOf) as [Uint8Array, Uint8Array];
        expect(Buffer.compare(inMemory, onLmdb), 'what was written').toBe(0);
        expect(Buffer.compare(bytesOf(reader), onLmdb), 'what is committed').toBe(0);
        expect([...checkThin(reader)]).toEqual([]);
      }
    },
  );
});

/** Does the same to metadata on each device, and yields after each commit. */
async function* bothWays(devices: MetadataDevice[], cacheBlocks: number): AsyncGenerator<MetadataDevice[]> {
  const pools = devices.map((device) =>
    ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks: 50_000, cacheBlocks }),
  );
  yield devices;
  for (let round = 0; round < 6; round++) {
    for (const metadata of pools) {
      const random = seededRandom(round);
      if (round === 0) metadata.createThin(0);
      else metadata.createSnapshot(round, round - 1);
      for (let i = 0; i < 2000; i++) {
        metadata.insert(round, Math.floor(random() * 40_000), metadata.allocateDataBlock());
      }
      if (round === 4) metadata.deleteDevice(1);
      if (round % 2 === 0) metadata.commit();
      else await metadata.commitAsync();
    }
    yield devices;
  }
}
