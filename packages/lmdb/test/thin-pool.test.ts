/** The thin pool's engine on an environment: its metadata and the names of its volumes are one commit. */
import { MemoryDataDevice } from '@pdata/device';
import { checkThin, ThinMetadata, ThinPool } from '@pdata/thin';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bytesOf } from './blocks.js';
import { type TemporaryEnvironment, temporaryEnvironment } from './temporary-environment.js';

const DATA_BLOCK = 64 * 1024;
let temporary: TemporaryEnvironment;
beforeEach(() => {
  temporary = temporaryEnvironment();
});
afterEach(() => temporary.end());

it('a volume and its name are committed together, and a refused volume leaves no name', async () => {
  const { environment } = temporary;
  const metadata = environment.createPool('pool', { nrBlocks: 1024 });
  const names = environment.catalogue<{ thinId: number }>('pool');
  const data = new MemoryDataDevice({ size: 64 * DATA_BLOCK });
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128 });
  await pool.createThin(0, { alongside: () => names.put('root', { thinId: 0 }) });
  await expect(pool.createThin(0, { alongside: () => names.put('twice', { thinId: 0 }) })).rejects.toThrow();
  const volume = await pool.openVolume(0, { size: 2 ** 30 });
  await volume.write(5 * DATA_BLOCK, new Uint8Array(4096).fill(5));
  await volume.flush();
  await pool.createSnapshot(1, 0, { alongside: () => names.put('monday', { thinId: 1 }) });
  await volume.write(5 * DATA_BLOCK, new Uint8Array(4096).fill(6), { fua: true });

  // What another process, or the next one after a crash, finds.
  const reader = environment.openPool('pool', { mode: 'read' });
  expect([...checkThin(reader)]).toEqual([]);
  expect([...ThinMetadata.open(reader).devices()].map(({ thinId }) => thinId)).toEqual([0, 1]);
  expect([...names.entries()]).toEqual([
    ['monday', { thinId: 1 }],
    ['root', { thinId: 0 }],
  ]);

  await volume.close();
  await pool.deleteThin(1, { alongside: () => names.remove('monday') });
  await pool.close();
  metadata.close();
  reader.refresh();
  expect([...ThinMetadata.open(reader).devices()].map(({ thinId }) => thinId)).toEqual([0]);
  expect([...environment.catalogue('pool').entries()].map(([name]) => name)).toEqual(['root']);

  const again = await ThinPool.open(environment.openPool('pool'), data);
  const found = new Uint8Array(4096);
  const reopened = await again.openVolume(0, { size: 2 ** 30 });
  await reopened.read(5 * DATA_BLOCK, found);
  expect(found.every((byte) => byte === 6)).toBe(true);
  await again.close();
});

it('a reader that refreshes in the middle of a transaction larger than memory sees the last commit, whole', async () => {
  const { environment } = temporary;
  const device = environment.createPool('pool', { nrBlocks: 2048, maxStagedBytes: 16 * 4096 });
  const metadata = ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks: 100_000, cacheBlocks: 32 });
  metadata.createThin(0);
  metadata.commit();
  const reader = environment.openPool('pool', { mode: 'read' });
  const superblock = bytesOf(reader).slice(0, 4096);
  const { size } = environment;
  for (let round = 0; round < 5; round++) {
    metadata.createThin(round + 1);
    for (let nr = 0; nr < 4000; nr++) metadata.insert(round + 1, (nr * 7919) % 100_000, metadata.allocateDataBlock());
    if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    reader.refresh();
    expect(Buffer.compare(bytesOf(reader).subarray(0, 4096), superblock)).toBe(0);
    expect([...checkThin(reader)]).toEqual([]);
    expect([...ThinMetadata.open(reader).devices()].map(({ thinId }) => thinId)).toEqual([0]);
  }
  expect(environment.size, 'blocks of the transaction were committed early').toBeGreaterThan(size + 32 * 4096);
  await metadata.commitAsync();
  reader.refresh();
  expect([...checkThin(reader)]).toEqual([]);
  expect([...ThinMetadata.open(reader).devices()].length).toBe(6);
});
