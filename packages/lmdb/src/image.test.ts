/** Pools to raw images and back. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { FaultyMetadataDevice, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { blocks, bytesOf, firstBytes, rejectionOf } from '../test/blocks.js';
import { type TemporaryEnvironment, temporaryEnvironment } from '../test/temporary-environment.js';
import { exportImage, importImage } from './image.js';

let folder: string;
let temporary: TemporaryEnvironment;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pdata-lmdb-image-'));
  temporary = temporaryEnvironment();
});
afterEach(async () => {
  await temporary.end();
  rmSync(folder, { recursive: true });
});

/** Thin metadata with a few devices, and free blocks that once were in use. */
function thinImage(nrBlocks: number): MemoryMetadataDevice {
  const memory = new MemoryMetadataDevice({ nrBlocks });
  const metadata = ThinMetadata.format(memory, { dataBlockSize: 128, nrDataBlocks: 100_000 });
  const random = seededRandom(1);
  for (let thinId = 0; thinId < 5; thinId++) {
    if (thinId === 0) metadata.createThin(0);
    else metadata.createSnapshot(thinId, thinId - 1);
    for (let nr = 0; nr < 2000; nr++) {
      metadata.insert(thinId, Math.floor(random() * 1e6), metadata.allocateDataBlock());
    }
    metadata.commit();
  }
  return memory;
}

it('an image comes back from a pool byte for byte', async () => {
  const image = thinImage(3000);
  const pool = await importImage(image, temporary.environment, 'pool');
  expect(pool.nrBlocks).toBe(3000);
  expect(Buffer.compare(bytesOf(pool), image.bytes)).toBe(0);
  const reader = temporary.environment.openPool('pool', { mode: 'read' });
  expect(Buffer.compare(bytesOf(reader), image.bytes), 'all of it is committed').toBe(0);

  const file = openFileMetadataDevice(join(folder, 'image'), { mode: 'write', create: { nrBlocks: 1 } });
  await exportImage(reader, file);
  expect(Buffer.compare(bytesOf(file), image.bytes)).toBe(0);
  expect([...checkThin(file)]).toEqual([]);
  file.close();
  const { size, blocks: nrSectors } = statSync(join(folder, 'image'));
  expect(size).toBe(3000 * BLOCK_SIZE);
  expect(nrSectors * 512, 'holes stay holes').toBeLessThan(size / 2);
});

it('an imported pool goes on where the image was, and an export of it does too', async () => {
  const pool = await importImage(thinImage(1000), temporary.environment, 'pool');
  const metadata = ThinMetadata.open(pool);
  metadata.createSnapshot(77, 4);
  await metadata.commitAsync();
  const copy = new MemoryMetadataDevice({ nrBlocks: 1000 });
  await exportImage(pool, copy);
  const opened = ThinMetadata.open(copy);
  expect([...opened.devices()].map(({ thinId }) => thinId)).toEqual([0, 1, 2, 3, 4, 77]);
  expect([...checkThin(copy)]).toEqual([]);
});

it('an export replaces whatever the target held, and leaves what is behind the pool alone', async () => {
  const pool = temporary.environment.createPool('pool', { nrBlocks: 300 });
  pool.write(2, blocks(2, 0, 4));
  const target = new MemoryMetadataDevice({ nrBlocks: 310 });
  target.write(0, new Uint8Array(310 * BLOCK_SIZE).fill(9));
  await exportImage(pool, target);
  expect(firstBytes(target).slice(0, 6)).toEqual([0, 0, 2, 0, 4, 0]);
  expect(firstBytes(target).slice(298)).toEqual([0, 0, ...new Array(10).fill(9)]);
});

it('an export is no metadata until its last flush: block 0 is cleared first and written last', async () => {
  const pool = await importImage(thinImage(500), temporary.environment, 'pool');
  const memory = new MemoryMetadataDevice({ nrBlocks: 500 });
  memory.write(0, blocks(9));
  const target = new RecordingMetadataDevice(memory);
  await exportImage(pool, target);
  const kinds = target.summary.map((words) =>
    words === 'flush' ? words : /^write block 0$/.test(words) ? 'superblock' : 'blocks',
  );
  const inOrder = kinds.filter((kind, index) => kind !== kinds[index - 1]);
  expect(inOrder).toEqual(['superblock', 'flush', 'blocks', 'flush', 'superblock', 'flush']);
});

it('an import that fails or is called off leaves no pool behind', async () => {
  const image = thinImage(20_000);
  const faulty = new FaultyMetadataDevice(image, { operation: 'read', blockNr: 9000 });
  const failure = await rejectionOf(importImage(faulty, temporary.environment, 'pool'));
  expect(failure).toBeInstanceOf(DeviceError);
  expect(temporary.environment.pools()).toEqual([]);
  const stop = new AbortController();
  image.write(1, new Uint8Array(19_999 * BLOCK_SIZE).fill(1));
  const calledOff = await rejectionOf(
    importImage(image, temporary.environment, 'pool', {
      signal: stop.signal,
      onProgress: () => stop.abort(new Error('enough')),
    }),
  );
  expect(calledOff.message).toBe('enough');
  expect(temporary.environment.pools()).toEqual([]);
});

it('progress is told, up to the whole', async () => {
  const image = new MemoryMetadataDevice({ nrBlocks: 9000 });
  image.write(0, new Uint8Array(9000 * BLOCK_SIZE).fill(1));
  const told: number[] = [];
  await importImage(image, temporary.environment, 'pool', { onProgress: (nrBlocks) => told.push(nrBlocks) });
  expect(told.length).toBeGreaterThan(2);
  expect([...told].sort((a, b) => a - b)).toEqual(told);
  expect(told.at(-1)).toBe(9000);
});
