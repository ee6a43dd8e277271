import { DeviceBusyError, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { claimDevice } from './claim.js';

// Two metadata objects on one device each believe in a cache that the other makes stale (9b1cc9f2).
it('lets one writer at a time have a device', () => {
  const [device, other] = [1, 2].map((i) => new MemoryMetadataDevice({ nrBlocks: 1, name: `device ${i}` })) as [
    MemoryMetadataDevice,
    MemoryMetadataDevice,
  ];
  const giveUp = claimDevice(device);
  expect(() => claimDevice(device)).toThrow(DeviceBusyError);
  expect(() => claimDevice(device)).toThrow(/^device 1 is open for writing already/);
  claimDevice(other)();
  giveUp();
  claimDevice(device)();
  expect(claimDevice(device)).toBeTypeOf('function');
});
