/** Clones on other devices of the house: into a thin volume, from an NBD server, from another clone, and served over NBD. */

import { join } from 'node:path';
import { CloneDevice } from '@pdata/clone';
import { type DataDevice, MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { connectNbd, type NbdDataDevice, NbdServer } from '@pdata/nbd';
import { RecordingDataDevice } from '@pdata/testing';
import { ThinPool } from '@pdata/thin';
import { expect, it } from 'vitest';
import { scratchDirectory } from './run-tool.js';

const BLOCK = 65_536;
const NR_BLOCKS = 64;
const directory = scratchDirectory();
let nrSockets = 0;

/** A sparse image: data in four of its blocks. */
async function sparseImage(): Promise<MemoryDataDevice> {
  const image = new MemoryDataDevice({ name: 'image', size: NR_BLOCKS * BLOCK });
  for (const block of [0, 7, 8, 63]) await image.write(block * BLOCK, new Uint8Array(BLOCK).fill(block + 1));
  return image;
}

async function served(device: DataDevice): Promise<{ disk: NbdDataDevice; end: () => Promise<void> }> {
  const socketPath = join(directory, `${nrSockets++}.sock`);
  const exports = { list: async () => [], open: async () => ({ device }) };
  const server = await NbdServer.listen({ listen: { socketPath }, exports });
  const disk = await connectNbd(`nbd+unix:///disk?socket=${socketPath}`, { connections: 2 });
  const end = async (): Promise<void> => {
    await disk.close();
    await server.close();
  };
  return { disk, end };
}

async function clonedFrom(source: DataDevice, destination: DataDevice): Promise<CloneDevice> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
  const options = { regionSize: 128, hydrationThreshold: 16, hydrationBatchSize: 4 };
  return CloneDevice.openOrFormat(metadata, { source, destination }, options);
}

const completion = (clone: CloneDevice): Promise<unknown> =>
  clone.isComplete ? Promise.resolve() : new Promise((resolve) => clone.on('complete', resolve));

async function content(device: DataDevice): Promise<Buffer> {
  const bytes = Buffer.alloc(device.size);
  await device.read(0, bytes);
  return bytes;
}

it('a clone into a thin volume takes only the blocks that the source has, can be snapshotted, and needs the pool alone then', async () => {
  const poolMetadata = new MemoryMetadataDevice({ nrBlocks: 256 });
  const data = new RecordingDataDevice(new MemoryDataDevice({ size: NR_BLOCKS * BLOCK }));
  const pool = await ThinPool.format(poolMetadata, data, { dataBlockSize: 128 });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: NR_BLOCKS * BLOCK });
  const image = await sparseImage();
  const clone = await clonedFrom(image, volume);
  await clone.write(20 * BLOCK + 512, new Uint8Array(512).fill(0xaa));
  await completion(clone);
  const expected = await content(image);
  expected.fill(0xaa, 20 * BLOCK + 512, 20 * BLOCK + 1024);
  expect(volume.status().nrMappedBlocks).toBe(5);
  await clone.discard(7 * BLOCK, BLOCK); // goes down to the volume, which unmaps it
  expect(volume.status().nrMappedBlocks).toBe(4);
  expected.fill(0, 7 * BLOCK, 8 * BLOCK);
  await clone.close();
  await pool.createSnapshot(1, 0);
  await volume.close();

  // As a loss of power would leave it: what the clone committed was durable in the pool before.
  await pool.commit();
  const crashed = await ThinPool.open(
    new MemoryMetadataDevice({ bytes: poolMetadata.bytes.slice() }),
    data.crash({ seed: 1, lands: 'none' }),
  );
  const snapshot = await crashed.openVolume(1, { size: NR_BLOCKS * BLOCK });
  expect(Buffer.compare(await content(snapshot), expected)).toBe(0);
  await crashed.close();
  await pool.close();
});

it('a clone of an export reads what the server says is data, and no holes', async () => {
  const image = new RecordingDataDevice(await sparseImage(), { reads: true });
  const destination = new MemoryDataDevice({ size: NR_BLOCKS * BLOCK });
  const { disk, end } = await served(image);
  const clone = await clonedFrom(disk, destination);
  await completion(clone);
  const expected = await content(image);
  image.clear();
  expect(Buffer.compare(await content(clone), expected)).toBe(0);
  expect([image.nrOf('read'), destination.allocatedBytes]).toEqual([0, 4 * BLOCK]);
  await clone.close();
  await end();
});

it('a clone of a clone, served over NBD, is in use while both hydrate', async () => {
  const first = await clonedFrom(await sparseImage(), new MemoryDataDevice({ size: NR_BLOCKS * BLOCK }));
  const second = await clonedFrom(first, new MemoryDataDevice({ size: NR_BLOCKS * BLOCK }));
  const { disk, end } = await served(second);
  const expected = await content(await sparseImage());
  await disk.write(30 * BLOCK + 100 * 512, new Uint8Array(1024).fill(0xbb), { fua: true });
  expected.fill(0xbb, 30 * BLOCK + 100 * 512, 30 * BLOCK + 102 * 512);
  expect(Buffer.compare(await content(disk), expected)).toBe(0);
  await disk.flush();
  await completion(second);
  expect(Buffer.compare(await content(disk), expected)).toBe(0);
  await end();
  await second.close();
  await first.close();
});
