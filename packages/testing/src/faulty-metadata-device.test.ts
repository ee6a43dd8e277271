import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { blocks, blocksOf } from '../test/blocks.js';
import { type Fault, FaultyMetadataDevice } from './faulty-metadata-device.js';
import { thrownBy } from './thrown-by.js';

function faulty(...faults: Fault[]): { device: FaultyMetadataDevice; inner: MemoryMetadataDevice } {
  const inner = new MemoryMetadataDevice({ nrBlocks: 6, name: 'scratch' });
  return { device: new FaultyMetadataDevice(inner, ...faults), inner };
}

it('passes everything on while no fault is due', async () => {
  const { device, inner } = faulty();
  device.write(1, blocks(1, 2));
  device.flush();
  await device.flushAsync();
  device.grow(7);
  expect(blocksOf(device)).toEqual([0, 1, 2, 0, 0, 0, 0]);
  expect([device.name, device.nrBlocks, device.readOnly]).toEqual(['scratch', 7, false]);
  device.close();
  expect(() => inner.flush()).toThrow('closed');
});

it('fails the n-th write alone, leaving the device untouched by it', () => {
  const { device } = faulty({ operation: 'write', nth: 2 });
  device.write(0, blocks(1));
  expect(() => device.write(1, blocks(2, 3))).toThrow(DeviceError);
  expect(() => device.flush()).not.toThrow();
  device.write(3, blocks(4));
  expect(blocksOf(device)).toEqual([1, 0, 0, 4, 0, 0]);
  expect(device.nrDone('write')).toBe(3);
});

it('names device, operation and blocks, as a real device does', () => {
  const { device } = faulty({ operation: 'write', nth: 1 }, { operation: 'grow', nth: 1 });
  expect(() => device.write(1, blocks(2, 3))).toThrow('cannot write blocks 1..2 of scratch: injected fault');
  expect(() => device.grow(9)).toThrow('cannot grow scratch to 9 blocks: injected fault');
});

it('fails all later ones too when asked to', () => {
  const { device } = faulty({ operation: 'read', nth: 2, andLater: true });
  device.read(0, blocks(0));
  expect(() => device.read(0, blocks(0))).toThrow(DeviceError);
  expect(() => device.read(0, blocks(0))).toThrow(DeviceError);
});

it('fails every request that touches a bad block', () => {
  const { device } = faulty({ operation: 'read', blockNr: 2 });
  device.read(0, new Uint8Array(2 * BLOCK_SIZE));
  device.read(3, new Uint8Array(3 * BLOCK_SIZE));
  for (const first of [0, 1, 2]) {
    expect(() => device.read(first, new Uint8Array(3 * BLOCK_SIZE))).toThrow('injected fault');
  }
});

it('lets the first half of a failing write land when asked to', () => {
  const { device } = faulty(
    { operation: 'write', nth: 1, landsPartly: true },
    { operation: 'write', nth: 2, landsPartly: true },
  );
  expect(() => device.write(0, blocks(1, 2, 3))).toThrow(DeviceError);
  expect(() => device.write(4, blocks(5))).toThrow(DeviceError);
  const torn = (value: number): number[] => [value, value, value, value, 0, 0, 0, 0];
  expect(blocksOf(device)).toEqual([1, torn(2), 0, 0, torn(5), 0]);
});

it('fails every flush after a failed one, until it is healed', async () => {
  const { device } = faulty({ operation: 'flush', nth: 2 });
  device.flush();
  await expect(device.flushAsync()).rejects.toThrow('cannot flush scratch: injected fault');
  expect(() => device.flush()).toThrow(DeviceError);
  await expect(device.flushAsync()).rejects.toThrow(DeviceError);
  device.heal();
  device.flush();
});

it('takes further faults while in use, counted over its whole life', () => {
  const { device } = faulty();
  device.write(0, blocks(1));
  device.inject({ operation: 'write', nth: device.nrDone('write') + 1 });
  expect(() => device.write(0, blocks(2))).toThrow(DeviceError);
  device.write(0, blocks(3));
  expect(blocksOf(device)[0]).toBe(3);
});

it('is full when so many blocks have been written, and so is growing it; what it has can still be read and flushed', () => {
  const { device } = faulty({ operation: 'write', fullAfterBlocks: 3 });
  device.write(0, blocks(1, 2));
  expect(thrownBy(() => device.write(2, blocks(3, 4)))).toMatchObject({
    name: 'DeviceError',
    message: 'cannot write blocks 2..3 of scratch: ENOSPC: no space left on device, write',
    cause: { code: 'ENOSPC' },
  });
  device.grow(7);
  device.write(2, blocks(3));
  expect(device.nrBlocksWritten).toBe(3);
  expect(() => device.write(0, blocks(9))).toThrow('ENOSPC');
  expect(() => device.grow(8)).toThrow('cannot grow scratch to 8 blocks: ENOSPC');
  device.flush();
  expect(blocksOf(device)).toEqual([1, 2, 3, 0, 0, 0, 0]);
  device.heal();
  device.write(3, blocks(4));
});
