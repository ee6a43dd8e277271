/**
 * What becomes of a flush when the disk loses writes that were taken for done: an ext4 on a loop device whose file lies on a
 * file system of 6 MiB. Needs root, loop devices and mkfs.ext4.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { DeviceError } from '../errors.js';
import { openFileDataDevice } from './file-data-device.js';
import { openFileMetadataDevice } from './file-metadata-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-lost-writes-'));
const mounts: string[] = [];
let nrDisks = 0;
const run = (...command: [string, ...string[]]): unknown =>
  execFileSync(command[0], command.slice(1), { stdio: 'pipe' });
const MIB = 2 ** 20;

/** A file system that says it has 64 MiB and has 6. */
function newLyingDisk(): string {
  nrDisks++;
  const [small, lying] = ['small', 'lying'].map((name) => join(folder, `${name}-${nrDisks}`)) as [string, string];
  for (const mount of [small, lying]) mkdirSync(mount);
  run('mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', small);
  mounts.push(small);
  const backing = join(small, 'backing');
  writeFileSync(backing, '');
  truncateSync(backing, 64 * MIB);
  run('mkfs.ext4', '-q', '-O', '^has_journal', backing);
  run('mount', '-o', 'loop', backing, lying);
  mounts.push(lying);
  return lying;
}

function whyNotHere(): string | undefined {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0) return 'mounting a disk needs root on Linux';
  try {
    newLyingDisk();
    return undefined;
  } catch (error) {
    return `cannot mount an ext4 on a loop device: ${(error as Error).message}`;
  } finally {
    unmountAll();
  }
}
function unmountAll(): void {
  for (const mount of mounts.splice(0).reverse()) run('umount', mount);
}

const whyNot = whyNotHere();
if (whyNot !== undefined) console.warn(`skipped, flushes of lost writes: ${whyNot}`);
afterAll(() => {
  unmountAll();
  rmSync(folder, { recursive: true });
});

it.skipIf(whyNot !== undefined)('fails the flush of data that was lost, and each later one', async () => {
  const path = join(newLyingDisk(), 'data');
  const device = await openFileDataDevice(path, { mode: 'write', create: { size: 32 * MIB } });
  for (let at = 0; at < 24 * MIB; at += MIB) await device.write(at, new Uint8Array(MIB).fill(1));
  await expect(device.flush()).rejects.toThrow(DeviceError);
  const later = `cannot flush ${path}: an earlier flush failed, and what it covered may be lost; close it and open it again`;
  await expect(device.flush()).rejects.toThrow(later);
  await expect(device.write(0, new Uint8Array(512), { fua: true })).rejects.toThrow(later);
  await device.close();
});

it.skipIf(whyNot !== undefined)('fails the flush of metadata that was lost, and each later one', async () => {
  const path = join(newLyingDisk(), 'metadata');
  const device = openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 8192 } });
  for (let blockNr = 0; blockNr < 6144; blockNr += 256) device.write(blockNr, new Uint8Array(MIB).fill(1));
  await expect(device.flushAsync()).rejects.toThrow(DeviceError);
  expect(() => device.flush()).toThrow('an earlier flush failed');
  await expect(device.flushAsync()).rejects.toThrow('an earlier flush failed');
  device.close();
});
