import { describe, expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, KIB, newEnginePool, shown } from '../../test/engine-pools.js';
import { ThinPool } from './thin-pool.js';

describe('a pool with volumes', () => {
  it('reads back what was written, after it was closed and opened again, too', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 4 * BLOCK });
    await volume.write(4 * KIB, bytesOf(1, 4 * KIB));
    await volume.write(BLOCK - 512, bytesOf(2, 1024));
    const expected = [
      [0, 4 * KIB],
      [1, 4 * KIB],
      [0, BLOCK - 8 * KIB - 512],
      [2, 1024],
      [0, 3 * BLOCK - 512],
    ];
    expect(await shown(volume)).toEqual(expected);
    expect(volume.statusLine()).toBe('256 255');
    await closeSound(all);

    const pool = await ThinPool.open(all.metadata, all.data);
    expect(await shown(await pool.openVolume(0, { size: 4 * BLOCK }))).toEqual(expected);
    expect(pool.statusLine()).toBe('0 35/256 2/64 - rw discard_passdown queue_if_no_space - 64 ');
    await pool.close();
  });

  it('gives a snapshot and its origin their own blocks when they are written', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    const origin = await all.pool.openVolume(0, { size: 2 * BLOCK });
    await origin.write(0, bytesOf(1, 2 * BLOCK));
    await all.pool.createSnapshot(1, 0);
    const snapshot = await all.pool.openVolume(1, { size: 2 * BLOCK });
    await origin.write(0, bytesOf(2, 512));
    await snapshot.write(BLOCK, bytesOf(3, BLOCK));
    expect(await shown(origin)).toEqual([
      [2, 512],
      [1, 2 * BLOCK - 512],
    ]);
    expect(await shown(snapshot)).toEqual([
      [1, BLOCK],
      [3, BLOCK],
    ]);
    await origin.flush();
    await closeSound(all);
  });
});
