/** The data device in a regular file: the contract, and what is special about files. Block devices: block-data-device.test.ts. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataDeviceConformance, seededRandom } from '@pdata/testing';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { DataDevice } from '../data-device.js';
import { DeviceBusyError, DeviceError, DeviceOpenError } from '../errors.js';
import type { GrowableDataDevice } from '../growable-data-device.js';
import { type OpenFileDataDeviceOptions, openFileDataDevice } from './file-data-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-data-'));
const mounts: string[] = [];
let nrPaths = 0;
const newPath = (): string => join(folder, `data-${++nrPaths}`);
afterAll(() => {
  for (const mount of mounts) execFileSync('umount', [mount]);
  rmSync(folder, { recursive: true });
});

const KIB = 1024;
const UNIT = 64 * KIB;

const opened: DataDevice[] = [];
afterEach(async () => {
  for (const device of opened.splice(0)) await device.close();
});
async function open(path: string, options: OpenFileDataDeviceOptions): Promise<GrowableDataDevice> {
  const device = await openFileDataDevice(path, options);
  opened.push(device);
  return device;
}
const create = (size: number, path = newPath()): Promise<GrowableDataDevice> =>
  open(path, { mode: 'write', create: { size } });

function fileWith(bytes: Uint8Array): string {
  const path = newPath();
  writeFileSync(path, bytes);
  return path;
}
async function bytesOf(device: DataDevice, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length).fill(0xa5);
  await device.read(offset, bytes);
  return bytes;
}
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
const spaceOf = (path: string): number => statSync(path).blocks * 512;
/** "64 hole, 64 data": the allocation of the whole device in KiB. */
async function allocationOf(device: DataDevice): Promise<string> {
  const extents = await device.allocation(0, device.size);
  return extents.map(({ length, state }) => `${length / KIB} ${state}`).join(', ');
}

/** A new file system of `type`, or why there is none. */
function newMount(type: string, options: string): { mount: string } | { whyNot: string } {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0)
    return { whyNot: `mounting ${type} needs root on Linux` };
  const mount = newPath();
  mkdirSync(mount);
  try {
    execFileSync('mount', ['-t', type, '-o', options, type, mount], { stdio: 'pipe' });
  } catch (error) {
    return { whyNot: `cannot mount ${type}: ${(error as Error).message}` };
  }
  mounts.push(mount);
  return { mount };
}
const full = newMount('tmpfs', 'size=1m');
const holeless = newMount('ramfs', 'mode=700');
for (const tried of [full, holeless]) if ('whyNot' in tried) console.warn(`skipped: ${tried.whyNot}`);

describe('a data device in a regular file', () => {
  const suite = dataDeviceConformance({
    create: () => openFileDataDevice(newPath(), { mode: 'write', create: { size: 700 * KIB + 512 } }),
    createReadOnly: () => openFileDataDevice(fileWith(filled(128 * KIB, 3)), { mode: 'read' }),
    reopen: (closed) => openFileDataDevice(closed.name, { mode: 'write' }),
    nrRandomWorkloads: 10,
  });
  for (const { name, run } of suite) it(name, run);
});

describe('where no holes can be punched', () => {
  const isSkipped = 'whyNot' in holeless;
  const newHoleless = (size: number): Promise<GrowableDataDevice> =>
    openFileDataDevice(join(isSkipped ? '' : holeless.mount, `data-${++nrPaths}`), { mode: 'write', create: { size } });

  it.skipIf(isSkipped)('keeps the contract, once it has found out', async () => {
    const suite = dataDeviceConformance({
      create: async () => {
        const device = await newHoleless(700 * KIB);
        await device.write(0, filled(700 * KIB, 9));
        await device.discard(0, UNIT);
        return device;
      },
      discardable: false,
      nrRandomWorkloads: 5,
    });
    for (const { name, run } of suite) await run().catch((error: Error) => expect.fail(`${name}: ${error.message}`));
  });

  it.skipIf(isSkipped)('writes zeros instead, ignores discards, and says so in its hints', async () => {
    const device = await newHoleless(4096 * KIB);
    opened.push(device);
    await device.write(0, filled(4096 * KIB, 9));
    expect(device.hints).toMatchObject({ discardGranularity: UNIT, fastZeroes: true });
    await device.discard(0, 128 * KIB);
    expect(device.hints).toMatchObject({ discardGranularity: 0, fastZeroes: false });
    await device.writeZeroes(100 * KIB, 3000 * KIB);
    const expected = filled(4096 * KIB, 9).fill(0, 100 * KIB, 3100 * KIB);
    expect(Buffer.compare(await bytesOf(device, 0, 4096 * KIB), expected)).toBe(0);
    expect(await allocationOf(device)).toBe('4096 data');
  });
});

describe('space', () => {
  it('is not taken by a new file', async () => {
    const path = newPath();
    const device = await create(2 ** 40, path);
    expect([statSync(path).size, spaceOf(path) < UNIT]).toEqual([2 ** 40, true]);
    expect(await device.allocation(0, 2 ** 40)).toEqual([{ offset: 0, length: 2 ** 40, state: 'hole' }]);
  });

  it('is given back by discards, in whole units of 64 KiB', async () => {
    const path = newPath();
    const device = await create(1024 * KIB, path);
    await device.write(0, filled(1024 * KIB, 7));
    await device.flush();
    const before = spaceOf(path);
    await device.discard(UNIT - 512, 2 * UNIT + 1024);
    await device.flush();
    expect(before - spaceOf(path)).toBe(2 * UNIT);
    expect(await allocationOf(device)).toBe('64 data, 128 hole, 832 data');
    const found = await bytesOf(device, 0, 4 * UNIT);
    expect(Buffer.compare(found, filled(4 * UNIT, 7).fill(0, UNIT, 3 * UNIT))).toBe(0);
    await device.discard(UNIT + 512, UNIT - 512); // no whole unit
    await device.discard(0, 512);
    expect(spaceOf(path)).toBe(before - 2 * UNIT);
  });

  it('far behind 4 GiB is written, read, discarded and told like any other', async () => {
    const path = newPath();
    const far = 2 ** 43; // ext4 ends at 16 TiB
    const device = await create(far + 4 * UNIT, path);
    await device.write(far + UNIT - 512, filled(1024, 5));
    await device.write(far + 2 * UNIT, filled(2 * UNIT, 6));
    await device.discard(far + 2 * UNIT, UNIT);
    expect(await device.allocation(far - UNIT, 5 * UNIT)).toEqual([
      { offset: far - UNIT, length: UNIT, state: 'hole' },
      { offset: far, length: 2 * UNIT, state: 'data' },
      { offset: far + 2 * UNIT, length: UNIT, state: 'hole' },
      { offset: far + 3 * UNIT, length: UNIT, state: 'data' },
    ]);
    const found = await bytesOf(device, far, 4 * UNIT);
    const expected = filled(4 * UNIT, 0)
      .fill(5, UNIT - 512, UNIT + 512)
      .fill(6, 3 * UNIT);
    expect(Buffer.compare(found, expected)).toBe(0);
    await device.flush();
    expect(spaceOf(path)).toBeLessThan(3 * UNIT);
  });

  it('is given back to the last byte, though the device ends within a unit', async () => {
    const path = newPath();
    const device = await create(UNIT + 4096, path);
    await device.write(0, filled(UNIT + 4096, 7));
    await device.discard(UNIT, 4096);
    expect(await allocationOf(device)).toBe('64 data, 4 hole');
    expect(await bytesOf(device, UNIT, 4096)).toEqual(filled(4096, 0));
  });

  it('is given back by many zeros, not by few, and not when it is to be kept', async () => {
    const path = newPath();
    const device = await create(1024 * KIB, path);
    await device.write(0, filled(1024 * KIB, 7));
    await device.flush();
    const before = spaceOf(path);
    await device.writeZeroes(0, 512 * KIB, { keepAllocated: true });
    await device.writeZeroes(512 * KIB, 128 * KIB);
    await device.flush();
    expect([spaceOf(path), await allocationOf(device)]).toEqual([before, '1024 data']);
    await device.writeZeroes(512, 512 * KIB);
    await device.flush();
    expect([before - spaceOf(path), await allocationOf(device)]).toEqual([7 * UNIT, '64 data, 448 hole, 512 data']);
    expect(Buffer.compare(await bytesOf(device, 0, 640 * KIB), filled(640 * KIB, 0))).toBe(0);
  });

  it('is not taken by zeros on holes, unless it is to be kept', async () => {
    const path = newPath();
    const device = await create(1024 * KIB, path);
    await device.write(3 * UNIT, filled(512, 1));
    await device.writeZeroes(512, 1024 * KIB - 512);
    await device.writeZeroes(UNIT + 512, 4096, { fua: true });
    expect(await allocationOf(device)).toBe('1024 hole');
    await device.writeZeroes(4 * UNIT, 2 * UNIT, { keepAllocated: true });
    expect(await allocationOf(device)).toBe('256 hole, 128 data, 640 hole');
    await device.flush();
    expect(spaceOf(path)).toBe(2 * UNIT);
  });

  it('that a file took before it was opened is data; a file that takes none is a hole where that can be known', async () => {
    const used = fileWith(filled(256 * KIB, 0));
    expect(await allocationOf(await open(used, { mode: 'write' }))).toBe('256 data');
    const unused = newPath();
    await (await openFileDataDevice(unused, { mode: 'write', create: { size: 256 * KIB } })).close();
    const isKnown = process.platform === 'linux' && [0xef53, 0x01021994].includes(statfsSync(folder).type); // ext4, tmpfs
    expect(await allocationOf(await open(unused, { mode: 'read' }))).toBe(isKnown ? '256 hole' : '256 data');
  });

  it('that has run out is a DeviceError with ENOSPC as its cause, and the device goes on', async () => {
    if ('whyNot' in full) return expect(full.whyNot).not.toBe(''); // warned of above
    const device = await create(4096 * KIB, join(full.mount, 'data'));
    for (const length of [4 * KIB, 512 * KIB]) {
      // In place, and by a thread.
      let refusal: unknown;
      for (let at = 0; at < device.size && refusal === undefined; at += length) {
        refusal = await device.write(at, filled(length, 5)).catch((error: unknown) => error);
      }
      expect(refusal).toBeInstanceOf(DeviceError);
      expect((refusal as DeviceError).message).toMatch(
        /^cannot write \d+ bytes at \d+ of .*: no space left on device$/,
      );
      expect((refusal as DeviceError).cause).toMatchObject({ code: 'ENOSPC' });
      expect(await bytesOf(device, 0, 512)).toEqual(filled(512, 5));
      await device.discard(0, device.size);
    }
    await device.write(3 * UNIT, filled(4096, 6));
    expect(await bytesOf(device, 3 * UNIT, 4096)).toEqual(filled(4096, 6));
  });
});

describe('size', () => {
  it('is rounded down to whole sectors, and the rest is left as it is, by discards at the end and by growing too', async () => {
    const path = fileWith(filled(2 * UNIT + 1024 + 100, 6));
    const device = await open(path, { mode: 'write' });
    expect(device.size).toBe(2 * UNIT + 1024);
    await device.discard(UNIT, UNIT + 1024);
    expect(await allocationOf(device)).toBe('64 data, 65 hole');
    expect([...readFileSync(path).subarray(2 * UNIT + 1023)]).toEqual([0, ...filled(100, 6)]);
    await device.grow(4 * UNIT);
    expect([...(await bytesOf(device, 2 * UNIT + 512, 1536))]).toEqual([
      ...filled(512, 0),
      ...filled(100, 6),
      ...filled(924, 0),
    ]);
    expect(await allocationOf(device), 'the rest is not called a hole').toBe('64 data, 64 hole, 64 data, 64 hole');
  });

  it('grows by holes, and finds what somebody appended', async () => {
    const path = fileWith(filled(UNIT, 6));
    const device = await open(path, { mode: 'write' });
    await device.grow(3 * UNIT);
    expect([device.size, statSync(path).size, await allocationOf(device)]).toEqual([
      3 * UNIT,
      3 * UNIT,
      '64 data, 128 hole',
    ]);
    writeFileSync(path, filled(512, 8), { flag: 'a' });
    await device.grow(3 * UNIT);
    expect(device.size).toBe(3 * UNIT + 512);
    expect(await bytesOf(device, 3 * UNIT, 512)).toEqual(filled(512, 8));
    expect(await allocationOf(device)).toBe('64 data, 128 hole, 0.5 data');
  });

  it('does not shrink, and is a multiple of 512', async () => {
    const device = await create(UNIT);
    await expect(device.grow(512)).rejects.toThrow(RangeError);
    await expect(device.grow(UNIT + 100)).rejects.toThrow('expected a multiple of 512, at least 65536');
    const path = newPath();
    await expect(create(1000, path)).rejects.toThrow(RangeError);
    expect(readdirSync(folder)).not.toContain(path);
  });

  it('that shrinks under an open device is found out by the next request', async () => {
    const path = fileWith(filled(512 * KIB, 6));
    const device = await open(path, { mode: 'read' });
    truncateSync(path, 4096 + 100);
    for (const length of [4096, 256 * KIB]) {
      // In place, and by a thread.
      const reading = device.read(4096, new Uint8Array(length));
      await expect(reading).rejects.toThrow(
        /^cannot read \d+ bytes at 4096 of .*: unexpected end: the file was shortened/,
      );
    }
  });
});

describe('opening', () => {
  it.each([
    { what: 'a missing file', path: () => newPath(), says: /there is no such file or device/ },
    {
      what: 'a directory',
      path: () => folder,
      says: /it is a directory, and data is kept in a regular file or a block device/,
    },
    {
      what: 'less than a sector',
      path: () => fileWith(filled(511, 1)),
      says: /it holds 511 bytes, less than one sector/,
    },
  ])('refuses $what', async ({ path, says }) => {
    const opening = open(path(), { mode: 'read' });
    await expect(opening).rejects.toThrow(DeviceOpenError);
    await expect(opening).rejects.toThrow(says);
  });

  it('never replaces a file that exists', async () => {
    const path = fileWith(filled(512, 1));
    await expect(create(UNIT, path)).rejects.toThrow('something of that name exists already, and is left as it is');
    expect(readFileSync(path)).toEqual(Buffer.from(filled(512, 1)));
  });

  it('excludes everybody for a writer, and writers for a reader, unless told otherwise', async () => {
    const path = fileWith(filled(512, 1));
    const writer = await open(path, { mode: 'write' });
    await expect(open(path, { mode: 'write' })).rejects.toThrow(DeviceBusyError);
    await expect(open(path, { mode: 'read' })).rejects.toThrow(DeviceBusyError);
    await (await open(path, { mode: 'read', lock: false })).close();
    await writer.close();
    await open(path, { mode: 'read' });
    await open(path, { mode: 'read' });
    await expect(open(path, { mode: 'write' })).rejects.toThrow(DeviceBusyError);
  });

  it('neither changes nor accompanies its input when it is for reading', async () => {
    const input = newPath();
    mkdirSync(input);
    const path = join(input, 'data');
    writeFileSync(path, filled(UNIT + 5, 8), { mode: 0o444 });
    const before = statSync(path, { bigint: true });
    const device = await open(path, { mode: 'read' });
    expect(await bytesOf(device, 0, UNIT)).toEqual(filled(UNIT, 8));
    await device.flush();
    expect(readdirSync(input)).toEqual(['data']);
    await device.close();
    const after = statSync(path, { bigint: true });
    expect([after.mtimeNs, after.ctimeNs, after.size]).toEqual([before.mtimeNs, before.ctimeNs, before.size]);
  });

  it('gives the device the name it is told to, for messages', async () => {
    const device = await open(fileWith(filled(512, 1)), { mode: 'read', name: 'data of pool "daily"' });
    expect(device.name).toBe('data of pool "daily"');
    await expect(device.read(512, new Uint8Array(512))).rejects.toThrow('data of pool "daily"');
  });

  const whyNot = process.platform === 'linux' ? undefined : 'looks at descriptors in /proc, which Linux alone has';
  if (whyNot !== undefined) console.warn(`skipped: ${whyNot}`);
  it.skipIf(whyNot !== undefined)('closes its descriptor, after refusals too', async () => {
    const paths = [newPath(), fileWith(filled(10, 1)), fileWith(filled(512, 1))];
    await (await create(UNIT, paths[0])).close();
    await expect(open(paths[1] ?? '', { mode: 'write' })).rejects.toThrow(DeviceOpenError);
    const holder = await open(paths[2] ?? '', { mode: 'write' });
    await expect(open(paths[2] ?? '', { mode: 'read' })).rejects.toThrow(DeviceBusyError);
    await holder.close();
    const inUse = readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)];
      } catch {
        return []; // the descriptor that lists them is gone
      }
    });
    expect(inUse.filter((file) => paths.includes(file))).toEqual([]);
  });
});

it('has done a small request when the method returns', async () => {
  const device = await create(1024 * KIB);
  void device.write(0, filled(UNIT, 4));
  const bytes = new Uint8Array(4096);
  const reading = device.read(UNIT - 4096, bytes);
  expect(bytes).toEqual(filled(4096, 4));
  await reading;
});

it('lets the event loop turn while one request after the other is awaited', async () => {
  const device = await create(1024 * KIB);
  await device.write(0, filled(UNIT, 4));
  let hasTurned = false;
  setImmediate(() => {
    hasTurned = true;
  });
  const bytes = new Uint8Array(UNIT);
  let nr = 0;
  while (!hasTurned && nr < 1_000_000) {
    await device.read(0, bytes);
    nr++;
  }
  expect(hasTurned, 'after a million requests').toBe(true);
});

it('never calls data a hole, however writes, zeros and discards overlap in flight', async () => {
  const size = 32 * UNIT;
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    const device = await create(size);
    for (let burst = 0; burst < 10; burst++) {
      const requests = Array.from({ length: 12 }, () => {
        const offset = below(size / 512) * 512;
        // Small ones are done in place, large ones by threads; discards punch when they hold a unit.
        const length = Math.min(size - offset, (1 + below(random() < 0.5 ? 16 : 1024)) * 512);
        const chosen = random();
        if (chosen < 0.4) return device.write(offset, filled(length, 1 + below(255)));
        if (chosen < 0.6) return device.writeZeroes(offset, length, { keepAllocated: random() < 0.3 });
        return device.discard(offset, length);
      });
      await Promise.all(requests);
      for (const extent of await device.allocation(0, size)) {
        if (extent.state === 'data') continue;
        const found = await bytesOf(device, extent.offset, extent.length);
        expect(Buffer.compare(found, filled(extent.length, 0)), `seed ${seed}, burst ${burst}`).toBe(0);
      }
    }
  }
});
