/** Opening environments and pools, in order and otherwise. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import Module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClosedError, DeviceBusyError, DeviceOpenError, ReadOnlyError } from '@pdata/device';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blocks, firstBytes, thrownBy } from '../test/blocks.js';
import { LmdbEnvironment } from './environment.js';
import { LmdbUnavailableError } from './errors.js';

let folder: string;
let path: string;
const opened: LmdbEnvironment[] = [];

function open(...parameters: Parameters<typeof LmdbEnvironment.open>): LmdbEnvironment {
  const environment = LmdbEnvironment.open(...parameters);
  opened.push(environment);
  return environment;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pdata-lmdb-open-'));
  path = join(folder, 'pools');
});
afterEach(async () => {
  for (const environment of opened.splice(0)) await environment.close();
  rmSync(folder, { recursive: true });
});

describe('the library', () => {
  it('is asked for when an environment is opened, and missed with one sentence', () => {
    // First in this file: once loaded it stays.
    const loader = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown };
    const load = loader._load;
    loader._load = function (request, ...rest) {
      if (request === 'lmdb') throw new Error('No native build was found');
      return load.call(this, request, ...rest);
    };
    try {
      const refusal = thrownBy(() => open(path, { create: true }));
      expect(refusal).toBeInstanceOf(LmdbUnavailableError);
      expect(refusal.message).toBe(
        `cannot use LMDB: the library lmdb, or its native part @lmdb/lmdb-${process.platform}-${process.arch}, ` +
          'could not be loaded; install lmdb with its optional dependencies, or keep the metadata in a file',
      );
      expect((refusal.cause as Error).message).toBe('No native build was found');
      expect(readdirSync(folder), 'nothing was made').toEqual([]);
    } finally {
      loader._load = load;
    }
    open(path, { create: true });
  });
});

describe('an environment', () => {
  it('is made where there is none, and found again', async () => {
    const deep = join(path, 'a', 'b');
    const environment = open(deep, { create: true });
    expect([environment.path, environment.readOnly, environment.pools()]).toEqual([deep, false, []]);
    environment.createPool('zwei', { nrBlocks: 2 });
    environment.createPool('one', { nrBlocks: 1 });
    await environment.close();
    expect(open(deep, { create: true }).pools()).toEqual(['one', 'zwei']);
  });

  it('makes no directory where a file is', () => {
    writeFileSync(path, 'x');
    expect(() => open(path, { create: true })).toThrow('it is no directory, and an environment is one');
  });

  it.each([
    {
      what: 'a path where nothing is',
      make: () => undefined,
      says: 'there is no such directory; `create: true` makes one',
    },
    {
      what: 'a file',
      make: () => writeFileSync(path, 'x'),
      says: 'it is no directory, and an environment is one',
    },
    {
      what: 'a directory whose data.mdb is a directory',
      make: () => mkdirSync(join(path, 'data.mdb'), { recursive: true }),
      says: 'its data.mdb is no file',
    },
    {
      what: 'a directory without an environment',
      make: () => mkdirSync(path),
      says: 'the directory holds no LMDB environment (no data.mdb)',
    },
    {
      what: 'a directory whose data.mdb is something else',
      make: () => withDataFile(Buffer.alloc(20_000, 'text')),
      says: 'its data.mdb is no LMDB data file, or its first page is damaged; restore it from a copy',
    },
    {
      what: 'a directory whose data.mdb is empty',
      make: () => withDataFile(Buffer.alloc(0)),
      says: 'its data.mdb is no LMDB data file, or its first page is damaged; restore it from a copy',
    },
    {
      what: 'an environment of an older LMDB',
      make: () => {
        const file = Buffer.alloc(8192);
        file.writeUInt16LE(8, 10);
        file.writeUInt32LE(0xbeefc0de, 16);
        file.writeUInt32LE(1, 20);
        withDataFile(file);
      },
      says: 'its data.mdb was written by an LMDB of another data version',
    },
  ])('is refused, and left alone, when it is $what', ({ make, says }) => {
    make();
    const before = treeOf(folder);
    for (const mode of ['read', 'write'] as const) {
      const refusal = thrownBy(() => open(path, { mode }));
      expect(refusal).toBeInstanceOf(DeviceOpenError);
      expect(refusal.message).toBe(`cannot open ${path} for ${mode === 'read' ? 'reading' : 'writing'}: ${says}`);
    }
    expect(treeOf(folder)).toEqual(before);
  });

  it.each([
    { what: 'of a later format of LMDB', at: 28, byte: 3, says: 'its data.mdb has version 3 of the LMDB format' },
    { what: 'with larger pages', at: 49, byte: 0x20, says: 'it is an LMDB environment with pages of 8192 bytes' },
  ])('is refused when it is $what', async ({ at, byte, says }) => {
    await open(path, { create: true }).close();
    const fd = openSync(join(path, 'data.mdb'), 'r+');
    writeSync(fd, Buffer.from([byte]), 0, 1, at);
    closeSync(fd);
    expect(thrownBy(() => open(path)).message).toContain(says);
  });

  it('is refused when it is not of pdata, and no database is added to it', async () => {
    const { loadLmdb } = await import('./lmdb-library.js');
    const foreign = loadLmdb().open(path, { noSubdir: false, pageSize: 4096, overlappingSync: false });
    foreign.openDB('others', {});
    await foreign.close();
    const digest = sha256(join(path, 'data.mdb'));
    for (const mode of ['read', 'write'] as const) {
      expect(thrownBy(() => open(path, { mode })).message).toContain('it is an LMDB environment, but not one of pdata');
    }
    expect(thrownBy(() => open(path, { create: true })).message).toContain('not one of pdata');
    expect(sha256(join(path, 'data.mdb'))).toBe(digest);
  });

  it('is refused when its data file was cut off, before a read can end the process by a signal', async () => {
    const environment = open(path, { create: true });
    const pool = environment.createPool('pool', { nrBlocks: 1000 });
    pool.write(0, new Uint8Array(1000 * 4096).fill(3));
    pool.flush();
    await environment.close();
    const file = join(path, 'data.mdb');
    const { size } = statSync(file);
    for (const left of [size - 4096, size / 2, 16384, 8192, 5000]) {
      truncateSync(file, Math.floor(left));
      const refusal = thrownBy(() => open(path, { mode: 'read' }));
      expect(refusal).toBeInstanceOf(DeviceOpenError);
      expect(refusal.message).toMatch(/^cannot open .* for reading: its data\.mdb was cut off: /);
    }
  });

  it('is refused when a page of its trees is damaged, and opened when that page is not in use', async () => {
    const environment = open(path, { create: true });
    const pool = environment.createPool('pool', { nrBlocks: 1000 });
    for (let first = 0; first < 1000; first += 250) {
      pool.write(first, new Uint8Array(250 * 4096).fill(3));
      pool.flush();
    }
    await environment.close();
    const file = join(path, 'data.mdb');
    const good = readFileSync(file);
    let nrRefused = 0;
    let nrOpened = 0;
    for (let pageNr = 1; pageNr < good.byteLength / 4096; pageNr++) {
      const [branch, leaf, meta] = [1, 2, 8];
      const at = pageNr * 4096;
      const flags = good.readUInt16LE(at + 18);
      if (![branch, leaf, meta].includes(flags) || Number(good.readBigUInt64LE(at)) !== pageNr) continue;
      for (const damage of [Buffer.alloc(4096), Buffer.alloc(4096, 0xff), Buffer.alloc(4096, 'damage')]) {
        const bad = Buffer.from(good);
        damage.copy(bad, at);
        writeFileSync(file, bad);
        try {
          const opened = LmdbEnvironment.open(path, { mode: 'read' });
          expect(firstBytes(opened.openPool('pool')).every((byte) => byte === 3)).toBe(true);
          await opened.close();
          nrOpened++;
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceOpenError);
          expect((error as Error).message).toMatch(
            /its data\.mdb is damaged: page \d+ is no .*; restore it from a copy$/,
          );
          nrRefused++;
        }
      }
    }
    expect(nrRefused, 'pages in use').toBeGreaterThan(3 * 10);
    expect(nrOpened, 'pages of older commits').toBeGreaterThan(0);
  });

  it('is opened when its file is shorter than its superblock says, but nothing is missing', async () => {
    const environment = open(path, { create: true });
    environment.createPool('pool', { nrBlocks: 10 }).close();
    await environment.close();
    const file = join(path, 'data.mdb');
    for (const page of [0, 1]) {
      const fd = openSync(file, 'r+');
      writeSync(fd, Buffer.from([0xff, 0xff]), 0, 2, page * 4096 + 144); // last page: 65535
      closeSync(fd);
    }
    expect(open(path, { mode: 'read' }).pools()).toEqual(['pool']);
  });

  it('is open once in a process, under any of its names', async () => {
    open(path, { create: true });
    symlinkSync(path, join(folder, 'other-name'));
    for (const name of [path, join(folder, 'other-name'), `${path}/../pools`]) {
      const refusal = thrownBy(() => open(name, { mode: 'read' }));
      expect(refusal).toBeInstanceOf(DeviceBusyError);
      expect(refusal.message).toBe(
        `cannot open ${name} for reading: this process has the environment open already; ` +
          'use that LmdbEnvironment, or close it first',
      );
    }
    await opened[0]?.close();
    open(path);
  });

  it('is not held by an attempt that failed', async () => {
    await open(path, { create: true }).close();
    const good = readFileSync(join(path, 'data.mdb'));
    writeFileSync(join(path, 'data.mdb'), 'x');
    expect(() => open(path)).toThrow(DeviceOpenError);
    writeFileSync(join(path, 'data.mdb'), good);
    expect(open(path).pools()).toEqual([]);
  });

  it('is made whole where a crash left a part of one', async () => {
    const { loadLmdb } = await import('./lmdb-library.js');
    mkdirSync(path);
    writeFileSync(join(path, 'data.mdb'), '');
    await open(path, { create: true }).close();
    rmSync(path, { recursive: true });
    const begun = loadLmdb().open(path, { noSubdir: false, pageSize: 4096, overlappingSync: false });
    begun.openDB('pdata', { encoding: 'binary', keyEncoding: 'binary', useVersions: true });
    await begun.close();
    expect(thrownBy(() => open(path))).toBeInstanceOf(DeviceOpenError);
    const environment = open(path, { create: true });
    environment.createPool('pool', { nrBlocks: 1 });
    expect(environment.pools()).toEqual(['pool']);
  });

  it('lives beside others in one process', () => {
    const [a, b] = [open(path, { create: true }), open(join(folder, 'second'), { create: true })];
    const [first, second] = [a.createPool('pool', { nrBlocks: 1 }), b.createPool('pool', { nrBlocks: 1 })];
    first.write(0, blocks(1));
    second.write(0, blocks(2));
    first.flush();
    second.flush();
    expect([firstBytes(first), firstBytes(second)]).toEqual([[1], [2]]);
  });

  it('refuses changes when open for reading, and everything after close', async () => {
    const writer = open(path, { create: true });
    writer.createPool('pool', { nrBlocks: 1 });
    await writer.close();
    const reader = open(path, { mode: 'read' });
    expect(reader.readOnly).toBe(true);
    expect(reader.openPool('pool').readOnly).toBe(true);
    const changes = [
      () => reader.createPool('x', { nrBlocks: 1 }),
      () => reader.deletePool('pool'),
      () => reader.openPool('pool', { mode: 'write' }),
    ];
    for (const change of changes) {
      const refusal = thrownBy(change);
      expect(refusal).toBeInstanceOf(ReadOnlyError);
      expect(refusal.message).toContain(`the environment ${path} is open for reading only`);
    }
    await reader.close();
    await reader.close();
    for (const use of [
      () => reader.pools(),
      () => reader.openPool('pool'),
      () => reader.readers(),
      () => reader.size,
    ]) {
      const refusal = thrownBy(use);
      expect(refusal).toBeInstanceOf(ClosedError);
      expect(refusal.message).toBe(`${path} is closed`);
    }
  });

  it.each([0, 1000, -1, 2 ** 53, Number.NaN, 5.5e6 + 0.5])('refuses a map of %d bytes', (mapSize) => {
    expect(() => open(path, { create: true, mapSize })).toThrow(RangeError);
    expect(readdirSync(folder)).toEqual([]);
  });

  const isRoot = process.geteuid?.() === 0;
  if (isRoot) console.warn('skipped, permissions of environments: root may do everything');
  it.skipIf(isRoot)('says what permission is missing', async () => {
    await open(path, { create: true }).close();
    chmodSync(path, 0o500);
    expect(thrownBy(() => open(path)).message).toContain('permission denied: ');
    chmodSync(path, 0o700);
  });
});

describe('a pool', () => {
  it.each(['', 'x'.repeat(256), 'line\nbreak', '\ud800'])('is refused when its name is none: %j', (name) => {
    const environment = open(path, { create: true });
    expect(() => environment.createPool(name, { nrBlocks: 1 })).toThrow(RangeError);
    expect(environment.pools()).toEqual([]);
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 31 + 1])('is refused when its size is none: %d', (nrBlocks) => {
    const environment = open(path, { create: true });
    expect(() => environment.createPool('pool', { nrBlocks })).toThrow(RangeError);
    expect(environment.pools()).toEqual([]);
  });

  it('is made once, and missed when it is not there', () => {
    const environment = open(path, { create: true });
    environment.createPool('pool', { nrBlocks: 1 }).write(0, blocks(1));
    const exists = thrownBy(() => environment.createPool('pool', { nrBlocks: 9 }));
    expect(exists).toBeInstanceOf(DeviceOpenError);
    expect(exists.message).toBe(
      `cannot create pool "pool" in ${path}: there is a pool of that name already, and it is left as it is`,
    );
    for (const [use, word] of [
      [() => environment.openPool('other'), 'open'],
      [() => environment.deletePool('other'), 'delete'],
    ] as const) {
      const missing = thrownBy(use);
      expect(missing).toBeInstanceOf(DeviceOpenError);
      expect(missing.message).toBe(`cannot ${word} pool "other" in ${path}: there is no such pool`);
    }
    expect(environment.pools()).toEqual(['pool']);
  });

  it('has one writer, which readers do not mind', () => {
    const environment = open(path, { create: true });
    const writer = environment.createPool('pool', { nrBlocks: 1 });
    const readers = [environment.openPool('pool', { mode: 'read' }), environment.openPool('pool', { mode: 'read' })];
    for (const use of [() => environment.openPool('pool'), () => environment.deletePool('pool')]) {
      const refusal = thrownBy(use);
      expect(refusal).toBeInstanceOf(DeviceBusyError);
      expect(refusal.message).toBe(
        `cannot open pool "pool" in ${path} for writing: it is open already, in this process or another; a writer needs it alone`,
      );
    }
    writer.write(0, blocks(4));
    writer.flush();
    writer.close();
    const next = environment.openPool('pool');
    expect([firstBytes(next), ...readers.map(firstBytes)]).toEqual([[4], [0], [0]]);
  });

  it('is deleted with everything it held, and its space is used again', () => {
    const environment = open(path, { create: true });
    const keep = environment.createPool('keep', { nrBlocks: 3 });
    keep.write(0, blocks(1, 2, 3));
    keep.flush();
    const sizes: number[] = [];
    for (let round = 0; round < 4; round++) {
      const pool = environment.createPool('pool', { nrBlocks: 3000 });
      expect(firstBytes(pool).every((byte) => byte === 0)).toBe(true);
      pool.write(0, new Uint8Array(3000 * 4096).fill(round + 1));
      pool.flush();
      pool.close();
      environment.deletePool('pool');
      sizes.push(environment.size);
    }
    expect(environment.pools()).toEqual(['keep']);
    expect(firstBytes(keep)).toEqual([1, 2, 3]);
    expect(sizes[3]).toBeLessThan((sizes[0] as number) * 1.2);
    expect(readdirSync(path).filter((file) => file.endsWith('.lock'))).toEqual(['pool-1.lock']);
  });

  it('that a crash left half deleted is swept up by the next writer', async () => {
    const environment = open(path, { create: true });
    const pool = environment.createPool('pool', { nrBlocks: 500 });
    pool.write(0, new Uint8Array(500 * 4096).fill(1));
    pool.flush();
    await environment.close();
    // What deletePool commits first; the crash comes before the rest.
    const { loadLmdb } = await import('./lmdb-library.js');
    const { droppedKey, encode, poolKey } = await import('./layout.js');
    const binary = { encoding: 'binary', keyEncoding: 'binary' };
    const root = loadLmdb().open(path, { ...binary, noSubdir: false, overlappingSync: false });
    const pdata = root.openDB('pdata', { ...binary, useVersions: true });
    root.transactionSync(() => {
      void pdata?.remove(poolKey('pool'));
      void pdata?.put(droppedKey(1), encode({}), 0);
    });
    const entriesOf = (name: string): number => [...(root.openDB(name, binary)?.getKeys({}) ?? [])].length;
    expect(entriesOf('blocks')).toBeGreaterThan(0);
    const again = open(path);
    expect(again.pools()).toEqual([]);
    root.resetReadTxn();
    expect(entriesOf('blocks')).toBe(0);
    await again.close();
    await root.close();
  });
});

function withDataFile(content: Buffer): void {
  mkdirSync(path);
  writeFileSync(join(path, 'data.mdb'), content);
}

const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** Names and contents of all files below. */
function treeOf(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[])
    .sort()
    .map((name) => (statSync(join(directory, name)).isFile() ? `${name} ${sha256(join(directory, name))}` : name));
}
