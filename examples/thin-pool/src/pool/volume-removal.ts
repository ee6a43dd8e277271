/**
 * Removing a volume, and giving its space back to the disk.
 *
 *   1. its record becomes a leftover: from here on it is gone for everybody, also after a crash
 *   2. what nobody shares with it is discarded, which punches holes into the data file
 *   3. device and record are removed
 *
 * Deleting a thin device alone would leave the data file as large as it was: the pool could use the space again, the disk could not.
 */
import type { ThinPool } from '@pdata/thin';
import type { VolumeCatalogue } from '../catalogue/volume-catalogue.js';
import type { OpenVolumes } from './open-volumes.js';

export interface RemovalContext {
  readonly pool: ThinPool;
  readonly catalogue: VolumeCatalogue;
  readonly open: OpenVolumes;
}

/** Nobody has it open. When it rejects after its first step, the rest is done the next time that the pool is opened. */
export async function removeVolume({ pool, catalogue, open }: RemovalContext, thinId: number): Promise<void> {
  const record = catalogue.get(thinId);
  // In other modes nothing can be removed: the engine says so before anything is changed.
  if (record !== undefined && (pool.mode === 'write' || pool.mode === 'out_of_data_space')) {
    if (record.kind !== 'leftover') {
      await catalogue.change({ put: [{ thinId, record: { ...record, kind: 'leftover' } }] });
    }
    await discardAll(pool, thinId).catch(() => undefined); // its space stays in the data file then, for the pool to use
  }
  await catalogue.change({ act: (how) => pool.deleteThin(thinId, how), remove: [thinId], order: 'records-last' });
  open.forget(thinId);
}

async function discardAll(pool: ThinPool, thinId: number): Promise<void> {
  const blockSize = pool.dataBlockSize * 512;
  const volume = await pool.openVolume(thinId, { size: blockSize });
  try {
    const highest = volume.status().highestMappedSector;
    if (highest === undefined) return;
    const size = (highest + 1) * 512;
    await volume.resize(size);
    await volume.discard(0, size);
  } finally {
    await volume.close();
  }
  await pool.commit(); // what was discarded goes down to the data file after it
}
