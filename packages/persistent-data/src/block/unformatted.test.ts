import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { isUnformatted, wipeSuperblock } from './unformatted.js';

it('knows an unformatted device by block 0', () => {
  const memory = new MemoryMetadataDevice({ nrBlocks: 3 });
  memory.bytes[BLOCK_SIZE] = 1;
  expect(isUnformatted(memory)).toBe(true);
  memory.bytes[BLOCK_SIZE - 1] = 1;
  expect(isUnformatted(memory)).toBe(false);
});

it('wipes a superblock durably, and leaves a device alone that has none', () => {
  const memory = new MemoryMetadataDevice({ nrBlocks: 3 });
  memory.bytes.fill(1);
  const device = new RecordingMetadataDevice(memory);
  wipeSuperblock(device);
  wipeSuperblock(device);
  expect(device.summary).toEqual(['write block 0', 'flush']);
  expect(isUnformatted(memory)).toBe(true);
  expect(memory.bytes[BLOCK_SIZE]).toBe(1);
});

it('wipes a superblock that cannot be read', () => {
  const memory = new MemoryMetadataDevice({ nrBlocks: 3 });
  memory.bytes.fill(1);
  wipeSuperblock(new FaultyMetadataDevice(memory, { operation: 'read', blockNr: 0 }));
  expect(isUnformatted(memory)).toBe(true);
});
