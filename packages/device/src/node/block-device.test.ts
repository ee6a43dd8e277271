/**
 * The device on a block device: a loop device over a temporary file. Needs root and a kernel with loop devices.
 *
 * The claim that device-mapper or a mount would hold is made here by the test itself, with O_EXCL: to the kernel all are
 * one kind of holder.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blocks, blocksOf, itBehavesLikeAMetadataDevice, thrownBy } from '../../test/metadata-device-contract.js';
import { DeviceBusyError, DeviceError, DeviceOpenError } from '../errors.js';
import { BLOCK_SIZE, type MetadataDevice } from '../metadata-device.js';
import { openFileMetadataDevice } from './file-metadata-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-block-'));
const loops: string[] = [];
let nrFiles = 0;

/** A loop device of that many bytes over `backing`. */
function newLoop(bytes: number): { loop: string; backing: string } {
  const backing = join(folder, `backing-${++nrFiles}`);
  writeFileSync(backing, '');
  truncateSync(backing, bytes);
  const loop = execFileSync('losetup', ['--find', '--show', backing], { encoding: 'utf8', stdio: 'pipe' }).trim();
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
    newLoop(BLOCK_SIZE);
    return undefined;
  } catch (error) {
    return `no loop device can be set up: ${(error as Error).message}`;
  } finally {
    detachAll();
  }
}

const whyNot = whyNoLoopDevices();
if (whyNot !== undefined) console.warn(`skipped, metadata on a block device: ${whyNot}`);
afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(whyNot !== undefined)('a device on a block device', () => {
  const opened: MetadataDevice[] = [];
  const keep = (device: MetadataDevice): MetadataDevice => {
    opened.push(device);
    return device;
  };
  let loop: string;
  let backing: string;
  beforeEach(() => {
    ({ loop, backing } = newLoop(4 * BLOCK_SIZE + 512));
  });
  afterEach(() => {
    for (const device of opened.splice(0)) device.close();
    detachAll();
  });

  itBehavesLikeAMetadataDevice({
    create(nrBlocks) {
      const made = newLoop(nrBlocks * BLOCK_SIZE);
      return enlargedWithBacking(keep(openFileMetadataDevice(made.loop, { mode: 'write' })), made.backing);
    },
    reopen: (closed, mode) => keep(openFileMetadataDevice(closed.name, { mode })),
  });

  it('finds out its size, and ignores a part of a block at the end', () => {
    expect(keep(openFileMetadataDevice(loop, { mode: 'read' })).nrBlocks).toBe(4);
  });

  it('has written to the disk itself when a flush is over', () => {
    const device = keep(openFileMetadataDevice(loop, { mode: 'write' }));
    device.write(1, blocks(5, 6));
    device.flush();
    const disk = readFileSync(backing);
    expect([disk[0], disk[BLOCK_SIZE], disk[2 * BLOCK_SIZE], disk[3 * BLOCK_SIZE]]).toEqual([0, 5, 6, 0]);
  });

  it('reads what is on the disk now, past blocks that the page cache remembers', () => {
    // Somebody keeps the device open and has read it, so that its pages stay cached; then the disk changes below.
    const other = openSync(loop, 'r');
    try {
      const reader = keep(openFileMetadataDevice(loop, { mode: 'read', lock: false }));
      expect(readFileSync(other).byteLength).toBe(4 * BLOCK_SIZE + 512);
      const disk = openSync(backing, 'r+');
      writeSync(disk, blocks(9), 0, BLOCK_SIZE, 2 * BLOCK_SIZE);
      closeSync(disk);
      const cached = openSync(loop, 'r');
      const stale = readFileSync(cached);
      closeSync(cached);
      expect(stale[2 * BLOCK_SIZE], 'the page cache is as stale as this test needs it').toBe(0);
      expect(blocksOf(reader)).toEqual([0, 0, 9, 0]);
    } finally {
      closeSync(other);
    }
  });

  it('moves runs larger than its aligned memory, from and to arrays at any address', () => {
    const nrBlocks = 700; // 2.7 MiB, in three steps
    const { loop: large } = newLoop(nrBlocks * BLOCK_SIZE);
    const device = keep(openFileMetadataDevice(large, { mode: 'write' }));
    const buffer = new Uint8Array(nrBlocks * BLOCK_SIZE + 3);
    const run = buffer.subarray(3);
    for (let nr = 0; nr < nrBlocks; nr++) run.fill(nr % 251, nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    device.write(0, run);
    device.flush();
    expect(blocksOf(device)).toEqual(Array.from({ length: nrBlocks }, (_, nr) => nr % 251));
  });

  it('is refused while the kernel or another program has claimed it, to readers and writers', () => {
    const claim = openSync(loop, constants.O_RDONLY | constants.O_EXCL);
    try {
      for (const mode of ['read', 'write'] as const) {
        const refusal = thrownBy(() => openFileMetadataDevice(loop, { mode }));
        expect(refusal).toBeInstanceOf(DeviceBusyError);
        expect(refusal.cause).toMatchObject({ code: 'EBUSY' });
        expect(refusal.message).toBe(
          `cannot open ${loop} for ${mode === 'read' ? 'reading' : 'writing'}: ` +
            'it is in use, by a mount, by device-mapper or by another program',
        );
      }
      const snapshotReader = keep(openFileMetadataDevice(loop, { mode: 'read', lock: false }));
      expect(blocksOf(snapshotReader)).toEqual([0, 0, 0, 0]);
    } finally {
      closeSync(claim);
    }
    keep(openFileMetadataDevice(loop, { mode: 'write' }));
  });

  it('holds the claim itself while open, so that nothing can take the device up', () => {
    const claim = (): number => openSync(loop, constants.O_RDONLY | constants.O_EXCL);
    for (const mode of ['read', 'write'] as const) {
      const device = openFileMetadataDevice(loop, { mode });
      expect(thrownBy(claim)).toMatchObject({ code: 'EBUSY' });
      device.close();
      closeSync(claim());
    }
  });

  it('is re-measured by grow, and says so when it is not as large as wanted', () => {
    const device = keep(openFileMetadataDevice(loop, { mode: 'write' }));
    const refusal = thrownBy(() => device.grow(9));
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toBe(`cannot grow ${loop} to 9 blocks: the block device has 4; enlarge it first`);
    truncateSync(backing, 10 * BLOCK_SIZE);
    execFileSync('losetup', ['--set-capacity', loop]);
    device.grow(9);
    expect(device.nrBlocks).toBe(10);
    device.write(9, blocks(3));
    device.flush();
    expect(readFileSync(backing)[9 * BLOCK_SIZE]).toBe(3);
  });

  it('is refused when smaller than a block', () => {
    const { loop: tiny } = newLoop(3 * 512);
    const refusal = thrownBy(() => openFileMetadataDevice(tiny, { mode: 'read' }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(
      `cannot open ${tiny}: it holds 1536 bytes, less than one metadata block of 4096 bytes`,
    );
  });
});

/** Lets `grow` be tested by the contract: enlarges the loop device first, as an administrator would. */
function enlargedWithBacking(device: MetadataDevice, backing: string): MetadataDevice {
  const grow = device.grow.bind(device);
  device.grow = (nrBlocks) => {
    if (nrBlocks > device.nrBlocks) {
      truncateSync(backing, nrBlocks * BLOCK_SIZE);
      execFileSync('losetup', ['--set-capacity', device.name]);
    }
    grow(nrBlocks);
  };
  return device;
}
