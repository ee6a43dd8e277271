import { expect, it } from 'vitest';
import { DEVICE_DETAILS_SIZE, deviceDetailsType } from './device-details.js';

it('is a record of 24 bytes, as the kernel writes it', () => {
  const view = new DataView(new ArrayBuffer(DEVICE_DETAILS_SIZE));
  const details = {
    mappedBlocks: 2 ** 33 + 5,
    transactionId: 2n ** 64n - 2n,
    creationTime: 9,
    snapshottedTime: 2 ** 24 - 1,
  };
  deviceDetailsType.encode(view, 0, details);
  expect(Buffer.from(view.buffer).toString('hex')).toBe(
    '0500000002000000' + 'feffffffffffffff' + '09000000' + 'ffffff00',
  );
  expect(deviceDetailsType.decode(view, 0)).toEqual(details);
  expect(deviceDetailsType.size).toBe(24);
});
