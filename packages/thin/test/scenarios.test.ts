/**
 * Scenarios of the suites that test the kernel's pools (dmtest-python, device-mapper-test-suite), by their names, as far as no
 * test beside the engine bears the name. Each ends with a check of all the metadata: no leak, each count as a walk finds it.
 */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { ThinMetadata, ThinPool, type ThinVolume } from '../src/index.js';
import { runCheck, verdictOf } from './check-runs.js';
import { BLOCK, bytesOf, closeSound, type EnginePool, newEnginePool, quiet, rejection, shown } from './engine-pools.js';
import { expectSound } from './pool.js';

const SEED = 20_261_128;

async function poolWithVolume(
  nrBlocks: number,
  options: Parameters<typeof newEnginePool>[0] = {},
): Promise<EnginePool & { volume: ThinVolume }> {
  const all = await newEnginePool(options);
  await all.pool.createThin(0);
  return { ...all, volume: await all.pool.openVolume(0, { size: nrBlocks * BLOCK }) };
}

describe('creation and deletion', () => {
  it('lots-of-recursive-snaps: each of the one before, the one in the middle still holding what it was taken of', async () => {
    const { volume, ...all } = await poolWithVolume(4, { nrMetadataBlocks: 1024 });
    await volume.write(0, bytesOf(1, 4 * BLOCK));
    for (let thinId = 1; thinId <= 100; thinId++) {
      await all.pool.createSnapshot(thinId, thinId - 1);
      if (thinId === 50) await volume.write(0, bytesOf(2, BLOCK));
    }
    expect(all.pool.status().nrUsedDataBlocks).toBe(5);
    for (let thinId = 1; thinId <= 99; thinId++) await all.pool.deleteThin(thinId);
    const last = await all.pool.openVolume(100, { size: 4 * BLOCK });
    expect(await shown(last)).toEqual([[1, 4 * BLOCK]]);
    await closeSound(all);
  });

  it('create-delete-cycle: an id can be had again and again, and comes back empty', async () => {
    const all = await newEnginePool({ nrDataBlocks: 8 });
    for (let round = 0; round < 50; round++) {
      await all.pool.createThin(7);
      const volume = await all.pool.openVolume(7, { size: 8 * BLOCK });
      expect(await shown(volume, 0, BLOCK)).toEqual([[0, BLOCK]]);
      await volume.write(0, bytesOf(1 + round, 6 * BLOCK)); // more than half of the pool: the last round's must be free again
      await volume.close();
      await all.pool.deleteThin(7);
      await all.pool.commit();
    }
    expect(all.pool.status().nrUsedDataBlocks).toBe(0);
    await closeSound(all);
  });

  it('create-delete-rolling: a thousand volumes, twenty at a time, cost what twenty do', async () => {
    const all = await newEnginePool({ nrMetadataBlocks: 256, nrDataBlocks: 32 });
    for (let thinId = 0; thinId < 1000; thinId++) {
      await all.pool.createThin(thinId);
      const volume = await all.pool.openVolume(thinId, { size: BLOCK });
      await volume.write(0, bytesOf(1, 512));
      await volume.close();
      if (thinId >= 20) await all.pool.deleteThin(thinId - 20);
    }
    expect([...all.pool.thins()].length).toBe(20);
    expect(all.pool.status().nrUsedDataBlocks).toBe(20);
    await closeSound(all);
  });
});

describe('snapshots', () => {
  it('many-snaps-with-changes, ref-count-tree: counts beyond what a bitmap holds go up and come down again', async () => {
    const { volume, ...all } = await poolWithVolume(16, { nrMetadataBlocks: 1024, nrDataBlocks: 512 });
    await volume.write(0, bytesOf(1, 16 * BLOCK));
    const random = seededRandom(SEED);
    for (let thinId = 1; thinId <= 40; thinId++) {
      await all.pool.createSnapshot(thinId, 0);
      const block = Math.floor(random() * 16);
      await volume.write(block * BLOCK + 512, bytesOf(1 + thinId, 512));
    }
    await all.pool.commit();
    expectSound(all.metadata, `40 snapshots, seed ${SEED}`);
    expect(all.pool.status().nrUsedDataBlocks).toBe(16 + 40);
    for (let thinId = 1; thinId <= 40; thinId += 2) await all.pool.deleteThin(thinId);
    await all.pool.commit();
    expectSound(all.metadata, `half of them deleted, seed ${SEED}`);
    for (let thinId = 2; thinId <= 40; thinId += 2) await all.pool.deleteThin(thinId);
    await all.pool.commit();
    expect(all.pool.status().nrUsedDataBlocks).toBe(16);
    await closeSound(all);
  });

  it.each([1, 2, 3, 4, 5])('snap_with_single_block_difference%i: exactly the changed blocks are told', async (nr) => {
    const { volume, ...all } = await poolWithVolume(32);
    await volume.write(0, bytesOf(1, 32 * BLOCK));
    await all.pool.createSnapshot(1, 0);
    const blocks = Array.from({ length: nr }, (_, index) => 3 + 6 * index);
    for (const block of blocks) await volume.write(block * BLOCK, bytesOf(2, 512));
    const ranges = [...all.pool.changedRanges(0, 1)].map(({ begin, end }) => [begin, end]);
    expect(ranges).toEqual(blocks.map((block) => [block, block + 1]));
    await closeSound(all);
  });
});

describe('discards', () => {
  it('discard_single_block, discard_random_sectors: no other sector changes, and only whole blocks are given back', async () => {
    const { volume, ...all } = await poolWithVolume(16);
    await volume.write(0, bytesOf(1, 16 * BLOCK));
    await volume.discard(5 * BLOCK, BLOCK);
    expect(volume.status().nrMappedBlocks).toBe(15);
    const random = seededRandom(SEED);
    const isMapped = Array.from({ length: 16 }, (_, block) => block !== 5);
    for (let round = 0; round < 100; round++) {
      const begin = Math.floor(random() * 16 * 128);
      const end = begin + 1 + Math.floor(random() * (16 * 128 - begin) * 0.2);
      await volume.discard(begin * 512, (end - begin) * 512);
      for (let block = Math.ceil(begin / 128); block < Math.floor(end / 128); block++) isMapped[block] = false;
    }
    for (const [block, mapped] of isMapped.entries())
      expect(await shown(volume, block * BLOCK, BLOCK), `block ${block}, seed ${SEED}`).toEqual([
        [mapped ? 1 : 0, BLOCK],
      ]);
    expect(volume.status().nrMappedBlocks).toBe(isMapped.filter(Boolean).length);
    await closeSound(all);
  });

  it('discard_then_delete_thin: in one transaction, nothing is given back twice', async () => {
    const { volume, ...all } = await poolWithVolume(16);
    await volume.write(0, bytesOf(1, 16 * BLOCK));
    await all.pool.createSnapshot(1, 0);
    await all.pool.commit();
    await volume.discard(2 * BLOCK, 9 * BLOCK);
    await volume.close();
    await all.pool.deleteThin(0);
    await all.pool.commit();
    expect(all.pool.status().nrUsedDataBlocks).toBe(16);
    expect(await shown(await all.pool.openVolume(1, { size: 16 * BLOCK }))).toEqual([[1, 16 * BLOCK]]);
    await closeSound(all);
  });
});

describe('the metadata snapshot', () => {
  it('hold_release_cycle_empty_pool, metadata_snap_cycle: gives everything back each time', async () => {
    const { volume, ...all } = await poolWithVolume(32);
    const used = async (): Promise<number> => {
      await all.pool.commit();
      return all.pool.status().nrUsedMetadataBlocks;
    };
    await all.pool.reserveMetadataSnapshot();
    await all.pool.releaseMetadataSnapshot();
    const [empty, usedBy] = [await used(), [] as number[]];
    for (let round = 0; round < 20; round++) {
      await all.pool.reserveMetadataSnapshot();
      await volume.write(0, bytesOf(1 + round, 32 * BLOCK));
      await volume.discard(0, 32 * BLOCK);
      await all.pool.releaseMetadataSnapshot();
      usedBy.push(await used());
    }
    expect(new Set(usedBy)).toEqual(new Set([empty]));
    await closeSound(all);
  });

  it('thin_check_passes_with_a_held_root, metadata_snap_with_live_pool: it stays as it was while the pool goes on', async () => {
    const { volume, ...all } = await poolWithVolume(16);
    await volume.write(0, bytesOf(1, 8 * BLOCK));
    await all.pool.reserveMetadataSnapshot();
    for (let round = 0; round < 8; round++) {
      await volume.write((round + 8) * BLOCK, bytesOf(2, BLOCK));
      await volume.discard(round * BLOCK, BLOCK);
      await all.pool.commit();
      const reader = new MemoryMetadataDevice({ bytes: all.metadata.bytes.slice(), readOnly: true });
      expect(verdictOf(runCheck(reader)), `round ${round}`).toBe('clean');
      const held = expectSound(all.metadata, `round ${round}`).held?.get(0);
      expect(Array.from(held?.mappings.keys() ?? []), `round ${round}`).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    }
    await all.pool.releaseMetadataSnapshot();
    await closeSound(all);
  });
});

describe('growth and the lack of space', () => {
  it('resize_no_io: metadata and data grow step by step, and all of both can be used', async () => {
    const all = await newEnginePool({ nrMetadataBlocks: 64, nrDataBlocks: 4 });
    await all.pool.createThin(0);
    for (let step = 1; step <= 8; step++) {
      all.metadata.grow(64 + 32 * step);
      await all.data.grow((4 + 4 * step) * BLOCK);
      await all.pool.resume();
    }
    expect(all.pool.status()).toMatchObject({ nrMetadataBlocks: 320, nrDataBlocks: 36 });
    const volume = await all.pool.openVolume(0, { size: 36 * BLOCK });
    await volume.write(0, bytesOf(1, 36 * BLOCK));
    expect(all.pool.status().nrUsedDataBlocks).toBe(36);
    await closeSound(all);
  });

  it('resize_after_OODS_error_immediately: what failed before the growth succeeds after it', async () => {
    const { volume, ...all } = await poolWithVolume(8, { nrDataBlocks: 4, errorIfNoSpace: true });
    await volume.write(0, bytesOf(1, 4 * BLOCK));
    expect(await rejection(volume.write(4 * BLOCK, bytesOf(2, BLOCK)))).toMatchObject({ code: 'ERR_NO_SPACE' });
    await all.data.grow(8 * BLOCK);
    await all.pool.resume();
    await volume.write(4 * BLOCK, bytesOf(2, 4 * BLOCK));
    expect(await shown(volume)).toEqual([
      [1, 4 * BLOCK],
      [2, 4 * BLOCK],
    ]);
    await closeSound(all);
  });

  it('filling_thin_device_returns_enospc: a volume ends where it ends, whatever the pool has left', async () => {
    const { volume, ...all } = await poolWithVolume(2);
    await volume.write(0, bytesOf(1, 2 * BLOCK));
    expect(await rejection(volume.write(2 * BLOCK, bytesOf(2, 512)))).toBeInstanceOf(RangeError);
    expect(await rejection(volume.write(BLOCK, bytesOf(2, BLOCK + 512)))).toBeInstanceOf(RangeError);
    expect(await shown(volume), 'nothing of it was written').toEqual([[1, 2 * BLOCK]]);
    await closeSound(all);
  });

  it('thin_exhaust_metadata_big: random writes until no metadata is left; what was flushed is there, and growth brings it back', async () => {
    const size = 2 ** 36;
    const metadata = new MemoryMetadataDevice({ nrBlocks: 96 });
    const data = new MemoryDataDevice({ size });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0, skipBlockZeroing: true });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size });
    const random = seededRandom(SEED);
    const flushed = new Map<number, number>();
    let written = new Map<number, number>();
    while (pool.mode === 'write') {
      const block = Math.floor(random() * (size / BLOCK));
      const value = 1 + Math.floor(random() * 255);
      const isDone = await volume.write(block * BLOCK, bytesOf(value, 512)).then(
        () => true,
        () => false,
      );
      if (isDone) written.set(block, value);
      if (written.size < 20) continue;
      const isFlushed = await volume.flush().then(
        () => true,
        () => false,
      );
      if (isFlushed) for (const [each, byte] of written) flushed.set(each, byte);
      written = new Map();
    }
    expect(pool.mode).toBe('out_of_metadata_space');
    expect(flushed.size).toBeGreaterThan(200);
    metadata.grow(512);
    await pool.resume();
    expect(pool.mode).toBe('write');
    for (const [block, value] of flushed)
      expect(await shown(volume, block * BLOCK, 512), `block ${block}, seed ${SEED}`).toEqual([[value, 512]]);
    for (let nr = 0; nr < 100; nr++) await volume.write(Math.floor(random() * (size / BLOCK)) * BLOCK, bytesOf(1, 512));
    await volume.flush();
    await closeSound({ pool, metadata, data });
  });
});

describe('a commit that fails', () => {
  it('aborting_a_fresh_pool: leaves a fresh pool', async () => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 64 });
    const metadata = new FaultyMetadataDevice(memory);
    const data = new MemoryDataDevice({ size: 16 * BLOCK });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
    metadata.inject({ operation: 'write', nth: metadata.nrDone('write') + 1, andLater: true });
    await pool.createThin(0).catch(() => {});
    await pool.commit().catch(() => {});
    expect(pool.mode).toBe('read_only');
    metadata.heal();
    await pool.close();
    expectSound(memory);
    const left = ThinMetadata.open(memory);
    expect([...left.devices()]).toEqual([]);
    expect(left.needsCheck).toBe(true);
    left.close();
  });

  it('aborting_during_io: every write that was answered before the last good flush is there, every other request ends', async () => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 256 });
    const metadata = new FaultyMetadataDevice(memory);
    const data = new MemoryDataDevice({ size: 64 * BLOCK });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 64 * BLOCK });
    await volume.write(0, bytesOf(1, 16 * BLOCK));
    await volume.flush();
    const inFlight = Array.from({ length: 16 }, (_, nr) => volume.write((16 + nr) * BLOCK, bytesOf(2, 512)));
    await inFlight[0]; // one of them has its block, so there is something to commit
    metadata.inject({ operation: 'write', nth: metadata.nrDone('write') + 1, andLater: true });
    expect(await rejection(volume.flush())).toMatchObject({ code: 'ERR_COMMIT' });
    await quiet();
    expect((await Promise.allSettled([...inFlight, volume.write(0, bytesOf(3, 512))])).length).toBe(17);
    expect(await shown(volume, BLOCK, 63 * BLOCK)).toEqual([
      [1, 15 * BLOCK],
      [0, 48 * BLOCK],
    ]);
    metadata.heal();
    await pool.close();
    expectSound(memory);
  });
});

it('initial_trans_id_is_zero, set_trans_id_works: and it is there after the pool was opened again', async () => {
  const all = await newEnginePool();
  expect(all.pool.status().transactionId).toBe(0n);
  await all.pool.setTransactionId(0n, 123n);
  expect(await rejection(all.pool.setTransactionId(0n, 5n))).toMatchObject({ code: expect.stringMatching(/^ERR_/) });
  await all.pool.close();
  const again = await ThinPool.open(all.metadata, all.data);
  expect(again.status().transactionId).toBe(123n);
  await again.close();
});
