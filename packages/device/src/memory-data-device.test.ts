/** The data device in memory: the contract, over bytes and sparse, and what is special about memory. */
import { dataDeviceConformance } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { DeviceOpenError, ReadOnlyError } from './errors.js';
import { MemoryDataDevice } from './memory-data-device.js';

const KIB = 1024;
const TIB = 2 ** 40;

describe('a sparse memory device', () => {
  const suite = dataDeviceConformance({
    create: async () => new MemoryDataDevice({ size: 700 * KIB + 512 }),
    createReadOnly: async () => new MemoryDataDevice({ size: 700 * KIB, readOnly: true }),
    nrRandomWorkloads: 5,
  });
  for (const { name, run } of suite) it(name, run);

  it('of 1 TiB takes the memory of what was written, by pages of 64 KiB', async () => {
    const device = new MemoryDataDevice({ size: TIB });
    expect(device.allocatedBytes).toBe(0);
    await device.write(TIB - 4096, new Uint8Array(4096).fill(7));
    await device.write(TIB / 2 - 512, new Uint8Array(1024).fill(8));
    expect(device.allocatedBytes).toBe(3 * 64 * KIB);
    const around = new Uint8Array(4096);
    await device.read(TIB / 2 - 2048, around);
    expect([around[1535], around[1536], around[2559], around[2560]]).toEqual([0, 8, 8, 0]);
  });

  it('of 1 TiB is discarded at once, and gives everything back', async () => {
    const device = new MemoryDataDevice({ size: TIB });
    for (let nr = 0; nr < 16; nr++) await device.write(nr * 2 ** 36, new Uint8Array(512).fill(1));
    await device.discard(0, TIB - 512);
    expect(device.allocatedBytes).toBe(0);
  });

  it('drops pages that are discarded or zeroed whole, and zeroes parts of others', async () => {
    const device = new MemoryDataDevice({ size: 256 * KIB });
    await device.write(0, new Uint8Array(256 * KIB).fill(3));
    await device.discard(32 * KIB, 96 * KIB);
    expect(device.allocatedBytes).toBe(192 * KIB);
    expect(await device.allocation(0, 256 * KIB)).toEqual([
      { offset: 0, length: 32 * KIB, state: 'data' },
      { offset: 32 * KIB, length: 32 * KIB, state: 'zero' },
      { offset: 64 * KIB, length: 64 * KIB, state: 'hole' },
      { offset: 128 * KIB, length: 128 * KIB, state: 'data' },
    ]);
    await device.writeZeroes(0, 256 * KIB);
    expect(device.allocatedBytes).toBe(0);
  });

  it('keeps pages when zeros are to keep their space', async () => {
    const device = new MemoryDataDevice({ size: 256 * KIB });
    await device.writeZeroes(60 * KIB, 8 * KIB, { keepAllocated: true });
    expect(await device.allocation(0, 256 * KIB)).toEqual([
      { offset: 0, length: 128 * KIB, state: 'zero' },
      { offset: 128 * KIB, length: 128 * KIB, state: 'hole' },
    ]);
  });

  it('drops a last page that is not whole', async () => {
    const device = new MemoryDataDevice({ size: 64 * KIB + 512 });
    await device.write(64 * KIB, new Uint8Array(512).fill(1));
    await device.discard(64 * KIB, 512);
    expect(device.allocatedBytes).toBe(0);
  });

  it('grows by zeros, also where something was', async () => {
    const device = new MemoryDataDevice({ size: 1024 });
    await device.write(0, new Uint8Array(1024).fill(1));
    await device.grow(TIB);
    expect(device.size).toBe(TIB);
    const bytes = new Uint8Array(2048);
    await device.read(0, bytes);
    expect([bytes[1023], bytes[1024], bytes[2047]]).toEqual([1, 0, 0]);
  });

  it('is copied so that neither side sees what the other does then', async () => {
    const device = new MemoryDataDevice({ size: TIB });
    const fill = (target: MemoryDataDevice, at: number, value: number): Promise<void> =>
      target.write(at, new Uint8Array(512).fill(value));
    const valuesOf = async (target: MemoryDataDevice): Promise<number[]> => {
      const bytes = new Uint8Array(3 * 65536);
      await target.read(TIB / 2, bytes);
      return [0, 512, 65536, 131072].map((at) => bytes[at] ?? -1);
    };
    for (const at of [0, 512, 65536, 131072]) await fill(device, TIB / 2 + at, 1);
    const copy = device.copy('copy');
    const second = copy.copy();
    await fill(device, TIB / 2, 2);
    await copy.writeZeroes(TIB / 2 + 512, 512);
    await copy.discard(TIB / 2 + 65536, 65536);
    await fill(copy, TIB / 2 + 65536, 3);
    await second.discard(0, TIB);
    await device.close();
    expect([await valuesOf(copy), await valuesOf(second)]).toEqual([
      [1, 0, 3, 1],
      [0, 0, 0, 0],
    ]);
    expect(await valuesOf(device.copy())).toEqual([2, 1, 1, 1]);
    expect([copy.name, copy.size, second.allocatedBytes]).toEqual(['copy', TIB, 0]);
  });

  it('is copied without its bytes: a thousand copies of 16 MiB take less than that', async () => {
    const device = new MemoryDataDevice({ size: TIB });
    await device.write(0, new Uint8Array(16 * 2 ** 20).fill(1));
    const before = process.memoryUsage().arrayBuffers;
    const copies = Array.from({ length: 1000 }, () => device.copy());
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
    expect(copies[999]?.allocatedBytes).toBe(16 * 2 ** 20);
  });

  it('has no bytes to show', () => {
    expect(new MemoryDataDevice({ size: 512 }).bytes).toBeUndefined();
  });
});

describe('a memory device over bytes', () => {
  const suite = dataDeviceConformance({
    create: async () => new MemoryDataDevice({ bytes: new Uint8Array(700 * KIB + 100).fill(9) }),
    createReadOnly: async () => new MemoryDataDevice({ bytes: new Uint8Array(700 * KIB), readOnly: true }),
    nrRandomWorkloads: 5,
  });
  for (const { name, run } of suite) it(name, run);

  it('works in place, also within a larger buffer, and ignores a part of a sector at the end', async () => {
    const buffer = new Uint8Array(4096).fill(1);
    const device = new MemoryDataDevice({ bytes: buffer.subarray(1000, 2100) });
    expect(device.size).toBe(1024);
    await device.write(512, new Uint8Array(512).fill(2));
    expect([buffer[1511], buffer[1512], buffer[2023], buffer[2024]]).toEqual([1, 2, 2, 1]);
    expect(device.bytes?.byteLength).toBe(1024);
  });

  it('tells allocation by looking, so it stays true when the bytes are changed behind its back', async () => {
    const bytes = new Uint8Array(16 * KIB);
    const device = new MemoryDataDevice({ bytes });
    expect(await device.allocation(0, 16 * KIB)).toEqual([{ offset: 0, length: 16 * KIB, state: 'zero' }]);
    bytes[5000] = 1;
    expect(await device.allocation(512, 16 * KIB - 512)).toEqual([
      { offset: 512, length: 4096 - 512, state: 'zero' },
      { offset: 4096, length: 4096, state: 'data' },
      { offset: 8192, length: 8192, state: 'zero' },
    ]);
  });

  it('grows by replacing its array, keeping what it holds', async () => {
    const device = new MemoryDataDevice({ bytes: new Uint8Array(512).fill(4) });
    await device.grow(1536);
    expect(device.bytes?.byteLength).toBe(1536);
    expect([device.bytes?.[511], device.bytes?.[512]]).toEqual([4, 0]);
  });

  it('is copied, writable, with nothing shared', async () => {
    const bytes = new Uint8Array(512).fill(4);
    const copy = new MemoryDataDevice({ bytes, readOnly: true }).copy();
    await copy.write(0, new Uint8Array(512).fill(5));
    expect([bytes[0], copy.bytes?.[0]]).toEqual([4, 5]);
  });
});

it.each([0, 511, 513, -512, 1.5, Number.NaN, 2 ** 53])('refuses a size of %s', (size) => {
  expect(() => new MemoryDataDevice({ size })).toThrow(RangeError);
  expect(() => new MemoryDataDevice({ size })).toThrow(`size of ${size} bytes, memory: expected a multiple of 512`);
});

it('refuses bytes that are less than a sector', () => {
  expect(() => new MemoryDataDevice({ bytes: new Uint8Array(511), name: 'part' })).toThrow(DeviceOpenError);
  expect(() => new MemoryDataDevice({ bytes: new Uint8Array(511), name: 'part' })).toThrow(
    'cannot use part: it holds 511 bytes, less than one sector of 512',
  );
});

it('does not shrink, and does not grow when read-only', async () => {
  const device = new MemoryDataDevice({ size: 1024 });
  await expect(device.grow(512)).rejects.toThrow(RangeError);
  await expect(device.grow(1025)).rejects.toThrow('expected a multiple of 512, at least 1024');
  await expect(new MemoryDataDevice({ size: 512, readOnly: true }).grow(1024)).rejects.toThrow(ReadOnlyError);
});
