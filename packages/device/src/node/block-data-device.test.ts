/**
 * The data device on a block device: a loop device over a temporary file. Needs root and a kernel with loop devices.
 * Claims and locks are the same code as for metadata: block-device.test.ts.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataDeviceConformance } from '@pdata/testing';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { DataDevice } from '../data-device.js';
import { DeviceBusyError, DeviceError } from '../errors.js';
import type { GrowableDataDevice } from '../growable-data-device.js';
import { openFileDataDevice } from './file-data-device.js';

const KIB = 1024;
const folder = mkdtempSync(join(tmpdir(), 'pdata-block-data-'));
const loops: string[] = [];
let nrFiles = 0;

/** A loop device of that many bytes over `backing`, in blocks of `sectorSize`. */
function newLoop(bytes: number, sectorSize = 512): { loop: string; backing: string } {
  const backing = join(folder, `backing-${++nrFiles}`);
  writeFileSync(backing, '');
  truncateSync(backing, bytes);
  const options = ['--find', '--show', '--sector-size', `${sectorSize}`, backing];
  const loop = execFileSync('losetup', options, { encoding: 'utf8', stdio: 'pipe' }).trim();
  loops.push(loop);
  return { loop, backing };
}

function detachAll(): void {
  for (const loop of loops.splice(0)) execFileSync('losetup', ['--detach', loop]);
}

function whyNoLoopDevices(): string | undefined {
  if (process.platform !== 'linux') return 'loop devices are Linux alone';
  if (process.geteuid?.() !== 0) return 'setting up a loop device needs root';
  try {
    newLoop(4096);
    return undefined;
  } catch (error) {
    return `no loop device can be set up: ${(error as Error).message}`;
  } finally {
    detachAll();
  }
}

const whyNot = whyNoLoopDevices();
if (whyNot !== undefined) console.warn(`skipped, data on a block device: ${whyNot}`);
afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(whyNot !== undefined)('a data device on a block device', () => {
  const opened: DataDevice[] = [];
  async function open(loop: string, mode: 'read' | 'write'): Promise<GrowableDataDevice> {
    const device = await openFileDataDevice(loop, { mode });
    opened.push(device);
    return device;
  }
  afterEach(async () => {
    for (const device of opened.splice(0)) await device.close();
    detachAll();
  });

  const suite = dataDeviceConformance({
    create: () => openFileDataDevice(newLoop(700 * KIB + 512).loop, { mode: 'write' }),
    createReadOnly: () => openFileDataDevice(newLoop(128 * KIB).loop, { mode: 'read' }),
    reopen: (closed) => openFileDataDevice(closed.name, { mode: 'write' }),
    nrRandomWorkloads: 3,
  });
  for (const { name, run } of suite) it(name, run);

  it('gives space back that the device below gives back', async () => {
    const { loop, backing } = newLoop(1024 * KIB);
    const device = await open(loop, 'write');
    await device.write(0, new Uint8Array(1024 * KIB).fill(7));
    await device.flush();
    const before = statSync(backing).blocks;
    await device.discard(0, 256 * KIB);
    await device.writeZeroes(512 * KIB, 256 * KIB);
    await device.flush();
    const bytes = new Uint8Array(1024 * KIB).fill(1);
    await device.read(0, bytes);
    const expected = new Uint8Array(1024 * KIB)
      .fill(7)
      .fill(0, 0, 256 * KIB)
      .fill(0, 512 * KIB, 768 * KIB);
    expect(Buffer.compare(bytes, expected)).toBe(0);
    expect((before - statSync(backing).blocks) * 512).toBe(512 * KIB);
  });

  it('writes past the page cache, where the kernel would look', async () => {
    const { loop, backing } = newLoop(128 * KIB);
    const device = await open(loop, 'write');
    await device.write(512, new Uint8Array(1024).fill(5), { fua: true });
    expect([...readFileSync(backing).subarray(511, 1537)]).toEqual([0, ...new Array<number>(1024).fill(5), 0]);
  });

  it('moves more at once than there is aligned memory for', async () => {
    const size = 24 * 2 ** 20;
    const device = await open(newLoop(size).loop, 'write');
    const writes = Array.from({ length: 24 }, (_, nr) =>
      device.write(nr * 2 ** 20, new Uint8Array(2 ** 20).fill(nr + 1)),
    );
    await Promise.all(writes);
    const found = await Promise.all(
      writes.map(async (_, nr) => {
        const bytes = new Uint8Array(2 ** 20);
        await device.read(nr * 2 ** 20, bytes);
        return bytes.every((byte) => byte === nr + 1);
      }),
    );
    expect(found).toEqual(writes.map(() => true));
  });

  it('reads parts of blocks of 4096 bytes, and refuses to write parts, changing nothing', async () => {
    const { loop } = newLoop(1024 * KIB, 4096);
    const device = await open(loop, 'write');
    expect(device.hints.preferredSize).toBe(4096);
    const content = new Uint8Array(600 * KIB).map((_, at) => at % 251);
    await device.write(4096, content);
    for (const [offset, length] of [
      [4096 + 512, 512],
      [8192 - 512, 1024],
      [4096 + 1536, 512 * KIB],
    ] as const) {
      const bytes = new Uint8Array(length);
      await device.read(offset, bytes);
      expect(Buffer.compare(bytes, content.subarray(offset - 4096, offset - 4096 + length))).toBe(0);
    }
    const refused = device.write(4096 + 512, new Uint8Array(512));
    await expect(refused).rejects.toThrow(DeviceError);
    await expect(refused).rejects.toThrow(
      `cannot write 512 bytes at 4608 of ${loop}: the device writes whole blocks of 4096 bytes, and nothing less`,
    );
    const block = new Uint8Array(4096);
    await device.read(4096, block);
    expect(Buffer.compare(block, content.subarray(0, 4096))).toBe(0);
  });

  it('is claimed: neither a mount nor a second reader gets it', async () => {
    const { loop } = newLoop(128 * KIB);
    await open(loop, 'read');
    await expect(open(loop, 'read')).rejects.toThrow(DeviceBusyError);
    expect(() => openSync(loop, constants.O_RDONLY | constants.O_EXCL)).toThrow('EBUSY');
    await opened[0]?.close();
    closeSync(openSync(loop, constants.O_RDONLY | constants.O_EXCL));
  });

  it('grows when its owner has enlarged it, and says when not', async () => {
    const { loop, backing } = newLoop(128 * KIB);
    const device = await open(loop, 'write');
    await expect(device.grow(256 * KIB)).rejects.toThrow(
      `cannot grow ${loop} to 262144 bytes: the block device has 131072; enlarge it first`,
    );
    truncateSync(backing, 512 * KIB);
    execFileSync('losetup', ['--set-capacity', loop]);
    await device.grow(256 * KIB);
    expect(device.size).toBe(512 * KIB);
    await device.write(512 * KIB - 512, new Uint8Array(512).fill(3));
    await device.flush();
    expect(readFileSync(backing)[512 * KIB - 1]).toBe(3);
  });
});
