import { describe, expect, it } from 'vitest';
import { blocks, blocksOf, itBehavesLikeAMetadataDevice, thrownBy } from '../test/metadata-device-contract.js';
import { DeviceError, DeviceOpenError } from './errors.js';
import { MemoryMetadataDevice } from './memory-metadata-device.js';
import { BLOCK_SIZE } from './metadata-device.js';

describe('a device in memory', () => {
  itBehavesLikeAMetadataDevice({
    create: (nrBlocks) => new MemoryMetadataDevice({ nrBlocks }),
    reopen: (closed, mode) =>
      new MemoryMetadataDevice({ bytes: (closed as MemoryMetadataDevice).bytes, readOnly: mode === 'read' }),
  });

  it('works in place on bytes it is given, leaving out a part of a block at the end', () => {
    const image = new Uint8Array(2 * BLOCK_SIZE + 100).fill(3);
    const device = new MemoryMetadataDevice({ bytes: image, name: 'image of a pool' });
    expect(device.nrBlocks).toBe(2);
    expect(device.name).toBe('image of a pool');
    device.write(1, blocks(4));
    expect([image[0], image[BLOCK_SIZE], image[2 * BLOCK_SIZE]]).toEqual([3, 4, 3]);
    expect(device.bytes.buffer).toBe(image.buffer);
    expect(device.bytes.byteLength).toBe(2 * BLOCK_SIZE);
  });

  it('shows its bytes live to a test that damages them, also after it was closed', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 2 });
    device.bytes.fill(1, BLOCK_SIZE);
    expect(blocksOf(device)).toEqual([0, 1]);
    device.close();
    expect(device.bytes[BLOCK_SIZE]).toBe(1);
  });

  it.each([0, -1, 1.5, Number.NaN])('is not created with %d blocks', (nrBlocks) => {
    const refusal = thrownBy(() => new MemoryMetadataDevice({ nrBlocks, name: 'scratch' }));
    expect(refusal).toBeInstanceOf(RangeError);
    expect(refusal.message).toBe(`size of ${nrBlocks} blocks, scratch: expected a whole number, at least 1`);
  });

  it('says what is wrong with bytes shorter than a block', () => {
    const refusal = thrownBy(() => new MemoryMetadataDevice({ bytes: new Uint8Array(4095) }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe('cannot use memory: it holds 4095 bytes, less than one block of 4096');
  });

  it('says so when there is no memory for it, and stays as it was when it cannot grow', () => {
    const tooMany = 2 ** 41; // 8 PiB: more than an array can be on any version of Node
    expect(thrownBy(() => new MemoryMetadataDevice({ nrBlocks: tooMany }))).toBeInstanceOf(DeviceOpenError);
    const device = new MemoryMetadataDevice({ nrBlocks: 1 });
    const refusal = thrownBy(() => device.grow(tooMany));
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toContain(`cannot grow memory to ${tooMany} blocks`);
    expect(device.nrBlocks).toBe(1);
  });
});
