import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { blocks, blocksOf } from '../test/blocks.js';
import { FlushlessDataDevice, FlushlessMetadataDevice, SuperblockFirstDevice } from './lying-devices.js';
import { RecordingDataDevice } from './recording-data-device.js';
import { RecordingMetadataDevice } from './recording-metadata-device.js';

it('leaves out the flushes it is told to, and says nothing', async () => {
  const recording = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 4 }));
  const device = new FlushlessMetadataDevice(recording, (nr) => nr % 2 === 0);
  for (let nr = 0; nr < 2; nr++) device.flush();
  for (let nr = 0; nr < 2; nr++) await device.flushAsync();
  expect(recording.nrOf('flush')).toBe(2);
});

it('of a data device leaves out every flush, and force unit access', async () => {
  const recording = new RecordingDataDevice(new MemoryDataDevice({ size: 1024 }));
  const device = new FlushlessDataDevice(recording);
  await device.write(0, new Uint8Array(512).fill(1));
  await device.flush();
  expect([recording.nrOf('flush'), recording.nrInDoubt]).toEqual([0, 1]);
});

it('writes the superblock first, with a flush behind it, and reads what was written all the while', () => {
  const memory = new MemoryMetadataDevice({ nrBlocks: 4 });
  const recording = new RecordingMetadataDevice(memory);
  const device = new SuperblockFirstDevice(recording);
  device.write(2, blocks(5));
  device.flush();
  device.write(0, blocks(7));
  expect(blocksOf(device)).toEqual([7, 0, 5, 0]);
  expect(recording.summary).toEqual([]);
  device.flush();
  expect(recording.summary).toEqual(['write block 0', 'flush', 'write block 2', 'flush']);
  expect(blocksOf(memory)).toEqual([7, 0, 5, 0]);
});
