/** Locks of files, in this process and between processes. The order of the first two tests matters: see there. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { thrownBy } from '../../test/metadata-device-contract.js';
import { DeviceBusyError, DeviceOpenError } from '../errors.js';
import { BLOCK_SIZE, type MetadataDevice } from '../metadata-device.js';
import { type OpenFileMetadataDeviceOptions, openFileMetadataDevice } from './file-metadata-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-lock-'));
const path = join(folder, 'metadata');
const opened: MetadataDevice[] = [];
const require = createRequire(import.meta.url);

function open(options: OpenFileMetadataDeviceOptions): MetadataDevice {
  const device = openFileMetadataDevice(path, options);
  opened.push(device);
  return device;
}

beforeEach(() => writeFileSync(path, new Uint8Array(4 * BLOCK_SIZE)));
afterEach(() => {
  for (const device of opened.splice(0)) device.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const isLibraryLoaded = (): boolean => Object.keys(require.cache).some((file) => file.includes('fs-native-extensions'));

it('does not load the native library for a device opened without a lock', () => {
  open({ mode: 'read', lock: false });
  expect(isLibraryLoaded()).toBe(false); // first test of this file, so nobody else has loaded it
});

it('says so when the native library cannot be loaded, and opens without a lock on request', () => {
  const loader = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown };
  const load = loader._load;
  loader._load = function (request, ...rest) {
    if (request === 'fs-native-extensions') throw new Error('no prebuilt binary for this machine');
    return load.call(this, request, ...rest);
  };
  try {
    const refusal = thrownBy(() => open({ mode: 'write' }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toContain(`cannot lock ${path}: the library fs-native-extensions could not be loaded on`);
    expect(refusal.message).toContain('lock: false');
    expect((refusal.cause as Error).message).toBe('no prebuilt binary for this machine');
    expect(
      thrownBy(() => openFileMetadataDevice(`${path}-new`, { mode: 'write', create: { nrBlocks: 1 } })),
    ).toBeInstanceOf(DeviceOpenError);
    expect(readdirSync(folder), 'a file that could not be locked is not left behind').toEqual(['metadata']);
    open({ mode: 'write', lock: false });
  } finally {
    loader._load = load;
  }
  expect(isLibraryLoaded()).toBe(false);
  open({ mode: 'write' });
  expect(isLibraryLoaded()).toBe(true);
});

it('lets any number of readers in, and no writer beside them', () => {
  const readers = [open({ mode: 'read' }), open({ mode: 'read' })];
  const refusal = thrownBy(() => open({ mode: 'write' }));
  expect(refusal).toBeInstanceOf(DeviceBusyError);
  expect(refusal.message).toBe(
    `cannot open ${path} for writing: it is open already, in this process or another; a writer needs it alone`,
  );
  readers[0]?.close();
  expect(thrownBy(() => open({ mode: 'write' }))).toBeInstanceOf(DeviceBusyError);
  readers[1]?.close();
  open({ mode: 'write' });
});

it('lets a writer in alone, in the same process too', () => {
  const writer = open({ mode: 'write' });
  expect(thrownBy(() => open({ mode: 'write' }))).toBeInstanceOf(DeviceBusyError);
  const refusal = thrownBy(() => open({ mode: 'read' }));
  expect(refusal).toBeInstanceOf(DeviceBusyError);
  expect(refusal.message).toBe(
    `cannot open ${path} for reading: it is open for writing, in this process or another; wait until the writer has closed it`,
  );
  // The refused openers closed descriptors of the same file: with locks of the process that would have lost ours.
  expect(thrownBy(() => open({ mode: 'write' }))).toBeInstanceOf(DeviceBusyError);
  writer.close();
  open({ mode: 'read' });
});

// The bug of kernel commit 9b1cc9f2: two metadata objects over one device, each with its own idea of it.
it('recognises the same file under another name', () => {
  const [hardLink, symbolicLink] = [join(folder, 'hard-link'), join(folder, 'symbolic-link')];
  linkSync(path, hardLink);
  symlinkSync(path, symbolicLink);
  open({ mode: 'write' });
  for (const other of [hardLink, symbolicLink]) {
    const refusal = thrownBy(() => openFileMetadataDevice(other, { mode: 'write' }));
    expect(refusal).toBeInstanceOf(DeviceBusyError);
    expect(refusal.message).toContain(other);
    rmSync(other);
  }
});

it('ignores the locks of others when asked to', () => {
  open({ mode: 'write' });
  const snapshotReader = open({ mode: 'read', lock: false });
  expect(snapshotReader.nrBlocks).toBe(4);
  expect(snapshotReader.readOnly).toBe(true);
});

it('leaves no file beside the one it locks', () => {
  open({ mode: 'read' }).close();
  open({ mode: 'write' });
  expect(readdirSync(folder)).toEqual(['metadata']);
});

it('gives the lock back at once when closed during a flush, and the descriptor when that is over', async () => {
  const device = open({ mode: 'write' });
  device.write(0, new Uint8Array(4 * BLOCK_SIZE).fill(1));
  const flushed = device.flushAsync();
  device.close();
  const next = open({ mode: 'write' });
  await flushed;
  expect(
    thrownBy(() => open({ mode: 'read' })),
    'the late close kept the lock of the next one',
  ).toBeInstanceOf(DeviceBusyError);
  next.close();
});

/** A process that opens `path`, tries the lock, says what came of it, and holds it until it is killed. */
async function otherProcess(mode: 'shared' | 'exclusive'): Promise<{ answer: string; kill(): Promise<void> }> {
  const script = `
    const { tryLock } = require(${JSON.stringify(require.resolve('fs-native-extensions'))});
    const fd = require('node:fs').openSync(${JSON.stringify(path)}, ${mode === 'shared' ? "'r'" : "'r+'"});
    process.stdout.write(tryLock(fd, { shared: ${mode === 'shared'} }) ? 'locked' : 'busy');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [answer] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    answer: answer.toString(),
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

it('keeps a writer out while another process reads, until that process dies', async () => {
  const reader = await otherProcess('shared');
  try {
    expect(reader.answer).toBe('locked');
    open({ mode: 'read' }).close();
    expect(thrownBy(() => open({ mode: 'write' }))).toBeInstanceOf(DeviceBusyError);
  } finally {
    await reader.kill();
  }
  open({ mode: 'write' });
});

it('keeps everybody out while another process writes, until that process dies', async () => {
  const writer = await otherProcess('exclusive');
  try {
    expect(writer.answer).toBe('locked');
    expect(thrownBy(() => open({ mode: 'read' }))).toBeInstanceOf(DeviceBusyError);
    expect(thrownBy(() => open({ mode: 'write' }))).toBeInstanceOf(DeviceBusyError);
  } finally {
    await writer.kill();
  }
  open({ mode: 'write' });
});

it('is seen by another process', async () => {
  const reader = open({ mode: 'read' });
  const asked = async (mode: 'shared' | 'exclusive'): Promise<string> => {
    const other = await otherProcess(mode);
    await other.kill();
    return other.answer;
  };
  expect(await asked('shared')).toBe('locked');
  expect(await asked('exclusive')).toBe('busy');
  reader.close();
  open({ mode: 'write' });
  expect(await asked('shared')).toBe('busy');
});
