/** What a flush that has resolved covers, whoever wrote it and however: docs/format/thin.md, section 9. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice, FaultyMetadataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, newEnginePool, rejection, shown } from '../../test/engine-pools.js';
import { ThinPool } from './thin-pool.js';

/** The pool as a loss of power would leave it now. */
function afterPowerLoss(metadata: MemoryMetadataDevice, data: MemoryDataDevice): Promise<ThinPool> {
  return ThinPool.open(new MemoryMetadataDevice({ bytes: metadata.bytes.slice() }), data.copy());
}

it('a flush covers what was written before the volume was closed and opened again', async () => {
  const engine = await newEnginePool();
  await engine.pool.createThin(0);
  const first = await engine.pool.openVolume(0, { size: 4 * BLOCK });
  await first.write(0, bytesOf(1, BLOCK));
  await first.close(); // does not flush
  const second = await engine.pool.openVolume(0, { size: 4 * BLOCK });
  await second.flush();
  const crashed = await afterPowerLoss(engine.metadata, engine.data);
  expect(await shown(await crashed.openVolume(0, { size: 4 * BLOCK }))).toEqual([
    [1, BLOCK],
    [0, 3 * BLOCK],
  ]);
  await crashed.close();
  await closeSound(engine);
});

it('a flush fails when what was written before the volume was opened again has been thrown away meanwhile', async () => {
  const metadata = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 256 }));
  const data = new FaultyDataDevice(new MemoryDataDevice({ size: 64 * BLOCK }));
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
  await pool.createThin(0);
  const first = await pool.openVolume(0, { size: 4 * BLOCK });
  await first.write(0, bytesOf(1, BLOCK));
  await first.close();
  const second = await pool.openVolume(0, { size: 4 * BLOCK });
  metadata.inject({ operation: 'flush', nth: metadata.nrDone('flush') + 1 });
  await rejection(pool.commit());
  expect(await rejection(second.flush())).toMatchObject({ code: 'ERR_ABORTED' });
  await pool.close();
});
