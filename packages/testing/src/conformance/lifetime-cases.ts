/** Cases about flushing, closing, opening again, and devices that are open for reading only. */
import { ClosedError, type DataDevice, ReadOnlyError, SECTOR_SIZE } from '@pdata/device';
import { demand, demandRejection, demandSameBytes } from './demand.js';
import type { DataDeviceConformanceOptions, DeviceCase } from './device-case.js';
import { pattern, readFrom, workingSize } from './region.js';

export function lifetimeCases(options: DataDeviceConformanceOptions): DeviceCase[] {
  const cases: DeviceCase[] = [
    { name: 'refuses everything after close, except a second close', on: refusesAfterClose },
    { name: 'waits in close for the requests in flight', on: waitsInClose },
  ];
  const isFixed = options.fixedContent !== undefined;
  if (isFixed || options.createReadOnly !== undefined) {
    cases.push({
      name: 'refuses every change when it is read-only, and still reads, flushes and tells allocation',
      on: refusesWhenReadOnly,
      with: isFixed ? 'create' : 'createReadOnly',
    });
  }
  if (!isFixed) cases.push({ name: 'flushes, several times at once, while writes go on', on: flushesWhileWriting });
  if (options.reopen !== undefined) {
    cases.push({ name: 'is found as it was flushed when it is opened again', on: isFoundAgain });
  }
  return cases;
}

/** Every use of a device, for seeing it refused. */
function usesOf(device: DataDevice): { reads: [string, () => Promise<unknown>][]; changes: typeof reads } {
  const bytes = new Uint8Array(SECTOR_SIZE);
  const reads: [string, () => Promise<unknown>][] = [
    ['read', () => device.read(0, bytes)],
    ['allocation', () => device.allocation(0, SECTOR_SIZE)],
    ['flush', () => device.flush()],
  ];
  const changes: typeof reads = [
    ['write', () => device.write(0, bytes)],
    ['write with fua', () => device.write(0, bytes, { fua: true })],
    ['writeZeroes', () => device.writeZeroes(0, SECTOR_SIZE)],
    ['discard', () => device.discard(0, SECTOR_SIZE)],
  ];
  return { reads, changes };
}

async function refusesAfterClose(device: DataDevice): Promise<void> {
  const { name } = device;
  await device.close();
  const { reads, changes } = usesOf(device);
  const uses = device.readOnly ? reads : [...reads, ...changes];
  for (const [what, use] of uses) {
    const error = await demandRejection(`${what} after close`, ClosedError, use);
    demand(error.message.includes(name), `${what} after close: "${error.message}" does not name ${name}`);
  }
  await device.close();
}

async function waitsInClose(device: DataDevice): Promise<void> {
  const length = Math.min(workingSize(device), 128 * 1024);
  let nrSettled = 0;
  const requests: Promise<unknown>[] = [];
  const found = new Uint8Array(length);
  for (let nr = 0; nr < 6; nr++) {
    requests.push(device.read(0, nr === 0 ? found : new Uint8Array(length)));
    if (!device.readOnly) {
      requests.push(device.write(nr * SECTOR_SIZE, pattern(16 * SECTOR_SIZE, nr)));
      requests.push(device.flush());
    }
  }
  for (const request of requests) {
    void request.then(
      () => nrSettled++,
      () => nrSettled++,
    );
  }
  const closing = device.close();
  await demandRejection('a read while closing', ClosedError, () => device.read(0, new Uint8Array(SECTOR_SIZE)));
  const closingAgain = device.close();
  await closing;
  demand(nrSettled === requests.length, `close resolved with ${requests.length - nrSettled} requests in flight`);
  await closingAgain;
  await Promise.all(requests); // made before the close, so none may have been refused
}

async function refusesWhenReadOnly(device: DataDevice): Promise<void> {
  demand(device.readOnly, 'readOnly is false');
  const before = await readFrom(device, 0, workingSize(device));
  const { reads, changes } = usesOf(device);
  for (const [what, use] of changes) {
    const error = await demandRejection(`${what} when read-only`, ReadOnlyError, use);
    demand(error.message.includes(device.name), `${what}: "${error.message}" does not name ${device.name}`);
  }
  for (const [, use] of reads) await use();
  demandSameBytes('after refused changes', await readFrom(device, 0, before.byteLength), before);
}

async function flushesWhileWriting(device: DataDevice): Promise<void> {
  await device.flush();
  const size = Math.min(workingSize(device), 64 * 1024);
  const model = new Uint8Array(size);
  const requests: Promise<void>[] = [];
  for (let at = 0; at < size; at += 4096) {
    const bytes = pattern(4096, at / 4096);
    model.set(bytes, at);
    requests.push(device.write(at, bytes), device.flush());
  }
  await Promise.all(requests);
  await device.flush();
  demandSameBytes('after flushes among writes', await readFrom(device, 0, size), model);
}

async function isFoundAgain(device: DataDevice, { reopen }: DataDeviceConformanceOptions): Promise<void> {
  demand(reopen !== undefined, 'the suite needs a function reopen');
  const size = workingSize(device);
  const model = pattern(size, 8);
  await device.write(0, model);
  await device.writeZeroes(8192, 4096);
  model.fill(0, 8192, 8192 + 4096);
  await device.flush();
  await device.write(512, pattern(1024, 9), { fua: true });
  model.set(pattern(1024, 9), 512);
  await device.close();
  const again = await reopen(device);
  try {
    demand(again.size === device.size, `size is ${again.size} when opened again, not ${device.size}`);
    demandSameBytes('opened again', await readFrom(again, 0, size), model);
  } finally {
    await again.close();
  }
}
