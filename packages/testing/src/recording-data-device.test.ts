import { type DataDevice, DeviceError, MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { dataDeviceConformance } from './conformance/data-device-conformance.js';
import { FaultyDataDevice } from './faulty-data-device.js';
import { RecordingDataDevice } from './recording-data-device.js';

const memory = (size = 8192): MemoryDataDevice => new MemoryDataDevice({ size, name: 'scratch' });
const sectors = (nr: number, value: number): Uint8Array => new Uint8Array(nr * 512).fill(value);

/** The value that fills each sector; -1 where a sector is a mixture. */
async function sectorsOf(device: DataDevice): Promise<number[]> {
  const bytes = new Uint8Array(device.size);
  await device.read(0, bytes);
  return Array.from({ length: device.size / 512 }, (_, nr) => {
    const sector = bytes.subarray(nr * 512, (nr + 1) * 512);
    return sector.every((byte) => byte === sector[0]) ? (sector[0] ?? -1) : -1;
  });
}

describe('a recording data device', () => {
  const create = async (): Promise<DataDevice> => new RecordingDataDevice(memory(512 * 1024), { reads: true });
  const suite = dataDeviceConformance({
    create,
    createReadOnly: async () => new RecordingDataDevice(new MemoryDataDevice({ size: 65536, readOnly: true })),
    nrRandomWorkloads: 3,
  });
  for (const { name, run } of suite) it(name, run);
});

it('passes everything on, and tells the order in words', async () => {
  const inner = memory();
  const device = new RecordingDataDevice(inner, { reads: true });
  await device.write(512, sectors(2, 1));
  await device.flush();
  await device.write(0, sectors(1, 2), { fua: true });
  await device.writeZeroes(1024, 512);
  await device.discard(4096, 4096, { fua: true });
  await device.read(0, sectors(1, 0));
  expect(device.summary).toEqual([
    'write 1024 bytes at 512',
    'flush',
    'write 512 bytes at 0, fua',
    'writeZeroes 512 bytes at 1024',
    'discard 4096 bytes at 4096, fua',
    'read 512 bytes at 0',
  ]);
  expect((await sectorsOf(inner)).slice(0, 4)).toEqual([2, 1, 0, 0]);
  expect([device.nrOf('write'), device.nrBytesOf('write'), device.nrOf('flush')]).toEqual([2, 1536, 1]);
  device.clear();
  expect(device.operations).toEqual([]);
});

it('notes nothing that was refused, and keeps nothing of it in doubt', async () => {
  const device = new RecordingDataDevice(memory());
  await expect(device.write(100, sectors(1, 1))).rejects.toThrow(RangeError);
  await expect(device.discard(8192, 512)).rejects.toThrow(RangeError);
  await device.close();
  await expect(device.write(0, sectors(1, 1))).rejects.toThrow('closed');
  expect([device.operations, device.nrInDoubt]).toEqual([[], 0]);
});

describe('after a crash', () => {
  it('certainly holds what was flushed or written with fua', async () => {
    const device = new RecordingDataDevice(memory());
    await device.write(0, sectors(4, 1));
    await device.flush();
    await device.write(2048, sectors(1, 2), { fua: true });
    await device.writeZeroes(512, 512, { fua: true });
    for (let seed = 0; seed < 20; seed++) {
      expect((await sectorsOf(device.crash({ seed }))).slice(0, 6), `seed ${seed}`).toEqual([1, 0, 1, 1, 2, 0]);
    }
    expect(device.nrInDoubt).toBe(0);
  });

  it('holds none, some or all of what was not, torn between sectors', async () => {
    const device = new RecordingDataDevice(memory());
    await device.write(0, sectors(4, 1));
    await device.flush();
    await device.write(0, sectors(4, 2));
    await device.write(2048, sectors(4, 3));
    expect(await sectorsOf(device.crash({ seed: 1, lands: 'none' }))).toEqual([
      ...Array(4).fill(1),
      ...Array(12).fill(0),
    ]);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'all' }))).slice(0, 9)).toEqual([2, 2, 2, 2, 3, 3, 3, 3, 0]);
    const found = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const after = await sectorsOf(device.crash({ seed }));
      expect(after.slice(0, 4).every((value) => value === 1 || value === 2)).toBe(true);
      expect(after.slice(4, 8).every((value) => value === 0 || value === 3)).toBe(true);
      found.add(after.slice(0, 8).join(''));
    }
    expect([...found]).toEqual(expect.arrayContaining(['11110000', '22220000', '11113333', '22223333']));
    expect(
      [...found].some((after) => /^(?!1111|2222)/.test(after)),
      'a torn write',
    ).toBe(true);
  });

  it('is the same for the same seed', async () => {
    const device = new RecordingDataDevice(memory());
    for (let nr = 0; nr < 8; nr++) await device.write(nr * 1024, sectors(2, nr + 1));
    const once = await sectorsOf(device.crash({ seed: 7 }));
    expect(await sectorsOf(device.crash({ seed: 7 }))).toEqual(once);
  });

  it('may have kept what was discarded or zeroed, or lost it', async () => {
    const device = new RecordingDataDevice(memory(), { initial: sectors(16, 9) });
    await device.discard(0, 2048);
    await device.writeZeroes(4096, 2048);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'none' }))).every((value) => value === 9)).toBe(true);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'all' }))).filter((value) => value === 9)).toHaveLength(8);
  });

  it('holds what a flush covers, not what was written or still in flight while it ran', async () => {
    const slow = new FaultyDataDevice(memory());
    const device = new RecordingDataDevice(slow);
    await device.write(0, sectors(1, 1));
    const held = slow.hold('flush');
    const heldWrite = slow.hold('write', { which: (offset) => offset === 512 });
    const inFlight = device.write(512, sectors(1, 2));
    const flushing = device.flush();
    await device.write(1024, sectors(1, 3));
    held.release();
    await flushing;
    const none = await sectorsOf(device.crash({ seed: 1, lands: 'none' }));
    expect(none.slice(0, 3)).toEqual([1, 0, 0]);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'all' }))).slice(0, 3)).toEqual([1, 2, 3]);
    heldWrite.release();
    await inFlight;
  });

  it('holds nothing for certain of a flush that failed, nor of a write', async () => {
    const device = new RecordingDataDevice(
      new FaultyDataDevice(memory(), [
        { operation: 'flush', nth: 1 },
        { operation: 'write', nth: 2 },
      ]),
    );
    await device.write(0, sectors(1, 1));
    await expect(device.flush()).rejects.toThrow(DeviceError);
    await expect(device.write(512, sectors(1, 2))).rejects.toThrow(DeviceError);
    expect(device.summary).toEqual(['write 512 bytes at 0', 'write 512 bytes at 512']);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'none' }))).slice(0, 2)).toEqual([0, 0]);
    expect((await sectorsOf(device.crash({ seed: 1, lands: 'all' }))).slice(0, 2)).toEqual([1, 2]);
  });

  it('can be had at the n-th operation, before that operation changes anything', async () => {
    const crashes: MemoryDataDevice[] = [];
    const device: RecordingDataDevice = new RecordingDataDevice(memory(), {
      onOperation: () => crashes.push(device.crash({ seed: 3, lands: 'all' })),
    });
    await device.write(0, sectors(1, 1));
    await device.write(512, sectors(1, 2));
    await device.flush();
    const found = await Promise.all(crashes.map(async (crash) => (await sectorsOf(crash)).slice(0, 2)));
    expect(found).toEqual([
      [0, 0],
      [1, 0],
      [1, 2],
    ]);
  });

  it('of a device of 1 TiB costs what was written, and tears a huge discard too', async () => {
    const size = 2 ** 40;
    const device = new RecordingDataDevice(memory(size));
    await device.write(size / 2, sectors(1, 1));
    await device.flush();
    await device.discard(0, size);
    const survived = new Set<number>();
    for (let seed = 0; seed < 40; seed++) survived.add(device.crash({ seed }).allocatedBytes);
    expect([...survived].sort((a, b) => a - b)).toEqual([0, 65536]);
  });

  it('has the size to which the device below has grown', async () => {
    const inner = memory(512);
    const device = new RecordingDataDevice(inner);
    await inner.grow(1024);
    await device.write(512, sectors(1, 5));
    expect(await sectorsOf(device.crash({ seed: 1, lands: 'all' }))).toEqual([0, 5]);
    await device.flush();
    expect(await sectorsOf(device.crash({ seed: 1, lands: 'none' }))).toEqual([0, 5]);
  });
});

it('lets nothing older land over what was written with fua, but around it, and what was asked for meanwhile', async () => {
  const device = new RecordingDataDevice(new MemoryDataDevice({ size: 4096 }));
  await device.write(0, new Uint8Array(4096).fill(1)); // in doubt for ever
  const bytesAfter = async (seed: number): Promise<number[]> => {
    const bytes = new Uint8Array(4096);
    await device.crash({ seed, lands: seed === 0 ? 'all' : 'some' }).read(0, bytes);
    return [0, 1023, 1024, 2047, 2048, 4095].map((at) => bytes[at] as number);
  };
  await device.write(1024, new Uint8Array(1024).fill(2), { fua: true });
  for (let seed = 0; seed < 50; seed++) {
    const [first, before, begin, end, after, last] = await bytesAfter(seed);
    expect([begin, end], `seed ${seed}`).toEqual([2, 2]);
    for (const byte of [first, before, after, last]) expect([0, 1], `seed ${seed}`).toContain(byte);
  }
  expect(await bytesAfter(0)).toEqual([1, 1, 2, 2, 1, 1]);
  await device.write(1024, new Uint8Array(512).fill(3)); // younger: it may land
  expect(await bytesAfter(0)).toEqual([1, 1, 3, 2, 1, 1]);
  await device.flush();
  expect(device.nrInDoubt).toBe(0);
});
