/** The device in a regular file: the contract, and what is special about files. Locks: file-lock.test.ts. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { blocks, blocksOf, itBehavesLikeAMetadataDevice, thrownBy } from '../../test/metadata-device-contract.js';
import { DeviceError, DeviceOpenError } from '../errors.js';
import { BLOCK_SIZE } from '../metadata-device.js';
import { openFileMetadataDevice } from './file-metadata-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-device-'));
let nrPaths = 0;
const newPath = (): string => join(folder, `metadata-${++nrPaths}`);
/** A path with `bytes` in it. */
function fileWith(bytes: Uint8Array): string {
  const path = newPath();
  writeFileSync(path, bytes);
  return path;
}
afterAll(() => rmSync(folder, { recursive: true }));

describe('a device in a regular file', () => {
  itBehavesLikeAMetadataDevice({
    create: (nrBlocks) => openFileMetadataDevice(newPath(), { mode: 'write', create: { nrBlocks } }),
    reopen: (closed, mode) => openFileMetadataDevice(closed.name, { mode }),
  });

  it('ignores a part of a block at the end', () => {
    const path = fileWith(new Uint8Array(2 * BLOCK_SIZE + 4095).fill(6));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    expect(device.nrBlocks).toBe(2);
    expect(thrownBy(() => device.read(2, new Uint8Array(BLOCK_SIZE)))).toBeInstanceOf(RangeError);
    device.write(1, blocks(7));
    device.close();
    expect(readFileSync(path)[2 * BLOCK_SIZE + 4094], 'the part is left as it was').toBe(6);
  });

  it('takes no space for a new file, whose blocks read as zeroes', () => {
    const path = newPath();
    openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 4096 } }).close();
    expect(statSync(path).size).toBe(16 * 2 ** 20);
    expect(statSync(path).blocks * 512).toBeLessThan(2 ** 16);
  });

  it('keeps what is in the file already when it grows', () => {
    const path = fileWith(new Uint8Array(2 * BLOCK_SIZE).fill(6));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    device.grow(5);
    expect(blocksOf(device)).toEqual([6, 6, 0, 0, 0]);
    device.close();
    expect(statSync(path).size).toBe(5 * BLOCK_SIZE);
  });

  it('finds blocks that somebody appended, when it is told to grow', () => {
    const path = fileWith(new Uint8Array(2 * BLOCK_SIZE).fill(6));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    truncateSync(path, 7 * BLOCK_SIZE);
    device.grow(3);
    expect(device.nrBlocks).toBe(7);
    device.close();
  });

  it('neither changes nor accompanies its input when open for reading, and needs no right to write', () => {
    const input = join(folder, 'read-only');
    mkdirSync(input);
    const path = join(input, 'metadata');
    const content = new Uint8Array(3 * BLOCK_SIZE + 5).fill(8);
    writeFileSync(path, content);
    chmodSync(path, 0o444);
    chmodSync(input, 0o555);
    chmodSync(folder, 0o755);
    const before = statSync(path, { bigint: true });
    asNobody(() => {
      const device = openFileMetadataDevice(path, { mode: 'read' });
      expect(blocksOf(device)).toEqual([8, 8, 8]);
      expect(readdirSync(input)).toEqual(['metadata']);
      device.close();
    });
    const after = statSync(path, { bigint: true });
    expect([after.mtimeNs, after.ctimeNs, after.size]).toEqual([before.mtimeNs, before.ctimeNs, before.size]);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
    chmodSync(input, 0o755);
  });
});

describe('system calls', () => {
  const whyNot =
    process.platform === 'linux' ? undefined : 'counts system calls in /proc/self/io, which Linux alone has';
  if (whyNot !== undefined) console.warn(`skipped: ${whyNot}`);

  it.skipIf(whyNot !== undefined)('moves a run of 512 blocks in one call', () => {
    const path = newPath();
    const device = openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 600 } });
    const run = new Uint8Array(512 * BLOCK_SIZE).fill(3);
    const idle = callsDuring(() => {});
    const writing = callsDuring(() => device.write(50, run));
    const reading = callsDuring(() => device.read(50, run));
    expect([writing.reads - idle.reads, writing.writes - idle.writes]).toEqual([0, 1]);
    expect([reading.reads - idle.reads, reading.writes - idle.writes]).toEqual([1, 0]);
    device.close();
  });

  it.skipIf(whyNot !== undefined)('closes its descriptor, on refusals too', () => {
    const path = fileWith(new Uint8Array(BLOCK_SIZE));
    const tooSmall = fileWith(new Uint8Array(10));
    const before = readdirSync('/proc/self/fd').length;
    const device = openFileMetadataDevice(path, { mode: 'write' });
    thrownBy(() => openFileMetadataDevice(path, { mode: 'read' }));
    thrownBy(() => openFileMetadataDevice(tooSmall, { mode: 'read' }));
    thrownBy(() => openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 1 } }));
    expect(readdirSync('/proc/self/fd').length).toBe(before + 1);
    device.close();
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });

  it.skipIf(whyNot !== undefined)(
    'closes its descriptor after the flush that was running when it was closed',
    async () => {
      const device = openFileMetadataDevice(fileWith(new Uint8Array(BLOCK_SIZE)), { mode: 'write' });
      const nrOpen = readdirSync('/proc/self/fd').length;
      const flushes = [device.flushAsync(), device.flushAsync()];
      device.close();
      await Promise.all(flushes);
      expect(readdirSync('/proc/self/fd').length).toBe(nrOpen - 1);
    },
  );
});

describe('what cannot be opened', () => {
  it.each(['read', 'write'] as const)('a file that does not exist (%s)', (mode) => {
    const path = newPath();
    const refusal = thrownBy(() => openFileMetadataDevice(path, { mode }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(
      `cannot open ${path} for ${mode === 'read' ? 'reading' : 'writing'}: there is no such file or device`,
    );
    expect(refusal.cause).toMatchObject({ code: 'ENOENT' });
    expect(readdirSync(folder)).not.toContain(path.slice(folder.length + 1));
  });

  it('a directory', () => {
    const refusal = thrownBy(() => openFileMetadataDevice(folder, { mode: 'read' }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(
      `cannot open ${folder}: it is a directory, and metadata is kept in a regular file or a block device`,
    );
  });

  it('a character device', () => {
    expect(thrownBy(() => openFileMetadataDevice('/dev/zero', { mode: 'read' })).message).toContain(
      'cannot open /dev/zero: it is a character device,',
    );
  });

  it('a pipe, without waiting for somebody at its other end', () => {
    const path = newPath();
    execFileSync('mkfifo', [path]);
    expect(thrownBy(() => openFileMetadataDevice(path, { mode: 'read' })).message).toContain('it is a pipe,');
  });

  it('a socket', async () => {
    const path = newPath();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      expect(thrownBy(() => openFileMetadataDevice(path, { mode: 'write' })).message).toContain('it is a socket,');
    } finally {
      server.close();
    }
  });

  it.each([0, 1, 4095])('a file of %d bytes', (size) => {
    const path = fileWith(new Uint8Array(size));
    const refusal = thrownBy(() => openFileMetadataDevice(path, { mode: 'read' }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(
      `cannot open ${path}: it holds ${size} bytes, less than one metadata block of 4096 bytes`,
    );
  });

  it('a file without permission', () => {
    const path = fileWith(new Uint8Array(BLOCK_SIZE));
    chmodSync(folder, 0o755);
    chmodSync(path, 0o444);
    asNobody(() => {
      openFileMetadataDevice(path, { mode: 'read' }).close();
      const refusal = thrownBy(() => openFileMetadataDevice(path, { mode: 'write' }));
      expect(refusal).toBeInstanceOf(DeviceOpenError);
      expect(refusal.message).toBe(`cannot open ${path} for writing: permission denied`);
      expect(refusal.cause).toMatchObject({ code: 'EACCES' });
    });
    chmodSync(path, 0o000);
    asNobody(() => {
      const refusal = thrownBy(() => openFileMetadataDevice(path, { mode: 'read' }));
      expect(refusal.message).toBe(`cannot open ${path} for reading: permission denied`);
    });
  });

  it('a new file where something is already, which is left as it is', () => {
    const path = fileWith(blocks(5));
    const refusal = thrownBy(() => openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 9 } }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(
      `cannot open ${path} as a new file: something of that name exists already, and is left as it is`,
    );
    expect(Buffer.compare(readFileSync(path), blocks(5))).toBe(0);
  });

  it('a new file in a directory that does not exist', () => {
    const path = join(newPath(), 'metadata');
    const refusal = thrownBy(() => openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 9 } }));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toBe(`cannot open ${path} as a new file: its directory does not exist`);
  });

  it('a new file of no size, or of one that no file can have', () => {
    const path = newPath();
    const create = (nrBlocks: number) => () => openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks } });
    expect(thrownBy(create(0))).toBeInstanceOf(RangeError);
    const refusal = thrownBy(create(2 ** 52));
    expect(refusal).toBeInstanceOf(DeviceOpenError);
    expect(refusal.message).toContain(`cannot open ${path} as a new file: `);
    expect(readdirSync(folder), 'nothing is left behind').not.toContain(path.slice(folder.length + 1));
  });
});

describe('what the system refuses later', () => {
  it('an early end of a file that somebody shortened', () => {
    const path = fileWith(new Uint8Array(4 * BLOCK_SIZE).fill(1));
    const device = openFileMetadataDevice(path, { mode: 'read' });
    truncateSync(path, BLOCK_SIZE + 10);
    const refusal = thrownBy(() => device.read(1, new Uint8Array(2 * BLOCK_SIZE)));
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal.message).toBe(
      `cannot read blocks 1..2 of ${path}: unexpected end: the file was shortened while open`,
    );
    device.close();
  });

  it('reads, writes, flushes and growing, each named with its blocks', async () => {
    const path = fileWith(new Uint8Array(4 * BLOCK_SIZE));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    const fd = descriptorOf(path);
    closeSync(fd); // behind its back: every system call fails with EBADF from here on
    const failures = [
      thrownBy(() => device.read(2, new Uint8Array(BLOCK_SIZE))),
      thrownBy(() => device.write(0, new Uint8Array(3 * BLOCK_SIZE))),
      thrownBy(() => device.grow(9)),
      thrownBy(() => device.flush()),
      await device.flushAsync().then(
        () => 'nothing failed',
        (error: Error) => error,
      ),
    ] as Error[];
    for (const failure of failures) expect(failure).toBeInstanceOf(DeviceError);
    for (const failure of failures.slice(0, 4)) expect(failure.cause).toMatchObject({ code: 'EBADF' });
    expect(failures.map(({ message }) => message.split(path)[0])).toEqual([
      'cannot read block 2 of ',
      'cannot write blocks 0..2 of ',
      'cannot grow ',
      'cannot flush ',
      'cannot flush ',
    ]);
    expect(failures[2]?.message).toContain(`cannot grow ${path} to 9 blocks: bad file descriptor`);
    expect(openSync(path, 'r+'), 'the same number, for close to close').toBe(fd);
    device.close();
  });

  it.each(['flush', 'flushAsync'] as const)('every flush after one that failed (%s)', async (operation) => {
    const path = fileWith(new Uint8Array(4 * BLOCK_SIZE));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    const fd = descriptorOf(path);
    device.write(0, blocks(1));
    closeSync(fd);
    const first = await failureOf(async () => device[operation]());
    expect(first).toBeInstanceOf(DeviceError);
    expect(first.message).toContain(`cannot flush ${path}: bad file descriptor`);

    expect(openSync(path, 'r+')).toBe(fd); // the descriptor works again, but what became of the blocks nobody knows
    device.write(1, blocks(2));
    for (const again of ['flush', 'flushAsync'] as const) {
      const later = await failureOf(async () => device[again]());
      expect(later).toBeInstanceOf(DeviceError);
      expect(later.message).toContain('an earlier flush failed');
      expect(later.cause).toBe(first);
    }
    expect(blocksOf(device)).toEqual([1, 2, 0, 0]);
    device.close();
  });
});

async function failureOf(action: () => Promise<unknown>): Promise<Error> {
  try {
    await action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error, none was thrown');
}

/** The number under which this process has `path` open. */
function descriptorOf(path: string): number {
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) === path) return Number(fd);
    } catch {
      // The descriptor of the directory listing itself, closed since.
    }
  }
  throw new Error(`${path} is not open`);
}

/** Runs `action` without the rights of root, which no file mode stops. */
function asNobody(action: () => void): void {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.('nobody');
  try {
    action();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

/** Read and write calls of this process while `action` runs, this function's own included. */
function callsDuring(action: () => void): { reads: number; writes: number } {
  const counts = (): number[] =>
    ['syscr', 'syscw'].map((name) =>
      Number(new RegExp(`${name}: (\\d+)`).exec(readFileSync('/proc/self/io', 'latin1'))?.[1]),
    );
  const before = counts();
  action();
  const after = counts();
  return { reads: after[0]! - before[0]!, writes: after[1]! - before[1]! };
}
