/** Snapshots, of volumes in use above all; and creating and deleting many. Scenarios of the kernel's suites in brackets. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  BLOCK,
  bytesOf,
  closeSound,
  type EnginePool,
  newEnginePool,
  quiet,
  rejection,
  shown,
} from '../../test/engine-pools.js';
import { expectSound } from '../../test/pool.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

async function held(): Promise<{
  metadata: MemoryMetadataDevice;
  pool: ThinPool;
  volume: ThinVolume;
  faulty: FaultyDataDevice;
}> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
  const faulty = new FaultyDataDevice(new MemoryDataDevice({ bytes: new Uint8Array(64 * BLOCK) }));
  const pool = await ThinPool.format(metadata, faulty, { dataBlockSize: 128, commitPeriod: 0 });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: 4 * BLOCK });
  return { metadata, pool, volume, faulty };
}

describe('a snapshot of a volume in use', () => {
  it('has zeros of one request whole or not at all, the parts of blocks at their ends included', async () => {
    const { pool, volume, faulty, metadata } = await held();
    await volume.write(0, bytesOf(1, 4 * BLOCK));
    const zeroing = faulty.hold('writeZeroes');
    const inFlight = volume.writeZeroes(512, 3 * BLOCK);
    await zeroing.untilHeld();
    const taken = pool.createSnapshot(1, 0);
    await quiet();
    zeroing.release();
    await Promise.all([inFlight, taken]);
    expect(await shown(await pool.openVolume(1, { size: 4 * BLOCK }))).toEqual([
      [1, 512],
      [0, 3 * BLOCK],
      [1, BLOCK - 512],
    ]);
    await pool.close();
    expectSound(metadata);
  });

  it('waits for writes in flight, holds back those that come, and lets reads go on', async () => {
    const { pool, volume, faulty, metadata } = await held();
    await volume.write(0, bytesOf(1, 4 * BLOCK));
    const writing = faulty.hold('write', { which: (_, length) => length === 512 });
    const inFlight = volume.write(0, bytesOf(2, 512));
    await writing.untilHeld();
    const done: string[] = [];
    const snapshot = pool.createSnapshot(1, 0).then(() => done.push('snapshot'));
    const later = volume.write(BLOCK, bytesOf(3, BLOCK)).then(() => done.push('write'));
    const discard = volume.discard(2 * BLOCK, BLOCK).then(() => done.push('discard'));
    await quiet();
    await volume.read(3 * BLOCK, new Uint8Array(4096));
    await volume.flush();
    expect(done).toEqual([]);
    writing.release();
    await Promise.all([inFlight, snapshot, later, discard]);
    expect(done).toContain('snapshot');
    expect(await shown(await pool.openVolume(1, { size: 4 * BLOCK }))).toEqual([
      [2, 512],
      [1, 4 * BLOCK - 512],
    ]);
    expect(await shown(volume)).toEqual([
      [2, 512],
      [1, BLOCK - 512],
      [3, BLOCK],
      [0, BLOCK],
      [1, BLOCK],
    ]);
    await pool.close();
    expectSound(metadata);
  });

  it('does not hold back other volumes, nor longer than until it is taken', async () => {
    const { pool, volume, faulty } = await held();
    await pool.createThin(5);
    const other = await pool.openVolume(5, { size: BLOCK });
    await volume.write(0, bytesOf(1, BLOCK));
    await other.write(0, bytesOf(1, BLOCK));
    await pool.commit();
    const flushing = faulty.hold('flush');
    const snapshot = pool.createSnapshot(1, 0);
    await flushing.untilHeld(); // its commit
    await other.write(0, bytesOf(2, 512));
    flushing.release();
    await snapshot;
    await volume.write(0, bytesOf(2, 512));
    await pool.close();
  });

  it('has each request whole or not at all', async () => {
    const { pool, volume } = await held();
    let going = true;
    let value = 0;
    const write = async (): Promise<void> => {
      while (going) {
        value = (value % 250) + 1;
        await volume.write(512, bytesOf(value, 3 * BLOCK));
      }
    };
    const writer = write();
    for (let thinId = 1; thinId <= 20; thinId++) {
      await pool.createSnapshot(thinId, 0);
      const snapshot = await pool.openVolume(thinId, { size: 4 * BLOCK });
      const content = await shown(snapshot, 512, 3 * BLOCK);
      expect(content.length, `snapshot ${thinId}`).toBe(1);
      await snapshot.close();
      await pool.deleteThin(thinId);
    }
    going = false;
    await writer;
    await pool.close();
  });

  it('can be taken of a volume that is opened in between, and of one and the same many times at once', async () => {
    const { pool, volume, metadata } = await held();
    await volume.close();
    const snapshots = [1, 2, 3].map((thinId) => pool.createSnapshot(thinId, 0));
    const again = await pool.openVolume(0, { size: 4 * BLOCK });
    await Promise.all([
      ...snapshots,
      again.write(0, bytesOf(1, 512)),
      ...[4, 5].map((id) => pool.createSnapshot(id, 0)),
    ]);
    expect([...pool.thins()].length).toBe(6);
    await pool.close();
    expectSound(metadata);
  });

  it('is refused for an id that exists or an origin that does not (try-and-create-duplicates)', async () => {
    const { pool } = await held();
    expect(await rejection(pool.createSnapshot(0, 0))).toMatchObject({ code: 'ERR_THIN_EXISTS' });
    expect(await rejection(pool.createSnapshot(1, 9))).toMatchObject({ code: 'ERR_NO_SUCH_THIN' });
    expect(await rejection(pool.createThin(0))).toMatchObject({ code: 'ERR_THIN_EXISTS' });
    expect(await rejection(pool.openVolume(9, { size: 512 }))).toMatchObject({ code: 'ERR_NO_SUCH_THIN' });
  });
});

describe('volumes that share', () => {
  it('each keep what they had, whatever is written to the others (pattern-stomper, parallel-io-to-shared-thins)', async () => {
    const all = await newEnginePool({ nrDataBlocks: 256 });
    await all.pool.createThin(0);
    const volumes = [await all.pool.openVolume(0, { size: 16 * BLOCK })];
    const models = [new Uint8Array(16 * BLOCK)];
    let value = 0;
    for (let round = 1; round <= 6; round++) {
      await all.pool.createSnapshot(round, round - 1); // lots-of-recursive-snaps
      volumes.push(await all.pool.openVolume(round, { size: 16 * BLOCK }));
      models.push((models[round - 1] as Uint8Array).slice());
      const writes = volumes.flatMap((volume, nr) =>
        Array.from({ length: 12 }, (_, i) => {
          value = (value % 250) + 1;
          const offset = ((nr * 7 + i * 13 + round * 3) % 30) * (BLOCK / 2);
          const bytes = bytesOf(value, i % 3 === 0 ? BLOCK : 4096);
          models[nr]?.set(bytes, offset);
          return volume.write(offset, bytes);
        }),
      );
      await Promise.all(writes);
    }
    for (const [nr, volume] of volumes.entries()) {
      const into = new Uint8Array(16 * BLOCK);
      await volume.read(0, into);
      expect(Buffer.compare(into, models[nr] as Uint8Array), `volume ${nr}`).toBe(0);
    }
    await closeSound(all);
  });

  it('cost what differs (space-use, many-snapshots-of-same-volume)', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 32 * BLOCK });
    await volume.write(0, bytesOf(1, 16 * BLOCK));
    for (let thinId = 1; thinId <= 50; thinId++) await all.pool.createSnapshot(thinId, 0);
    expect(all.pool.status().nrUsedDataBlocks).toBe(16);
    await volume.write(0, bytesOf(2, BLOCK));
    await (await all.pool.openVolume(50, { size: BLOCK })).write(512, bytesOf(3, 512));
    expect(all.pool.status().nrUsedDataBlocks).toBe(18);
    expect([...all.pool.changedRanges(0, 50)]).toMatchObject([{ begin: 0, end: 1 }]);
    await closeSound(all);
  });

  it('can be deleted in any order, and give everything back (create-many-delete-many, delete-provisioned-thin)', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    for (let thinId = 1; thinId < 30; thinId++) {
      const volume = await all.pool.openVolume(thinId - 1, { size: 40 * BLOCK });
      await volume.write((thinId % 40) * BLOCK, bytesOf(thinId, BLOCK));
      await volume.close();
      await all.pool.createSnapshot(thinId, thinId - 1);
    }
    for (let nr = 0; nr < 30; nr++) await all.pool.deleteThin((nr * 7) % 30);
    expect([...all.pool.thins()]).toEqual([]);
    expect(all.pool.status().nrUsedDataBlocks).toBe(0);
    await closeSound(all);
  });
});

describe('creating', () => {
  it.each([127, 64, 129, 2_097_153, 2_097_280, 0, -128, 1.5])(
    'a pool with data blocks of %d sectors is refused (too-small, too-large, non-power-of-2 block size)',
    async (dataBlockSize) => {
      const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
      const error = await rejection(
        ThinPool.format(metadata, new MemoryDataDevice({ size: BLOCK }), { dataBlockSize }),
      );
      expect(error).toBeInstanceOf(RangeError);
      expect(
        metadata.bytes.every((byte) => byte === 0),
        'not written',
      ).toBe(true);
    },
  );

  it('a pool with the largest data blocks works, and copies them in pieces (largest-block-size-succeeds)', async () => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const data = new MemoryDataDevice({ size: 3 * 2 ** 30 });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 2_097_152 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 2 ** 40 });
    await volume.write(2 ** 30 + 4096, bytesOf(1, 512));
    expect(pool.statusLine()).toContain(' 1/3 ');
    expect(await shown(volume, 2 ** 30, 8192)).toEqual([
      [0, 4096],
      [1, 512],
      [0, 3584],
    ]);
    expect(data.allocatedBytes).toBeLessThan(2 ** 21);
    await pool.close();
  });

  it('a pool whose blocks are not a power of two copies and zeroes all of them', async () => {
    const size = 3 * BLOCK; // 192 KiB
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const data = new MemoryDataDevice({ bytes: bytesOf(0xff, 20 * size + 512) });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 384 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 4 * size });
    await volume.write(size - 512, bytesOf(1, 1024));
    await pool.createSnapshot(1, 0);
    await volume.write(size, bytesOf(2, 512));
    expect(await shown(volume)).toEqual([
      [0, size - 512],
      [1, 512],
      [2, 512],
      [0, 3 * size - 512],
    ]);
    expect([pool.status().nrDataBlocks, volume.hints.preferredSize]).toEqual([20, BLOCK]);
    await pool.close();
    expectSound(metadata);
  });

  it('a pool with blocks of 1.25 MiB, more than a buffer, copies all of them', async () => {
    const size = 20 * BLOCK;
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const pool = await ThinPool.format(metadata, new MemoryDataDevice({ bytes: bytesOf(0xff, 5 * size) }), {
      dataBlockSize: 20 * 128,
    });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 2 * size });
    await volume.write(2 ** 20 - 512, bytesOf(1, 1024));
    await pool.createSnapshot(1, 0);
    await volume.write(2 ** 20, bytesOf(2, 1024));
    expect(await shown(volume, 0, size)).toEqual([
      [0, 2 ** 20 - 512],
      [1, 512],
      [2, 1024],
      [0, size - 2 ** 20 - 1024],
    ]);
    expect(await shown(await pool.openVolume(1, { size }))).toEqual([
      [0, 2 ** 20 - 512],
      [1, 1024],
      [0, size - 2 ** 20 - 512],
    ]);
    await pool.close();
  });

  it('a pool on too small a metadata device is refused (too-small-a-metadata-dev-fails)', async () => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 7 });
    const error = await rejection(
      ThinPool.format(metadata, new MemoryDataDevice({ size: BLOCK }), { dataBlockSize: 128 }),
    );
    expect(error).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
  });

  it('lots of empty volumes and snapshots works (lots-of-empty-thins, lots-of-empty-snaps)', async () => {
    const all = await newEnginePool({ nrMetadataBlocks: 1024 });
    for (let thinId = 0; thinId < 100; thinId++) await all.pool.createThin(thinId);
    for (let thinId = 100; thinId < 200; thinId++) await all.pool.createSnapshot(thinId, 3);
    expect([...all.pool.thins()].length).toBe(200);
    await closeSound(all);
  });

  it('a second pool on the same metadata is refused (two_pools_pointing_to_the_same_metadata_fails)', async () => {
    const all: EnginePool = await newEnginePool();
    expect(await rejection(ThinPool.open(all.metadata, all.data))).toMatchObject({ code: 'ERR_DEVICE_BUSY' });
    await closeSound(all);
  });

  it('a pool on a volume of another pool works (stacked_pools)', async () => {
    const below = await newEnginePool({ nrDataBlocks: 128, nrMetadataBlocks: 512 });
    await below.pool.createThin(0);
    const data = await below.pool.openVolume(0, { size: 100 * BLOCK });
    const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 64 * BLOCK });
    await volume.write(512, bytesOf(1, 10 * BLOCK));
    await pool.createSnapshot(1, 0);
    await below.pool.createSnapshot(1, 0);
    await volume.write(0, bytesOf(2, BLOCK));
    await volume.discard(BLOCK, 4 * BLOCK);
    await volume.flush();
    expect(await shown(volume)).toEqual([
      [2, BLOCK],
      [0, 4 * BLOCK],
      [1, 5 * BLOCK + 512],
      [0, 54 * BLOCK - 512],
    ]);
    await pool.close();
    await closeSound(below);
  });
});
