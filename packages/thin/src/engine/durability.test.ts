/** What a flush that has resolved covers, whoever wrote it and however: docs/format/thin.md, section 9. */
import { DeviceError, MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice, FaultyMetadataDevice, RecordingDataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, newEnginePool, rejection, shown } from '../../test/engine-pools.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

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

it('closing a pool keeps all that was written, whatever mode it is in', async () => {
  for (let nrMetadataBlocks = 16; nrMetadataBlocks <= 48; nrMetadataBlocks += 8) {
    const metadata = new MemoryMetadataDevice({ nrBlocks: nrMetadataBlocks });
    const nrBlocks = 4000;
    const data = new MemoryDataDevice({ size: nrBlocks * BLOCK });
    const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: nrBlocks * BLOCK });
    // Far apart, so that each takes a metadata block or two.
    let nrWritten = 0;
    while (nrWritten < 1000 && (await writes(volume, nrWritten))) nrWritten++;
    await pool.close();
    const again = await ThinPool.open(metadata, data);
    const reopened = await again.openVolume(0, { size: nrBlocks * BLOCK });
    const found = new Uint8Array(512);
    for (let nr = 0; nr < nrWritten; nr++) {
      await reopened.read(placeOf(nr), found);
      expect(found[0], `write ${nr} of ${nrWritten} with ${nrMetadataBlocks} metadata blocks`).toBe(1 + (nr % 255));
    }
    await again.close();
  }
});

const placeOf = (nr: number): number => ((nr * 1511) % 4000) * BLOCK;
const writes = (volume: ThinVolume, nr: number): Promise<boolean> =>
  volume.write(placeOf(nr), bytesOf(1 + (nr % 255), 512)).then(
    () => true,
    () => false,
  );

it('closing a read-only pool makes durable what was written in place', async () => {
  const { metadata, data, pool } = await newEnginePool();
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: BLOCK });
  await volume.write(0, bytesOf(1, BLOCK));
  await pool.close();
  const recording = new RecordingDataDevice(data, { initial: data });
  const readOnly = await ThinPool.open(metadata, recording, { readOnly: true });
  await (await readOnly.openVolume(0, { size: BLOCK })).write(0, bytesOf(2, BLOCK));
  await readOnly.close();
  const crashed = await ThinPool.open(metadata, recording.crash({ seed: 1, lands: 'none' }));
  expect(await shown(await crashed.openVolume(0, { size: BLOCK }))).toEqual([[2, BLOCK]]);
  await crashed.close();
});

/** Sooner than any device could: between the change and its own commit. */
class RefusingDevice extends MemoryDataDevice {
  refusesOnce = false;
  override flush(): Promise<void> {
    if (!this.refusesOnce) return super.flush();
    this.refusesOnce = false;
    return Promise.reject(new DeviceError('cannot flush memory'));
  }
}

it('a change is not reported as done when the commit that somebody else began at once has thrown it away', async () => {
  const data = new RefusingDevice({ size: 64 * BLOCK });
  const pool = await ThinPool.format(new MemoryMetadataDevice({ nrBlocks: 256 }), data, {
    dataBlockSize: 128,
    commitPeriod: 0,
  });
  await pool.createThin(0);
  await pool.createThin(1);
  data.refusesOnce = true;
  const deleting = rejection(pool.deleteThin(1));
  await rejection(pool.commit());
  expect(await deleting).toMatchObject({ code: 'ERR_ABORTED' });
  expect([...pool.thins()].map(({ thinId }) => thinId)).toEqual([0, 1]);
  await pool.close();
});
