import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BLOCK, MiB, names, noise, read, testPools, write } from '../../test/pools.js';
import { CatalogueFile } from '../catalogue/catalogue-file.js';
import { POOL_KEY } from '../catalogue/records.js';
import type { PoolEvent } from '../pool-host.js';
import { importImage } from '../transfer/import-image.js';
import { LocalPoolHost } from './local-host.js';
import { checkPoolDirectory } from './pool-check.js';

describe.each(['lmdb', 'raw'] as const)('a %s pool', (format) => {
  it('keeps volumes, names, sizes and content over a restart', async () => {
    await using pools = testPools();
    let host = await pools.make('pool', { format });
    await host.createVolume({ name: 'disk', size: 3 * MiB + 512 });
    await write(host, 'disk', MiB - 512, noise(70_144, 1));
    const before = await read(host, 'disk');
    await host.snapshot({ origin: 'disk', name: 'monday' });
    await host.renameVolume({ name: 'disk', to: 'root' });
    await host.resizeVolume({ name: 'root', size: 5 * MiB });
    const reports = await host.volumes();
    host = await pools.reopen(host);
    const ioOf = (all: typeof reports) => all.map(({ io: _, ...rest }) => rest);
    expect(ioOf(await host.volumes())).toEqual(ioOf(reports));
    expect(await host.volumes()).toMatchObject([
      { name: 'monday', kind: 'snapshot', size: 3 * MiB + 512, origin: 'root', mapped: 3 * BLOCK },
      { name: 'root', kind: 'volume', size: 5 * MiB, mapped: 3 * BLOCK },
    ]);
    expect((await read(host, 'monday')).equals(before)).toBe(true);
    expect((await host.check()).clean).toBe(true);
  });

  it('reverts a volume to a snapshot under its own name, and leaves nothing behind', async () => {
    await using pools = testPools();
    let host = await pools.make('pool', { format });
    await host.createVolume({ name: 'disk', size: 2 * MiB });
    await write(host, 'disk', 0, noise(MiB, 1));
    await host.snapshot({ origin: 'disk', name: 'good' });
    const good = await read(host, 'disk');
    const { identity } = await host.volume({ name: 'disk' });
    const { used } = (await host.status()).data;
    await write(host, 'disk', 0, noise(2 * MiB, 2));
    await host.resizeVolume({ name: 'disk', size: 4 * MiB });
    expect(await host.revertVolume({ name: 'disk', snapshot: 'good' })).toMatchObject({
      name: 'disk',
      size: 2 * MiB,
      identity,
    });
    expect((await read(host, 'disk')).equals(good)).toBe(true);
    expect((await host.status()).data.used).toBe(used);
    await write(host, 'disk', 0, noise(BLOCK, 3));
    expect((await read(host, 'good')).equals(good)).toBe(true);
    host = await pools.reopen(host);
    expect(await names(host)).toEqual(['disk', 'good']);
    expect((await host.check()).clean).toBe(true);
  });

  it('refuses what would harm somebody, and changes nothing', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format });
    await host.createVolume({ name: 'disk', size: 2 * MiB });
    await host.snapshot({ origin: 'disk', name: 'snap' });
    const before = await host.volumes();
    const open = await host.openVolume({ name: 'disk', mode: 'write' });
    const used = await host.openVolume({ name: 'snap', mode: 'read' });
    for (const [attempt, code] of [
      [host.removeVolume({ name: 'disk' }), 'ERR_IN_USE'],
      [host.removeVolume({ name: 'snap' }), 'ERR_IN_USE'],
      [host.revertVolume({ name: 'disk', snapshot: 'snap' }), 'ERR_IN_USE'],
      [host.resizeVolume({ name: 'disk', size: MiB, shrink: true }), 'ERR_IN_USE'],
      [host.resizeVolume({ name: 'disk', size: MiB }), 'ERR_SHRINK'],
      [host.resizeVolume({ name: 'snap', size: 4 * MiB }), 'ERR_NOT_A_SNAPSHOT'],
      [host.revertVolume({ name: 'snap', snapshot: 'disk' }), 'ERR_NOT_A_SNAPSHOT'],
      [host.revertVolume({ name: 'disk', snapshot: 'disk' }), 'ERR_NOT_A_SNAPSHOT'],
      [host.openVolume({ name: 'snap', mode: 'write' }), 'ERR_NOT_A_SNAPSHOT'],
      [host.renameVolume({ name: 'disk', to: 'snap' }), 'ERR_NAME_TAKEN'],
      [host.createVolume({ name: 'snap', size: MiB }), 'ERR_NAME_TAKEN'],
      [host.snapshot({ origin: 'disk', name: 'disk' }), 'ERR_NAME_TAKEN'],
      [host.snapshot({ origin: 'nobody', name: 'x' }), 'ERR_NO_SUCH_VOLUME'],
      [host.growPool({ size: MiB }), 'ERR_SHRINK'],
    ] as const) {
      await expect(attempt).rejects.toMatchObject({ code });
    }
    for (const name of ['', 'a/b', 'x'.repeat(300), 'a\nb']) {
      expect(() => host.createVolume({ name, size: MiB })).toThrow(expect.objectContaining({ code: 'ERR_NAME' }));
    }
    for (const size of [0, 100, -512, 2 ** 60]) {
      expect(() => host.createVolume({ name: 'x', size })).toThrow(expect.objectContaining({ code: 'ERR_SIZE' }));
    }
    await open.close();
    await used.close();
    expect(await host.volumes()).toEqual(before);
  });

  it('tells where volumes differ, in pages', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format });
    await host.createVolume({ name: 'disk', size: 4 * MiB + 512 });
    await host.snapshot({ origin: 'disk', name: 'empty' });
    expect((await host.diff({ name: 'disk', base: 'empty' })).ranges).toEqual([]);
    await write(host, 'disk', BLOCK, noise(512, 1));
    await write(host, 'disk', 2 * BLOCK, noise(512, 2));
    await write(host, 'disk', 4 * MiB, noise(512, 3));
    const ranges = [
      { offset: BLOCK, length: 2 * BLOCK },
      { offset: 4 * MiB, length: 512 },
    ];
    expect(await host.diff({ name: 'disk', base: 'empty' })).toEqual({
      ranges,
      identity: (await host.volume({ name: 'disk' })).identity,
      baseIdentity: (await host.volume({ name: 'empty' })).identity,
    });
    expect((await host.diff({ name: 'empty', base: 'disk' })).ranges).toEqual(ranges);
    expect((await host.diff({ name: 'disk', base: 'disk' })).ranges).toEqual([]);
    expect((await host.diff({ name: 'disk', base: 'empty', from: BLOCK + 4096 })).ranges[0]).toEqual({
      offset: BLOCK + 4096,
      length: 2 * BLOCK - 4096,
    });
  });

  it('that is full refuses an import, and nothing of it stays', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format, size: MiB });
    const image = {
      size: 2 * MiB,
      fileSize: 2 * MiB,
      read: async (_: number, into: Uint8Array) => void into.fill(7),
      allocation: async (offset: number, length: number) => [{ offset, length, state: 'data' as const }],
      close: async () => {},
    };
    await expect(importImage(host, image, { name: 'big' })).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    expect(await names(host)).toEqual([]);
    expect((await host.status()).data.used).toBe(0);
    await host.growPool({ size: 4 * MiB });
    expect(await importImage(host, image, { name: 'big' })).toMatchObject({
      name: 'big',
      kind: 'volume',
      size: 2 * MiB,
    });
    expect((await read(host, 'big')).every((byte) => byte === 7)).toBe(true);
    expect((await host.check()).clean).toBe(true);
  });

  it('shows who shares what', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format, size: MiB });
    await host.createVolume({ name: 'disk', size: 4 * BLOCK });
    await write(host, 'disk', 0, noise(2 * BLOCK, 1));
    await host.snapshot({ origin: 'disk', name: 'snap' });
    await write(host, 'disk', 0, noise(512, 2));
    const map = await host.sharing({ cells: 4 });
    expect(map.volumes).toEqual([
      { name: 'disk', exclusive: BLOCK, blocksPerCell: 1, mapped: [255, 255, 0, 0], shared: [0, 255, 0, 0] },
      { name: 'snap', exclusive: BLOCK, blocksPerCell: 1, mapped: [255, 255, 0, 0], shared: [0, 255, 0, 0] },
    ]);
    expect(map.pool.blocksPerCell).toBe(4);
    expect(map.pool.mapped.reduce((sum, share) => sum + share, 0)).toBe(Math.ceil((3 / 4) * 255));
  });

  it('tells what happens, to whoever listens', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format, size: 2 * MiB });
    const events: PoolEvent[] = [];
    const end = host.onEvent((event) => events.push(event));
    await host.createVolume({ name: 'disk', size: 8 * MiB });
    await write(host, 'disk', 0, noise(2 * MiB - BLOCK, 1));
    end();
    await host.removeVolume({ name: 'disk' });
    expect(events.map(({ kind }) => kind)).toEqual(['volume', 'space']);
    expect(events[0]).toMatchObject({ message: 'Volume "disk" of 8 MiB created.', volume: 'disk' });
  });

  it('is checked: data that are too short, and devices without names, are found', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format });
    await host.createVolume({ name: 'disk', size: MiB });
    await write(host, 'disk', 0, noise(BLOCK, 1));
    await host.close();
    expect(await checkPoolDirectory(host.directory)).toMatchObject({
      clean: true,
      nrVolumes: 1,
      nrMappings: 1,
      notes: [],
    });
    truncateSync(`${host.directory}/data`, MiB);
    expect(await checkPoolDirectory(host.directory)).toMatchObject({
      clean: false,
      findings: [{ where: 'data', severity: 'fatal', message: expect.stringContaining('The data file has 1 MiB') }],
    });
  });
});

describe('opening a directory', () => {
  it.each([
    ['that is not there', () => {}, 'it does not exist'],
    ['that is a file', (path: string) => writeFileSync(path, 'x'), 'it is not a directory'],
  ])('%s says so', async (_, make, why) => {
    await using pools = testPools();
    const path = pools.scratch.path('x');
    make(path);
    await expect(LocalPoolHost.open(path)).rejects.toMatchObject({
      code: 'ERR_NOT_A_POOL',
      message: expect.stringContaining(why),
    });
  });

  it('tells of imports and streams that did not come to their end, and removes such an import', async () => {
    await using pools = testPools();
    const host = await pools.make('pool');
    const half = { size: MiB, created: Date.now() };
    await host.receiving.begin({ ...half, name: 'image', identity: 'a'.repeat(32), becomes: 'volume' });
    await host.receiving.begin({ ...half, name: 'monday', identity: 'b'.repeat(32) });
    await host.close();
    const { clean, notes } = await checkPoolDirectory(host.directory);
    expect(clean).toBe(true);
    expect(notes).toEqual([
      'The import of "image" has not come to its end; if it never does, it is removed when the pool is opened.',
      '"monday" has been received in part; see thin-pool receive --list.',
    ]);
    await (await LocalPoolHost.open(host.directory)).close();
    expect((await checkPoolDirectory(host.directory)).notes).toEqual(notes.slice(1));
  });

  it('that is no pool says so, and what to do', async () => {
    await using pools = testPools();
    await expect(LocalPoolHost.open(pools.scratch.path())).rejects.toThrow(
      'is no pool: it holds no metadata; make one with',
    );
  });

  it('that is open already says so', async () => {
    await using pools = testPools();
    for (const format of ['lmdb', 'raw'] as const) {
      const host = await pools.make(format, { format });
      await expect(LocalPoolHost.open(host.directory)).rejects.toMatchObject({ code: 'ERR_POOL_BUSY' });
      await expect(checkPoolDirectory(host.directory)).rejects.toMatchObject({ code: 'ERR_POOL_BUSY' });
    }
  });

  it('of a newer format is refused, and left as it is', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format: 'raw' });
    await host.close();
    const path = `${host.directory}/catalogue`;
    const catalogue = CatalogueFile.open(path);
    catalogue.put(POOL_KEY, { format: 99, identity: 'a'.repeat(32), created: 0 });
    catalogue.commit();
    const bytes = readFileSync(path);
    await expect(LocalPoolHost.open(host.directory)).rejects.toMatchObject({
      code: 'ERR_NEWER_POOL',
      message: expect.stringContaining('made by a newer thin-pool (format 99'),
    });
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  it('whose catalogue was lost gives every volume back under another name', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { format: 'raw' });
    await host.createVolume({ name: 'disk', size: MiB });
    await write(host, 'disk', 3 * BLOCK, noise(BLOCK, 1));
    const content = await read(host, 'disk', 0, 4 * BLOCK);
    await host.close();
    writeFileSync(`${host.directory}/catalogue`, 'broken');
    await expect(LocalPoolHost.open(host.directory)).rejects.toThrow('move the file away');
    rmSync(`${host.directory}/catalogue`);
    const again = await pools.reopen(host);
    expect(await again.volumes()).toMatchObject([{ name: 'thin-0', size: 4 * BLOCK }]);
    expect((await read(again, 'thin-0')).equals(content)).toBe(true);
  });
});

describe('making a pool', () => {
  it('in a directory that holds something is refused, and leaves that alone', async () => {
    await using pools = testPools();
    writeFileSync(pools.scratch.path('precious'), 'x');
    const make = (path: string) => LocalPoolHost.create(path, { size: MiB, blockSize: BLOCK, format: 'lmdb' });
    await expect(make(pools.scratch.path())).rejects.toThrow('is not empty (it holds "precious")');
    await expect(make(pools.scratch.path('precious'))).rejects.toThrow('not a directory');
    await expect(make(pools.scratch.path('precious', 'x'))).rejects.toThrow(
      /cannot make the directory|not a directory/,
    );
    await expect(make(pools.scratch.path('no', 'parent'))).rejects.toThrow('no such file or directory');
    const host = await pools.make('pool');
    await expect(make(host.directory)).rejects.toThrow('holds a pool already');
    expect(readFileSync(pools.scratch.path('precious'), 'utf8')).toBe('x');
  });

  it.each([
    [0, BLOCK, 'the size is 0'],
    [BLOCK - 512, BLOCK, 'is less than one data block'],
    [1000, BLOCK, 'not whole sectors'],
    [MiB, 1000, 'the block size 1000 B is not possible'],
    [MiB, 96 * 1024, 'the block size 96 KiB is not possible'],
    [MiB, 2 ** 31, 'the block size 2 GiB is not possible'],
  ])('of %d bytes in blocks of %d is refused: %s', async (size, blockSize, why) => {
    await using pools = testPools();
    const path = pools.scratch.path('pool');
    await expect(LocalPoolHost.create(path, { size, blockSize, format: 'lmdb' })).rejects.toThrow(why);
    await expect(LocalPoolHost.open(path)).rejects.toThrow('it does not exist');
  });
});
