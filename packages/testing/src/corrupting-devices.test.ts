import { BLOCK_SIZE, MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { blocks, blocksOf } from '../test/blocks.js';
import { CorruptingDataDevice, CorruptingMetadataDevice } from './corrupting-devices.js';

describe('a corrupting metadata device', () => {
  const filled = (): MemoryMetadataDevice => new MemoryMetadataDevice({ bytes: blocks(1, 2, 3, 4) });

  it('flips one bit of the n-th read, and the medium keeps what it had', () => {
    const inner = filled();
    const device = new CorruptingMetadataDevice(inner, { kind: 'flip', operation: 'read', nth: 2, bit: 8 * 100 + 3 });
    const bytes = new Uint8Array(BLOCK_SIZE);
    device.read(1, bytes);
    expect(bytes[100]).toBe(2);
    device.read(1, bytes);
    expect([bytes[99], bytes[100], bytes[101]]).toEqual([2, 2 + 8, 2]);
    expect(blocksOf(inner)).toEqual([1, 2, 3, 4]);
    expect([device.nrDone('read'), device.nrDone('write')]).toEqual([2, 0]);
  });

  it('flips one bit of what is stored, not of what the caller holds', () => {
    const inner = filled();
    const device = new CorruptingMetadataDevice(inner);
    device.corrupt({ kind: 'flip', operation: 'write', nth: 1, bit: 0 });
    const bytes = blocks(8);
    device.write(0, bytes);
    expect([bytes[0], inner.bytes[0], inner.bytes[1]]).toEqual([8, 9, 8]);
  });

  it('lets a write land elsewhere, or nowhere', () => {
    const inner = filled();
    const device = new CorruptingMetadataDevice(
      inner,
      { kind: 'misdirected', nth: 1, by: 2 },
      { kind: 'lost', nth: 2 },
      { kind: 'misdirected', nth: 3, by: 9 },
    );
    device.write(0, blocks(7));
    device.write(1, blocks(8));
    device.write(1, blocks(9));
    device.write(3, blocks(6));
    expect(blocksOf(inner)).toEqual([1, 2, 7, 6]);
  });
});

describe('a corrupting data device', () => {
  it('flips, misdirects and loses, and says nothing', async () => {
    const inner = new MemoryDataDevice({ bytes: new Uint8Array(2048) });
    const device = new CorruptingDataDevice(
      inner,
      { kind: 'flip', operation: 'write', nth: 1, bit: 7 },
      { kind: 'misdirected', nth: 2, by: 512 },
      { kind: 'lost', nth: 3 },
      { kind: 'flip', operation: 'read', nth: 1, bit: 8 * 512 },
    );
    await device.write(0, new Uint8Array(512).fill(1));
    await device.write(512, new Uint8Array(512).fill(2));
    await device.write(1536, new Uint8Array(512).fill(3));
    const bytes = new Uint8Array(2048);
    await device.read(0, bytes);
    expect([0, 1, 512, 1024, 1536].map((at) => bytes[at])).toEqual([129, 1, 1, 2, 0]);
    await device.read(0, bytes);
    expect(bytes[512]).toBe(0);
    expect([device.nrDone('read'), device.nrDone('write')]).toEqual([2, 3]);
  });
});
