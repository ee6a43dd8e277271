import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { dataDeviceConformance, quiet, rejection } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, hydrated, newClone, openAgain, REGION, readFrom, sourceBytes } from '../../test/engine-clones.js';
import { CloneDevice } from './clone-device.js';
import type { CloneOptions } from './options.js';

const SIZE = 768 * 1024;

/** A clone whose source and destination do not hold the same; `lacks` bytes at its end make the last region short. */
async function anyClone(regionSize: number, lacks: number, options: CloneOptions): Promise<CloneDevice> {
  const size = SIZE - lacks;
  return CloneDevice.openOrFormat(
    new MemoryMetadataDevice({ nrBlocks: 64 }),
    {
      source: new MemoryDataDevice({ bytes: sourceBytes(0, SIZE), readOnly: true }),
      destination: new MemoryDataDevice({ size: SIZE }),
    },
    { regionSize, size, ...options },
  );
}

describe.each([
  { state: 'with small regions', regionSize: 8, lacks: 0, options: { noHydration: true } },
  { state: 'with a short last region', regionSize: 64, lacks: 512, options: { noHydration: true } },
  { state: 'of a single region', regionSize: 4096, lacks: 1024, options: { noHydration: true } },
  { state: 'while it hydrates', regionSize: 8, lacks: 2048, options: { hydrationThreshold: 8, hydrationBatchSize: 4 } },
])('a clone $state', ({ regionSize, lacks, options }) => {
  const create = (): Promise<CloneDevice> => anyClone(regionSize, lacks, options);
  const createReadOnly = async (): Promise<CloneDevice> => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const devices = {
      source: new MemoryDataDevice({ size: SIZE }),
      destination: new MemoryDataDevice({ size: SIZE, readOnly: true }),
    };
    const first = await CloneDevice.format(metadata, { ...devices, destination: devices.source }, { regionSize });
    await first.close();
    return CloneDevice.open(metadata, devices, { readOnly: true });
  };
  for (const { name, run } of dataDeviceConformance({ create, createReadOnly, nrRandomWorkloads: 8 })) it(name, run);
});

describe('a clone reads', () => {
  it('what is not hydrated from the source, what is from the destination, all in one request', async () => {
    const { clone, written } = await newClone({ nrRegions: 6 });
    await clone.write(REGION, bytesOf(0x91));
    await clone.write(4 * REGION, bytesOf(0x92));
    const expected = sourceBytes(0, 6 * REGION);
    expected.set(bytesOf(0x91), REGION);
    expected.set(bytesOf(0x92), 4 * REGION);
    expect(await readFrom(clone, 0, 6 * REGION)).toEqual(expected);
    expect(await readFrom(clone, 512, 5 * REGION)).toEqual(expected.subarray(512, 512 + 5 * REGION));
    expect(hydrated(clone)).toBe('1 4'); // reads hydrate nothing
    expect(written.nrOf('write')).toBe(2);
  });

  it('from a source and a destination that are larger than it, and never behind its end', async () => {
    const source = new MemoryDataDevice({ bytes: sourceBytes(0, 10 * REGION), readOnly: true });
    const destination = new MemoryDataDevice({ bytes: bytesOf(0xdd, 12 * REGION) });
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const clone = await CloneDevice.openOrFormat(
      metadata,
      { source, destination },
      { regionSize: 8, size: 7 * REGION + 1024, hydrationThreshold: 4 },
    );
    const done = new Promise((resolve) => clone.on('complete', resolve));
    expect([clone.size, clone.status().nrRegions]).toEqual([7 * REGION + 1024, 8]);
    await quiet();
    await clone.flush();
    await done;
    expect(await readFrom(clone, 0, clone.size)).toEqual(sourceBytes(0, clone.size));
    await clone.close();
    expect(destination.bytes?.subarray(0, clone.size)).toEqual(sourceBytes(0, clone.size));
    expect(destination.bytes?.subarray(clone.size)).toEqual(bytesOf(0xdd, 12 * REGION - clone.size));
  });
});

describe('a write', () => {
  it('of a part of a region copies the rest of it first', async () => {
    const { clone } = await newClone();
    await clone.write(3 * REGION + 512, bytesOf(0x95, 512));
    const expected = sourceBytes(3 * REGION, REGION);
    expected.fill(0x95, 512, 1024);
    expect(await readFrom(clone, 3 * REGION, REGION)).toEqual(expected);
    expect(hydrated(clone)).toBe('3');
  });

  it('of a whole region reads nothing of the source', async () => {
    const { clone, source } = await newClone();
    source.inject({ operation: 'read', nth: 1, andLater: true });
    await clone.write(3 * REGION, bytesOf(0x96));
    expect([source.nrDone('read'), hydrated(clone)]).toEqual([0, '3']);
    expect(await readFrom(clone, 3 * REGION, REGION)).toEqual(bytesOf(0x96));
  });

  it('of all of a short last region copies it first, as the kernel does', async () => {
    const { clone, source } = await newClone({ nrRegions: 4, lacks: 512 });
    await clone.write(3 * REGION, bytesOf(0x97, REGION - 512));
    expect([source.nrDone('read'), hydrated(clone)]).toEqual([1, '3']);
    expect(await readFrom(clone, 3 * REGION, REGION - 512)).toEqual(bytesOf(0x97, REGION - 512));
  });

  it('of many regions copies only those at its ends, and is one write in the middle', async () => {
    const { clone, source, written } = await newClone();
    await clone.write(2 * REGION + 2048, bytesOf(0x98, 5 * REGION));
    expect([source.nrDone('read'), hydrated(clone)]).toEqual([2, '2-7']);
    expect(written.summary.filter((line) => line.startsWith('write')).sort()).toEqual([
      `write 16384 bytes at ${3 * REGION}`,
      `write 2048 bytes at ${2 * REGION + 2048}`,
      `write 2048 bytes at ${7 * REGION}`,
      `write 4096 bytes at ${7 * REGION}`,
      `write 4096 bytes at ${2 * REGION}`,
    ]);
    const expected = sourceBytes(0, 9 * REGION);
    expected.fill(0x98, 2 * REGION + 2048, 7 * REGION + 2048);
    expect(await readFrom(clone, 0, 9 * REGION)).toEqual(expected);
  });

  it('joins the copy of its region that is on its way, and so do others, in the order in which they came', async () => {
    const { clone, source, written } = await newClone();
    const held = source.hold('read');
    const writes = [0x91, 0x92, 0x93].map((value, nr) => clone.write(REGION + nr * 512, bytesOf(value, 1024)));
    await held.untilHeld();
    await quiet();
    expect([held.nrHeld, written.nrOf('write'), clone.status().nrHydrating]).toEqual([1, 0, 1]);
    held.release();
    await Promise.all(writes);
    expect(source.nrDone('read')).toBe(1);
    const expected = sourceBytes(REGION, REGION);
    expected.fill(0x91, 0, 512).fill(0x92, 512, 1024).fill(0x93, 1024, 2048);
    expect(await readFrom(clone, REGION, REGION)).toEqual(expected);
  });

  it('waits for the overwrite of its region, and is not held up by another region', async () => {
    const { clone, destination } = await newClone();
    const held = destination.hold('write', { which: (offset) => offset === REGION });
    const overwrite = clone.write(REGION, bytesOf(0x91));
    await held.untilHeld();
    let isDone = false;
    const part = clone.write(REGION + 512, bytesOf(0x92, 512)).then(() => {
      isDone = true;
    });
    await clone.write(2 * REGION + 512, bytesOf(0x93, 512));
    expect(await readFrom(clone, REGION, REGION)).toEqual(sourceBytes(REGION, REGION)); // reads do not wait
    expect(isDone).toBe(false);
    held.release();
    await Promise.all([overwrite, part]);
    const expected = bytesOf(0x91);
    expected.fill(0x92, 512, 1024);
    expect(await readFrom(clone, REGION, REGION)).toEqual(expected);
  });

  it('leaves the bytes of its caller alone, and has no more of them when it is over', async () => {
    const { clone } = await newClone();
    const from = bytesOf(0x99, 3 * REGION);
    await clone.write(512, from);
    expect(from).toEqual(bytesOf(0x99, 3 * REGION));
    from.fill(0);
    expect(await readFrom(clone, 512, 3 * REGION)).toEqual(bytesOf(0x99, 3 * REGION));
  });
});

describe('zeros', () => {
  it('over whole regions are told to the destination, and nothing is copied', async () => {
    const { clone, source, written } = await newClone();
    await clone.writeZeroes(2 * REGION, 10 * REGION);
    expect([source.nrDone('read'), hydrated(clone), written.summary]).toEqual([
      0,
      '2-11',
      [`writeZeroes ${10 * REGION} bytes at ${2 * REGION}`],
    ]);
    expect(await readFrom(clone, 2 * REGION, 10 * REGION)).toEqual(bytesOf(0, 10 * REGION));
  });

  it('over parts of regions copy the rest', async () => {
    const { clone } = await newClone();
    await clone.writeZeroes(2 * REGION + 1024, 2 * REGION);
    const expected = sourceBytes(0, 6 * REGION);
    expected.fill(0, 2 * REGION + 1024, 4 * REGION + 1024);
    expect(await readFrom(clone, 0, 6 * REGION)).toEqual(expected);
    expect(hydrated(clone)).toBe('2-4');
  });

  it('may be as many as the device has', async () => {
    const size = 2 ** 34;
    const clone = await CloneDevice.openOrFormat(
      new MemoryMetadataDevice({ nrBlocks: 4096 }),
      { source: new MemoryDataDevice({ size, readOnly: true }), destination: new MemoryDataDevice({ size }) },
      { regionSize: 64, noHydration: true },
    );
    await clone.writeZeroes(512, size - 512);
    expect(clone.status()).toMatchObject({ nrHydrated: 2 ** 19, nrRegions: 2 ** 19, nrHydrating: 0 });
    await clone.close();
  });
});

it('what is a hole is asked of the destination where it is hydrated, of the source elsewhere', async () => {
  const unit = 65_536;
  const source = new MemoryDataDevice({ size: 8 * unit });
  await source.write(2 * unit, bytesOf(1, 2 * unit));
  const clone = await CloneDevice.openOrFormat(
    new MemoryMetadataDevice({ nrBlocks: 64 }),
    { source, destination: new MemoryDataDevice({ size: 8 * unit }) },
    { regionSize: 128, noHydration: true },
  );
  await clone.write(5 * unit, bytesOf(2, unit));
  await clone.writeZeroes(2 * unit, unit);
  expect(await clone.allocation(0, 8 * unit)).toEqual([
    { offset: 0, length: 3 * unit, state: 'hole' },
    { offset: 3 * unit, length: unit, state: 'data' },
    { offset: 4 * unit, length: unit, state: 'hole' },
    { offset: 5 * unit, length: unit, state: 'data' },
    { offset: 6 * unit, length: 2 * unit, state: 'hole' },
  ]);
});

describe('a clone is refused', () => {
  const device = (nrRegions: number, readOnly = false): MemoryDataDevice =>
    new MemoryDataDevice({ name: `device of ${nrRegions}`, size: nrRegions * REGION, readOnly });
  const open = (source: number, destination: MemoryDataDevice, options: object = {}): Promise<CloneDevice> =>
    CloneDevice.openOrFormat(
      new MemoryMetadataDevice({ nrBlocks: 64 }),
      { source: device(source, true), destination },
      { regionSize: 8, noHydration: true, ...options },
    );

  it('when its destination is smaller', async () => {
    expect((await rejection(open(8, device(7)))).message).toBe(
      'clone of device of 8 cannot be opened: its destination device of 7 has 28672 bytes, and the clone 32768',
    );
  });

  it('when its source is smaller than it is to be', async () => {
    const error = await rejection(open(8, device(10), { size: 9 * REGION }));
    expect([error.code, error.message]).toEqual([
      'ERR_DEVICE_OPEN',
      'clone of device of 8 cannot be opened: its source device of 8 has 32768 bytes, and the clone 36864',
    ]);
  });

  it('when its destination cannot be written to', async () => {
    expect((await rejection(open(8, device(8, true)))).code).toBe('ERR_READ_ONLY');
  });

  it.each([
    { options: { hydrationThreshold: -1 }, says: 'hydrationThreshold is a whole number from 0 to 4294967295, not -1' },
    { options: { hydrationBatchSize: 2 ** 32 }, says: 'hydrationBatchSize is a whole number' },
    { options: { commitPeriod: 2 ** 31 }, says: 'commitPeriod is a whole number of milliseconds' },
    { options: { size: 1000 }, says: 'size of 1000 bytes' },
    { options: { size: 0 }, says: 'size of 0 bytes' },
  ])('with $options, before anything is written', async ({ options, says }) => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const devices = { source: device(8, true), destination: device(8) };
    const error = await rejection(CloneDevice.openOrFormat(metadata, devices, { regionSize: 8, ...options }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toContain(says);
    expect(metadata.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('when the table says another size than the metadata: it cannot be resized', async () => {
    const made = await newClone({ nrRegions: 16 });
    await made.clone.close();
    for (const options of [{ size: 15 * REGION }, { regionSize: 16 }])
      expect((await rejection(openAgain(made, options))).code).toBe('ERR_GEOMETRY');
    expect((await openAgain(made)).size).toBe(16 * REGION);
  });
});

describe('the end of a clone', () => {
  it('comes when requests and copies are over, and commits them', async () => {
    const made = await newClone();
    const held = made.source.hold('read');
    const write = made.clone.write(512, bytesOf(0x91, 512));
    await held.untilHeld();
    const end = made.clone.close();
    expect((await rejection(made.clone.read(0, new Uint8Array(512)))).code).toBe('ERR_CLOSED');
    expect(() => made.clone.status()).toThrow('clone of source is closed');
    held.release();
    await write;
    await end;
    await made.clone.close();
    expect(hydrated(await openAgain(made))).toBe('0');
  });

  it('leaves source and destination to their owner', async () => {
    const { clone, source, destination } = await newClone();
    await clone.close();
    await source.read(0, new Uint8Array(512));
    await destination.read(0, new Uint8Array(512));
  });
});

describe('a suspension', () => {
  it('waits for what is on its way, commits it, and keeps requests waiting until it ends', async () => {
    const made = await newClone();
    const { clone, source } = made;
    const held = source.hold('read');
    const first = clone.write(512, bytesOf(0x91, 512));
    await held.untilHeld();
    const suspended = clone.suspend();
    let isOver = false;
    const second = clone.read(0, new Uint8Array(512)).then(() => {
      isOver = true;
    });
    held.release();
    await first;
    await suspended;
    await quiet();
    expect([isOver, clone.status().nrHydrated, made.metadata.bytes.length]).toEqual([false, 1, 64 * 4096]);
    await clone.resume();
    await second;
    await clone.close();
    expect(hydrated(await openAgain(made))).toBe('0');
  });

  it('stops background hydration, which goes on afterwards', async () => {
    const { clone } = await newClone({ noHydration: false });
    await clone.suspend();
    const { nrHydrated } = clone.status();
    await quiet();
    expect(clone.status().nrHydrated).toBe(nrHydrated);
    expect(nrHydrated).toBeLessThan(64);
    await clone.resume();
    await quiet();
    expect(clone.status().nrHydrated).toBe(64);
  });

  it('is ended by the end of the clone, which lets those who wait finish', async () => {
    const { clone } = await newClone();
    await clone.suspend();
    const read = readFrom(clone, 0, 512);
    await clone.close();
    expect(await read).toEqual(sourceBytes(0, 512));
  });
});
