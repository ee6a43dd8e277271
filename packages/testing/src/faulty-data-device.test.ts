import { type DataDevice, DeviceError, MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { dataDeviceConformance } from './conformance/data-device-conformance.js';
import { type DataFault, FaultyDataDevice } from './faulty-data-device.js';

const sectors = (nr: number, value: number): Uint8Array => new Uint8Array(nr * 512).fill(value);

function faulty(...faults: DataFault[]): { device: FaultyDataDevice; inner: MemoryDataDevice } {
  const inner = new MemoryDataDevice({ bytes: new Uint8Array(8 * 512), name: 'scratch' });
  return { device: new FaultyDataDevice(inner, faults), inner };
}

const valuesOf = (inner: MemoryDataDevice): (number | undefined)[] =>
  Array.from({ length: 8 }, (_, nr) => inner.bytes?.[nr * 512]);

/** Lets everything happen that does not wait for a hold. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe('a device without faults', () => {
  const suite = dataDeviceConformance({
    create: async (): Promise<DataDevice> => new FaultyDataDevice(new MemoryDataDevice({ size: 512 * 1024 })),
    createReadOnly: async () => new FaultyDataDevice(new MemoryDataDevice({ size: 65536, readOnly: true })),
    nrRandomWorkloads: 3,
  });
  for (const { name, run } of suite) it(name, run);
});

it('fails the n-th write alone, leaving the device untouched by it', async () => {
  const { device, inner } = faulty({ operation: 'write', nth: 2 });
  await device.write(0, sectors(1, 1));
  await expect(device.write(512, sectors(2, 2))).rejects.toThrow(DeviceError);
  await device.flush();
  await device.write(1536, sectors(1, 3));
  expect(valuesOf(inner)).toEqual([1, 0, 0, 3, 0, 0, 0, 0]);
  expect(device.nrDone('write')).toBe(3);
});

it('names device, operation and range, as a real device does', async () => {
  const { device } = faulty(
    { operation: 'write', nth: 1 },
    { operation: 'read', nth: 1 },
    { operation: 'discard', nth: 1 },
    { operation: 'writeZeroes', nth: 1 },
  );
  const fault = 'of scratch: injected fault';
  await expect(device.write(512, sectors(2, 2))).rejects.toThrow(`cannot write 1024 bytes at 512 ${fault}`);
  await expect(device.read(0, sectors(1, 0))).rejects.toThrow(`cannot read 512 bytes at 0 ${fault}`);
  await expect(device.discard(0, 512)).rejects.toThrow(`cannot discard 512 bytes at 0 ${fault}`);
  await expect(device.writeZeroes(0, 512)).rejects.toThrow(`cannot write 512 zeros at 0 ${fault}`);
});

it('fails all later ones too when asked to, until it is healed', async () => {
  const { device } = faulty({ operation: 'read', nth: 2, andLater: true });
  await device.read(0, sectors(1, 0));
  await expect(device.read(0, sectors(1, 0))).rejects.toThrow(DeviceError);
  await expect(device.read(0, sectors(1, 0))).rejects.toThrow(DeviceError);
  device.heal();
  await device.read(0, sectors(1, 0));
});

it('fails every request that touches a bad sector', async () => {
  const { device } = faulty({ operation: 'read', badByte: 1024 + 77 });
  await device.read(0, sectors(2, 0));
  await device.read(1536, sectors(5, 0));
  for (const first of [0, 512, 1024]) {
    await expect(device.read(first, sectors(3, 0))).rejects.toThrow('injected fault');
  }
});

it('lets the first half of a failing write land when asked to', async () => {
  const { device, inner } = faulty({ operation: 'write', nth: 1, landsPartly: true });
  await expect(device.write(0, sectors(5, 1))).rejects.toThrow(DeviceError);
  expect(valuesOf(inner)).toEqual([1, 1, 0, 0, 0, 0, 0, 0]);
});

it('fails every flush after a failed one, until it is healed', async () => {
  const { device } = faulty({ operation: 'flush', nth: 2 });
  await device.flush();
  await expect(device.flush()).rejects.toThrow('cannot flush scratch: injected fault');
  await expect(device.flush()).rejects.toThrow(DeviceError);
  device.heal();
  await device.flush();
});

it('is full after so many bytes, says so as the system does, and goes on when there is space again', async () => {
  const { device, inner } = faulty({ operation: 'write', fullAfterBytes: 1024 });
  await device.write(0, sectors(2, 1));
  const refusal = await device.write(1024, sectors(1, 2)).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(DeviceError);
  expect((refusal as DeviceError).message).toBe(
    'cannot write 512 bytes at 1024 of scratch: ENOSPC: no space left on device, write',
  );
  expect((refusal as DeviceError).cause).toMatchObject({ code: 'ENOSPC' });
  expect(device.nrBytesWritten).toBe(1024);
  device.heal();
  await device.write(1024, sectors(1, 2));
  expect(valuesOf(inner)).toEqual([1, 1, 2, 0, 0, 0, 0, 0]);
});

it('holds requests of a kind before they reach the device, and lets them go one by one or all', async () => {
  const { device, inner } = faulty();
  const held = device.hold('write', { which: (offset) => offset >= 512 });
  const writes = [0, 512, 1024, 1536].map((offset, nr) => device.write(offset, sectors(1, nr + 1)));
  await held.untilHeld(3);
  expect([held.nrHeld, valuesOf(inner).slice(0, 4)]).toEqual([3, [1, 0, 0, 0]]);
  held.releaseOne();
  await writes[1];
  expect([held.nrHeld, valuesOf(inner).slice(0, 4)]).toEqual([2, [1, 2, 0, 0]]);
  held.release();
  await Promise.all(writes);
  await device.write(512, sectors(1, 9));
  expect(valuesOf(inner).slice(0, 4)).toEqual([1, 9, 3, 4]);
});

it('holds answers when asked to: the device has it, the caller does not know', async () => {
  const { device, inner } = faulty();
  const held = device.hold('write', { at: 'after' });
  let isAnswered = false;
  const writing = device.write(0, sectors(1, 1)).then(() => {
    isAnswered = true;
  });
  await held.untilHeld();
  await settle();
  expect([valuesOf(inner)[0], isAnswered]).toEqual([1, false]);
  held.release();
  await writing;
});

it('closes when the requests it holds were let go', async () => {
  const { device } = faulty();
  const held = device.hold('read');
  const reading = device.read(0, sectors(1, 0));
  let isClosed = false;
  const closing = device.close().then(() => {
    isClosed = true;
  });
  await settle();
  expect(isClosed).toBe(false);
  held.release();
  await Promise.all([reading, closing]);
});

it('is as slow as it is told to be', async () => {
  const waits: (() => void)[] = [];
  const inner = new MemoryDataDevice({ size: 512 });
  const device = new FaultyDataDevice(inner, [], {
    delay: (operation, offset, length) =>
      new Promise((resolve) => waits.push(() => resolve(void [operation, offset, length]))),
  });
  const writing = device.write(0, sectors(1, 1));
  await settle();
  expect(inner.allocatedBytes).toBe(0);
  for (const go of waits) go();
  await writing;
  expect(inner.allocatedBytes).toBeGreaterThan(0);
});
