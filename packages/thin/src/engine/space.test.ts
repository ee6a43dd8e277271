/** Out of data space, out of metadata space, low water marks, growth: docs/format/thin.md, sections 6 to 8. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { ManualTimers } from '@pdata/testing';
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
import type { ThinPoolOptions } from './options.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

interface Full extends EnginePool {
  readonly volume: ThinVolume;
  readonly timers: ManualTimers;
  readonly modes: string[];
}

/** A pool of 4 blocks, all of them written to volume 0 of 8 blocks. */
async function full(options: Partial<ThinPoolOptions> = {}): Promise<Full> {
  const timers = new ManualTimers();
  const all = await newEnginePool({ nrDataBlocks: 4, timers, ...options });
  const modes: string[] = [];
  all.pool.on('mode', ({ reason }) => modes.push(reason));
  await all.pool.createThin(0);
  const volume = await all.pool.openVolume(0, { size: 8 * BLOCK });
  await volume.write(0, bytesOf(1, 4 * BLOCK));
  return { ...all, volume, timers, modes };
}

/** What has become of a promise so far. */
function watched(work: Promise<void>): { state: string; ended: Promise<void> } {
  const watch = { state: 'waits', ended: Promise.resolve() };
  watch.ended = work.then(
    () => {
      watch.state = 'done';
    },
    (error: Error & { code?: string }) => {
      watch.state = error.code ?? error.message;
    },
  );
  return watch;
}

describe('a pool without a free data block', () => {
  it('fails writes at once if it is to (out_of_data_space_errors_immediately_if_requested, filling_pool_returns_enospc)', async () => {
    const all = await full({ errorIfNoSpace: true });
    const error = await rejection(all.volume.write(4 * BLOCK, bytesOf(2, 512)));
    expect(error).toMatchObject({ code: 'ERR_NO_SPACE', of: 'data' });
    expect(all.modes).toEqual(['switching pool to out-of-data-space (error IO) mode: no data block is free']);
    expect(all.pool.statusLine()).toContain(' 4/4 - out_of_data_space discard_passdown error_if_no_space - ');
    await closeSound(all);
  });

  it('lets writes wait otherwise, and fails them when time is up (out_of_data_space_times_out)', async () => {
    const all = await full();
    const write = watched(all.volume.write(4 * BLOCK, bytesOf(2, 512)));
    await quiet();
    expect(write.state).toBe('waits');
    expect(all.modes).toEqual(['switching pool to out-of-data-space (queue IO) mode: no data block is free']);
    expect(all.pool.status()).toMatchObject({ noSpace: 'queue_if_no_space', nrWaitingForSpace: 1 });
    all.timers.pass(59_999);
    await quiet();
    expect(write.state).toBe('waits');
    all.timers.pass(1);
    await write.ended;
    expect(write.state).toBe('ERR_NO_SPACE');
    expect(all.pool.statusLine()).toContain(' out_of_data_space discard_passdown error_if_no_space - ');
    const late = await rejection(all.volume.write(5 * BLOCK, bytesOf(2, 512)));
    expect(late, 'nobody waits any more').toMatchObject({ code: 'ERR_NO_SPACE' });
    await all.data.grow(8 * BLOCK);
    await all.pool.resume(); // resize_after_OODS_held_io_timed_out_preload
    expect(all.pool.statusLine()).toContain(' 4/8 - rw discard_passdown queue_if_no_space - ');
    await all.volume.write(4 * BLOCK, bytesOf(2, 4 * BLOCK));
    await closeSound(all);
  });

  it('waits for ever with a timeout of 0', async () => {
    const { volume, timers } = await full({ noSpaceTimeout: 0 });
    const write = watched(volume.write(4 * BLOCK, bytesOf(2, 512)));
    await quiet();
    expect(timers.nrWaiting).toBe(0);
    timers.pass(2 ** 31);
    await quiet();
    expect(write.state).toBe('waits');
    await volume.close();
    await write.ended;
    expect(write.state, 'given up when the volume is closed').toBe('ERR_NO_SPACE');
  });

  it('goes on with the writes that wait when it has grown (resize_after_OODS_held_io)', async () => {
    const all = await full();
    const writes = [4, 5, 6].map((block) => watched(all.volume.write(block * BLOCK, bytesOf(block, 512))));
    await quiet();
    await all.data.grow(8 * BLOCK + 4096); // the part of a block is not used: extra_data_space_must_not_be_used
    await all.pool.resume();
    await Promise.all(writes.map(({ ended }) => ended));
    expect(writes.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
    expect(all.modes.at(-1)).toBe('switching pool to write mode: the pool was resumed');
    expect(all.timers.nrWaiting, 'no time runs any more').toBe(0);
    expect(all.pool.status()).toMatchObject({ nrDataBlocks: 8, nrUsedDataBlocks: 7 });
    await closeSound(all);
  });

  it('goes on with them when something is discarded, or deleted', async () => {
    const all = await full();
    const writes = [4, 5].map((block) => watched(all.volume.write(block * BLOCK, bytesOf(block, 512))));
    await quiet();
    await all.volume.discard(0, BLOCK);
    await all.pool.commit();
    await quiet();
    expect(writes.map(({ state }) => state).sort()).toEqual(['done', 'waits']);
    await all.volume.discard(BLOCK, BLOCK);
    await all.volume.flush();
    await Promise.all(writes.map(({ ended }) => ended));
    expect(writes.map(({ state }) => state)).toEqual(['done', 'done']);
    await closeSound(all);
  });

  it('still reads, and writes where there are blocks (io_to_provisioned_region_with_OODS_held_io)', async () => {
    const all = await full();
    const waits = watched(all.volume.write(4 * BLOCK, bytesOf(2, 512)));
    await quiet();
    await all.volume.write(512, bytesOf(3, 512));
    await all.volume.flush();
    expect(await shown(all.volume, 0, BLOCK)).toEqual([
      [1, 512],
      [3, 512],
      [1, BLOCK - 1024],
    ]);
    expect(await shown(all.volume, 4 * BLOCK, 512), 'the block that is waited for').toEqual([[0, 512]]);
    expect(waits.state).toBe('waits');
    await all.pool.createSnapshot(1, 0); // what waits holds nothing up
    await all.pool.close();
    await waits.ended;
    expect(waits.state).toBe('ERR_NO_SPACE');
    expectSound(all.metadata);
  });

  it('goes back to waiting when it is resumed and nothing has grown', async () => {
    const all = await full();
    const write = watched(all.volume.write(4 * BLOCK, bytesOf(2, 512)));
    await quiet();
    await all.pool.resume();
    await quiet();
    expect([write.state, all.pool.mode]).toEqual(['waits', 'out_of_data_space']);
    await all.volume.close();
    await write.ended;
    await closeSound(all);
  });
});

describe('a pool that opens', () => {
  it('on a data device that shrank, is refused (data_cannot_be_smaller_than_pool_on_initial_load)', async () => {
    const { metadata, pool, data } = await newEnginePool({ nrDataBlocks: 8 });
    await pool.close();
    const smaller = new MemoryDataDevice({ size: 8 * BLOCK - 512 });
    const error = await rejection(ThinPool.open(metadata, smaller));
    expect(error).toMatchObject({ code: 'ERR_RESIZE', message: 'pool target (7 blocks) too small: expected 8' });
    await (await ThinPool.open(metadata, data)).close();
  });

  it('on a metadata device that shrank, is refused', async () => {
    const { metadata, pool, data } = await newEnginePool();
    await pool.close();
    const smaller = new MemoryMetadataDevice({ bytes: metadata.bytes.slice(0, 255 * 4096) });
    expect((await rejection(ThinPool.open(smaller, data))).message).toContain(
      'nrBlocks is 256, expected at most 255, the size of the device (cut short?)',
    );
  });

  it('on devices that grew, grows into them', async () => {
    const { metadata, pool, data } = await newEnginePool({ nrDataBlocks: 8 });
    await pool.close();
    metadata.grow(512);
    await data.grow(20 * BLOCK);
    const again = await ThinPool.open(metadata, data);
    expect(again.status()).toMatchObject({ nrDataBlocks: 20, nrMetadataBlocks: 512, metadataLowWaterMark: 128 });
    await again.close();
    expectSound(metadata);
  });

  it('without being used is not written to (pool_without_thin_devices_does_not_commit)', async () => {
    const { metadata, pool, data } = await newEnginePool();
    await pool.close();
    const before = metadata.bytes.slice();
    await (await ThinPool.open(metadata, data)).close();
    expect(Buffer.compare(metadata.bytes, before)).toBe(0);
  });
});

describe('low water marks', () => {
  it('of data are told of once, until the pool is resumed', async () => {
    const { pool } = await newEnginePool({ nrDataBlocks: 8, lowWaterMark: 6 });
    const told: number[] = [];
    pool.on('dataLow', ({ nrFree }) => told.push(nrFree));
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 8 * BLOCK });
    await volume.write(0, bytesOf(1, 2 * BLOCK));
    expect(told).toEqual([]);
    await volume.write(2 * BLOCK, bytesOf(1, 2 * BLOCK));
    expect(told).toEqual([6]);
    await pool.resume();
    await volume.write(4 * BLOCK, bytesOf(1, 2 * BLOCK));
    expect(told).toEqual([6, 4]);
  });

  it('of metadata are told of once, by whatever they are reached', async () => {
    const { pool } = await newEnginePool({ nrMetadataBlocks: 64 });
    const told: number[] = [];
    pool.on('metadataLow', ({ nrFree, lowWaterMark }) => {
      expect(nrFree).toBeLessThanOrEqual(lowWaterMark);
      told.push(lowWaterMark);
    });
    for (let thinId = 0; thinId < 39; thinId++) await pool.createThin(thinId);
    expect(told).toEqual([16]);
  });
});

describe('a pool without free metadata', () => {
  /** Creates thin devices until that is refused. */
  async function exhausted(): Promise<EnginePool & { nrCreated: number }> {
    const all = await newEnginePool({ nrMetadataBlocks: 64 });
    let nrCreated = 0;
    for (; all.pool.mode === 'write'; nrCreated++) await all.pool.createThin(nrCreated).catch(() => {});
    return { ...all, nrCreated };
  }

  it('changes nothing any more, and can be read (exhausting_metadata_space_aborts_to_ro_mode)', async () => {
    const all = await exhausted();
    expect(all.pool.mode).toBe('out_of_metadata_space');
    expect(all.pool.statusLine()).toMatch(/^0 6[0-4]\/64 0\/64 - ro discard_passdown queue_if_no_space - 16 $/);
    expect(await rejection(all.pool.createThin(1000))).toMatchObject({ code: 'ERR_POOL_MODE' });
    const volume = await all.pool.openVolume(0, { size: BLOCK });
    expect(await rejection(volume.write(0, bytesOf(1, 512)))).toMatchObject({ code: 'ERR_POOL_MODE' });
    expect(await shown(volume)).toEqual([[0, BLOCK]]);
    await volume.discard(0, BLOCK); // reported as done
    await volume.writeZeroes(0, BLOCK); // it is zeros
    await volume.flush();
    await closeSound(all);
  });

  it('goes on when its metadata has grown (resize_after_exhaust)', async () => {
    const all = await exhausted();
    await all.pool.resume();
    expect(all.pool.mode, 'nothing has grown').toBe('out_of_metadata_space');
    all.metadata.grow(128);
    await all.pool.resume();
    expect(all.pool.mode).toBe('write');
    await all.pool.createThin(1000);
    for (let thinId = 0; thinId < all.nrCreated; thinId++) await all.pool.deleteThin(thinId).catch(() => {}); // thin_remove_works_after_resize
    expect([...all.pool.thins()].map(({ thinId }) => thinId)).toEqual([1000]);
    await closeSound(all);
  });

  it.each([
    ['many times over', 2000, 0],
    ['together with its data', 64, 100],
    ['together with data for which it has too little room still', 8, 400_000],
  ])('goes on when its metadata has grown %s', async (_, nrMoreMetadata, nrMoreData) => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 24 });
    const data = new MemoryDataDevice({ size: 3000 * BLOCK });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 4000 * BLOCK });
    for (let nr = 0; pool.mode === 'write'; nr++)
      await volume.write(((nr * 1511) % 4000) * BLOCK, bytesOf(1, 512)).catch(() => {});
    metadata.grow(24 + nrMoreMetadata);
    await data.grow((3000 + nrMoreData) * BLOCK);
    if (nrMoreData < 1000) await pool.resume();
    else expect(await rejection(pool.resume())).toMatchObject({ code: 'ERR_NO_SPACE' });
    const { mode, needsCheck, nrMetadataBlocks, nrDataBlocks } = pool.status();
    expect([mode, needsCheck, nrMetadataBlocks]).toEqual(['write', false, 24 + nrMoreMetadata]);
    expect(nrDataBlocks).toBe(nrMoreData < 1000 ? 3000 + nrMoreData : 3000);
    await volume.write(3999 * BLOCK, bytesOf(2, 512));
    await volume.flush();
    await closeSound({ pool, metadata, data });
  });

  it('opens when its data device has grown by more than there is room for, and grows later', async () => {
    const all = await exhausted();
    await all.pool.close();
    const data = new MemoryDataDevice({ size: 400_000 * BLOCK });
    const pool = await ThinPool.open(all.metadata, data);
    expect(pool.status().nrDataBlocks).toBe(64);
    expect([...pool.thins()].length).toBeGreaterThan(0);
    all.metadata.grow(256);
    await pool.resume();
    expect([pool.mode, pool.status().nrDataBlocks]).toEqual(['write', 400_000]);
    await closeSound({ metadata: all.metadata, data, pool });
  });

  it('loses nothing that was written before, and fails the writes that come too late', async () => {
    const all = await newEnginePool({ nrMetadataBlocks: 24, nrDataBlocks: 4096 });
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 2 ** 40 });
    const written: number[] = [];
    let refused: unknown;
    for (let nr = 0; refused === undefined && nr < 4000; nr++) {
      const offset = ((nr * 7919) % 100_003) * BLOCK;
      refused = await volume.write(offset, bytesOf(1, 512)).then(
        () => void written.push(offset),
        (error) => error,
      );
    }
    expect(refused).toMatchObject({ code: 'ERR_POOL_MODE' });
    expect(await rejection(volume.write(2 ** 39, bytesOf(1, 512)))).toMatchObject({ code: 'ERR_POOL_MODE' });
    expect(all.pool.mode).toBe('out_of_metadata_space');
    expect(all.pool.status().needsCheck).toBe(false);
    await volume.flush();
    expect(volume.status().nrMappedBlocks).toBe(written.length);
    for (const offset of written.slice(-3)) expect(await shown(volume, offset, 512)).toEqual([[1, 512]]);
    await closeSound(all);
  });
});

it('a pool whose metadata and data grow while volumes are written to keeps all of it (resize_with_io, reload_io)', async () => {
  const all = await newEnginePool({ nrMetadataBlocks: 64, nrDataBlocks: 16 });
  await all.pool.createThin(0);
  const volume = await all.pool.openVolume(0, { size: 200 * BLOCK });
  const writes: Promise<void>[] = [];
  for (let block = 0; block < 200; block++) {
    writes.push(volume.write(block * BLOCK, bytesOf(1 + (block % 200), BLOCK)));
    if (block % 20 === 19) {
      await all.data.grow(all.data.size + 20 * BLOCK);
      if (block % 40 === 39) all.metadata.grow(all.metadata.nrBlocks + 30);
      await all.pool.resume();
    }
  }
  await Promise.all(writes);
  expect(await shown(volume)).toEqual(Array.from({ length: 200 }, (_, block) => [1 + block, BLOCK]));
  await closeSound(all);
});

it('a volume that is closed gives up what it waits for, and no other volume of the same device does', async () => {
  const all = await full();
  const other = await all.pool.openVolume(0, { size: 8 * BLOCK });
  const writes = [
    watched(all.volume.write(4 * BLOCK, bytesOf(2, 512))),
    watched(other.write(5 * BLOCK, bytesOf(2, 512))),
  ];
  await quiet();
  await all.volume.close();
  await quiet();
  expect(writes.map(({ state }) => state)).toEqual(['ERR_NO_SPACE', 'waits']);
  const another = await all.pool.openVolume(0, { size: 8 * BLOCK });
  writes.push(watched(another.write(6 * BLOCK, bytesOf(2, 512))));
  await quiet();
  await all.pool.close();
  await quiet();
  expect(writes.map(({ state }) => state)).toEqual(['ERR_NO_SPACE', 'ERR_NO_SPACE', 'ERR_NO_SPACE']);
  expectSound(all.metadata);
});
