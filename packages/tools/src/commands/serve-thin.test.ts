import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { connectNbd, type NbdDataDevice } from '@pdata/nbd';
import { ThinPool } from '@pdata/thin';
import { describe, expect, it } from 'vitest';
import { setNeedsCheck } from '../../test/damage.js';
import { kernelImage, type Ran, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { type RunningService, startService } from '../../test/running-service.js';
import { InterruptedError } from '../io/io.js';
import { changedSince } from './serve-exports.js';

const BLOCK = 65_536;
const MIB = 2 ** 20;
const directory = scratchDirectory();
let nrFiles = 0;
const newPath = (name: string): string => join(directory, `${nrFiles++}-${name}`);

interface PoolFiles {
  readonly metadata: string;
  readonly data: string;
}

/** The kernel's pool of 1024 data blocks with the volumes 0, 1, 2, 4 and 7; its data all zeros. */
function kernelPool(change: (metadata: Uint8Array) => void = () => {}): PoolFiles {
  const image = kernelImage('thin-basic');
  change(image);
  const [metadata, data] = [newPath('metadata.img'), newPath('data.img')];
  writeFileSync(metadata, image);
  writeFileSync(data, '');
  truncateSync(data, 1024 * BLOCK);
  return { metadata, data };
}

/** A pool of `nrDataBlocks`, whose volume 0 has a block full of 1, one full of 2; volume 1 is its snapshot. */
async function smallPool(nrDataBlocks = 16): Promise<PoolFiles> {
  const files = { metadata: newPath('metadata.img'), data: newPath('data.img') };
  const metadata = openFileMetadataDevice(files.metadata, { mode: 'write', create: { nrBlocks: 64 } });
  const data = await openFileDataDevice(files.data, { mode: 'write', create: { size: nrDataBlocks * BLOCK } });
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128 });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: 4 * MIB });
  await volume.write(0, new Uint8Array(BLOCK).fill(1));
  await volume.write(BLOCK, new Uint8Array(BLOCK).fill(2));
  await pool.createSnapshot(1, 0);
  await volume.close();
  await pool.close();
  await data.close();
  metadata.close();
  return files;
}

async function withPool(files: PoolFiles, work: (pool: ThinPool) => Promise<void>): Promise<void> {
  const metadata = openFileMetadataDevice(files.metadata, { mode: 'write' });
  const data = await openFileDataDevice(files.data, { mode: 'write' });
  const pool = await ThinPool.open(metadata, data);
  await work(pool);
  await pool.close();
  await data.close();
  metadata.close();
}

/** Runs the command until it listens. Fails when it ends before. */
async function serve({ metadata, data }: PoolFiles, ...options: string[]): Promise<Served> {
  const where = options.includes('--port') ? [] : ['--socket', newPath('socket')];
  const service = await startService(['serve', 'thin', '--metadata', metadata, '--data', data, ...where, ...options]);
  return { ...service, stdout: service.stdout() };
}

/** `stdout` is what was printed until it listened. */
type Served = Omit<RunningService, 'stdout'> & { readonly stdout: string };

const open = (served: Served, exportName: string, contexts: string[] = []): Promise<NbdDataDevice> =>
  connectNbd(served.uri, { exportName, contexts });

async function byteAt(device: NbdDataDevice, offset: number): Promise<number> {
  const sector = new Uint8Array(512);
  await device.read(offset, sector);
  return sector[0] as number;
}

const hashes = ({ metadata, data }: PoolFiles): string[] =>
  [metadata, data].map(
    (path) => `${createHash('sha256').update(readFileSync(path)).digest('hex')} ${statSync(path).mtimeMs}`,
  );

describe('a pool that is served', () => {
  it('has its volumes for exports, reads and writes them, and is committed when it is asked to end', async () => {
    const files = await smallPool();
    const served = await serve(files);
    const [origin, snapshot] = [await open(served, '0'), await open(served, '1')];
    expect([origin.size, await byteAt(origin, 0), await byteAt(origin, BLOCK)]).toEqual([4 * MIB, 1, 2]);
    await origin.write(BLOCK, new Uint8Array(512).fill(3));
    await snapshot.write(5 * BLOCK, new Uint8Array(512).fill(4));
    expect([await byteAt(snapshot, BLOCK), await byteAt(origin, 5 * BLOCK)]).toEqual([2, 0]);
    await origin.close(); // without a flush: the end of the service commits
    await snapshot.close();
    expect(await served.end()).toEqual({
      exitCode: 0,
      stdout: expect.stringMatching(/\npool: 0 \d+\/64 4\/16 - rw discard_passdown queue_if_no_space - 16 \n$/),
      stderr: '',
    });
    const again = await serve(files, '--read-only');
    const device = await open(again, '0');
    expect([await byteAt(device, BLOCK), await byteAt(device, BLOCK + 512)]).toEqual([3, 2]);
    await device.close();
    expect((await again.end()).exitCode).toBe(0);
    expect((await runTool(['thin_check', files.metadata])).exitCode).toBe(0);
  });

  it('tells each export with its size before it listens', async () => {
    const served = await serve(kernelPool(), '--size', '1=1G', '--size', '7=2097152s');
    const socket = decodeURIComponent(served.uri.split('socket=')[1] as string);
    const of = (id: number): string => `nbd+unix:///${id}?socket=${socket}`;
    expect(served.stdout.split('\n')).toEqual([
      `${of(0)} has 33554432 bytes (32MiB, as far as it is mapped)`,
      `${of(1)} has 1073741824 bytes (1024MiB)`,
      `${of(2)} has 33554432 bytes (32MiB, as far as it is mapped)`,
      `${of(4)} has 33554432 bytes (32MiB, as far as it is mapped)`,
      `${of(7)} has 1073741824 bytes (1024MiB)`,
      `listening on nbd+unix:///?socket=${socket}`,
      '',
    ]);
    await served.end();
    const all = await serve(kernelPool(), '--volume-size', '20M', '--port', '0');
    expect(all.uri).toMatch(/^nbd:\/\/127\.0\.0\.1:\d+\/$/);
    expect((await open(all, '7')).size).toBe(20 * MIB);
    const { stderr } = await all.end();
    expect(stderr).toContain('warning: volume 7 has data behind the 20971520 bytes that it is served with\n');
  });

  it('tells what has changed against another volume as a metadata context', async () => {
    const files = await smallPool();
    const served = await serve(files);
    const device = await open(served, '0', ['qemu:dirty-bitmap:1']);
    const dirty = async (): Promise<number[][]> =>
      (await device.extents('qemu:dirty-bitmap:1', 0, device.size)).map(({ offset, length, flags }) => [
        offset / BLOCK,
        length / BLOCK,
        flags,
      ]);
    expect(await dirty()).toEqual([[0, 64, 0]]);
    await device.write(BLOCK, new Uint8Array(512).fill(3));
    await device.write(9 * BLOCK, new Uint8Array(2 * BLOCK).fill(3));
    expect(await dirty()).toEqual([
      [0, 1, 0],
      [1, 1, 1],
      [2, 7, 0],
      [9, 2, 1],
      [11, 53, 0],
    ]);
    expect(await device.extents('qemu:dirty-bitmap:1', BLOCK + 512, 1024)).toEqual([
      { offset: BLOCK + 512, length: 1024, flags: 1 },
    ]);
    await expect(open(served, '0', ['qemu:dirty-bitmap:0'])).rejects.toThrow('qemu:dirty-bitmap:0');
    await device.close();
    await served.end();
  });

  it('tells it of a volume of terabytes in pieces, and from the middle of a block on', async () => {
    await withPool(await smallPool(), async (pool) => {
      const far = 2 * 2 ** 40;
      const size = 3 * 2 ** 40;
      const volume = await pool.openVolume(0, { size });
      await volume.write(far, new Uint8Array(512).fill(3));
      const { extents } = changedSince(pool, 0, 1);
      const dirty: number[][] = [];
      let nrQuestions = 0;
      for (let at = 0; at < size; nrQuestions++) {
        for (const { length, flags } of await extents(at, size - at)) {
          if (flags === 1) dirty.push([at, length]);
          at += length;
        }
      }
      expect(dirty).toEqual([[far, BLOCK]]);
      expect(nrQuestions).toBeGreaterThan(100);
      expect(await extents(far + 512, 1024)).toEqual([{ length: 1024, flags: 1 }]);
      expect(await extents(far - 512, BLOCK)).toEqual([
        { length: 512, flags: 0 },
        { length: BLOCK - 512, flags: 1 },
      ]);
      await volume.close();
    });
  });

  it('has no other exports; the only volume of a pool is the default one', async () => {
    const served = await serve(kernelPool());
    for (const name of ['3', '', '00', '0x0', ' 0', '-1', 'v0'])
      await expect(open(served, name), name).rejects.toThrow();
    await served.end();
    const files = await smallPool();
    await withPool(files, (pool) => pool.deleteThin(1));
    const one = await serve(files);
    expect(await byteAt(await open(one, ''), 0)).toBe(1);
    await one.end();
  });

  it('tells its status line when it is asked, and with --json everything as an object a line', async () => {
    const served = await serve(await smallPool(), '--json', '--volume-size', '8M');
    served.askForStatus();
    const { exitCode, stdout, stderr } = await served.end();
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const statusLine = expect.stringMatching(/^0 \d+\/64 2\/16 - rw /);
    expect(lines).toEqual([
      {
        event: 'listening',
        uri: served.uri,
        exports: [0, 1].map((id) => ({
          name: String(id),
          size: 8 * MIB,
          sizeIsGiven: true,
          mappedBlocks: 2,
          uri: served.uri.replace('///?', `///${id}?`),
        })),
      },
      { event: 'status', statusLine },
      { event: 'status', statusLine },
      { event: 'end', tool: 'pdata serve thin', ok: true, exitCode: 0, errors: [] },
    ]);
  });

  it('warns when the pool changes its mode, and serves on', async () => {
    const served = await serve(await smallPool(4), '--feature', 'error_if_no_space');
    const device = await open(served, '0');
    await device.write(10 * BLOCK, new Uint8Array(2 * BLOCK).fill(5));
    await expect(device.write(12 * BLOCK, new Uint8Array(512))).rejects.toThrow(/space/i);
    expect(await byteAt(device, 11 * BLOCK)).toBe(5);
    await device.close();
    const { exitCode, stdout, stderr } = await served.end();
    expect(exitCode).toBe(0);
    expect(stderr).toBe(
      'warning: the pool is in out-of-data-space mode now: switching pool to out-of-data-space (error IO) mode: no data block is free\n' +
        'warning: a request to export "0" failed with error 28: the pool has no free data block: all 4 are in use; grow it, or discard and commit\n',
    );
    expect(stdout).toContain(' 4/4 - out_of_data_space discard_passdown error_if_no_space - ');
  });

  it('ends also while a write waits for space, which it gives up after five seconds', { timeout: 30_000 }, async () => {
    const files = await smallPool(4);
    const served = await serve(files);
    const device = await open(served, '0');
    await device.write(10 * BLOCK, new Uint8Array(2 * BLOCK).fill(5));
    const waiting = device.write(12 * BLOCK, new Uint8Array(512)).catch((error) => error);
    while (!(await byteAt(device, 10 * BLOCK))) await device.flush(); // the write has its turn before this
    const { exitCode, stdout, stderr } = await served.end();
    expect(await waiting).toBeInstanceOf(Error);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('warning: the pool is in out-of-data-space mode now');
    expect(stderr).not.toContain('released');
    expect(stdout).toContain(' 4/4 - out_of_data_space discard_passdown queue_if_no_space - ');
    await device.close().catch(() => {});
    const again = await serve(files, '--read-only');
    const reader = await open(again, '0');
    expect(await byteAt(reader, 11 * BLOCK)).toBe(5);
    await reader.close();
    await again.end();
  });

  it('tells that it grows into a larger data device', async () => {
    const files = await smallPool(16);
    truncateSync(files.data, 20 * BLOCK);
    const { stdout, stderr } = await (await serve(files)).end();
    expect(stderr).toBe('warning: the data device is larger than the pool: it is grown from 16 to 20 blocks\n');
    expect(stdout).toContain(' 2/20 - rw ');
  });
});

describe('nothing is ever written', () => {
  it('with --read-only', async () => {
    const files = await smallPool();
    const before = hashes(files);
    const served = await serve(files, '--read-only');
    const device = await open(served, '0');
    expect([device.readOnly, await byteAt(device, BLOCK)]).toEqual([true, 2]);
    await expect(device.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ERR_READ_ONLY' });
    await device.flush();
    await device.close();
    expect(await served.end()).toMatchObject({ exitCode: 0, stderr: '' });
    expect(hashes(files)).toEqual(before);
  });

  it('when the metadata has to be checked; and that is told', async () => {
    const files = kernelPool(setNeedsCheck);
    const before = hashes(files);
    for (const options of [[], ['--read-only']]) {
      const served = await serve(files, ...options);
      const device = await open(served, '2');
      expect(device.readOnly).toBe(true);
      await device.close();
      const { exitCode, stdout, stderr } = await served.end();
      expect(exitCode).toBe(0);
      expect(stdout).toContain(' ro no_discard_passdown queue_if_no_space needs_check ');
      expect(stderr).toContain('warning: the metadata has to be checked (needs_check is set): ');
      if (options.length === 0)
        expect(stderr).toContain('served read-only; to write again, run thin_check --clear-needs-check-flag');
    }
    expect(hashes(files)).toEqual(before);
  });
});

describe('what cannot be served is refused, and nothing is written', () => {
  /** One that never listens. */
  async function refused(files: PoolFiles, ...options: string[]): Promise<Ran> {
    const isAddressed = options.includes('--port') || options.includes('--socket') || options.includes('--host');
    const where = isAddressed ? [] : ['--socket', newPath('socket')];
    const interruption = new AbortController();
    interruption.abort(new InterruptedError(15)); // should it listen all the same, it ends at once, with 0
    const line = ['serve', 'thin', '--metadata', files.metadata, '--data', files.data, ...where, ...options];
    const before = [files.metadata, files.data].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs);
    const ran = await runTool(line, { signal: interruption.signal });
    expect([files.metadata, files.data].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs)).toEqual(
      before,
    );
    expect(ran.stdout).toBe('');
    return ran;
  }

  const missing = join(directory, 'missing.img');
  const aDirectory = mkdtempSync(join(directory, 'a-directory-'));
  const files: [string, (pool: PoolFiles) => PoolFiles, string][] = [
    ['no metadata', (pool) => ({ ...pool, metadata: missing }), `Couldn't find input file '${missing}'`],
    ['no data', (pool) => ({ ...pool, data: missing }), `Couldn't find input file '${missing}'`],
    ['a directory as metadata', (pool) => ({ ...pool, metadata: aDirectory }), 'Not a block device or regular file'],
    ['a directory as data', (pool) => ({ ...pool, data: aDirectory }), 'Not a block device or regular file'],
    [
      'metadata and data the wrong way round',
      (pool) => ({ metadata: pool.data, data: pool.metadata }),
      'metadata and data are swapped',
    ],
    ['one file as both', (pool) => ({ ...pool, data: pool.metadata }), 'metadata and data are the same file'],
    [
      'XML as metadata',
      (pool) => ({
        ...pool,
        metadata: writeImage(directory, 'dump.xml', Buffer.from(`<superblock/>${' '.repeat(8192)}`)),
      }),
      'This looks like XML.',
    ],
    [
      'something else as metadata',
      (pool) => ({ ...pool, metadata: writeImage(directory, 'random.img', Buffer.alloc(65_536, 0xa5)) }),
      'bad checksum in superblock',
    ],
    [
      'no metadata in it yet',
      (pool) => ({ ...pool, metadata: writeImage(directory, 'zero.img', Buffer.alloc(65_536)) }),
      'holds no thin metadata',
    ],
    [
      'half of the data',
      (pool) => {
        truncateSync(pool.data, 512 * BLOCK);
        return pool;
      },
      'pool target (512 blocks) too small: expected 1024',
    ],
  ];
  it.each(files)('%s', async (_what, change, says) => {
    const pool = change(kernelPool());
    for (const options of [[], ['--read-only']]) {
      const { exitCode, stderr } = await refused(pool, ...options);
      expect(exitCode).toBe(64);
      expect(stderr.split('\n')[0]).toContain(says);
      expect(stderr).not.toContain('bug');
    }
  });

  it('a pool that is in use: by a server for it alone, by a reader for none that writes', async () => {
    const pool = await smallPool();
    const served = await serve(pool);
    for (const options of [[], ['--read-only']]) {
      const { exitCode, stderr } = await refused(pool, ...options);
      expect(exitCode).toBe(64);
      expect(stderr).toContain(`cannot open ${pool.metadata} for `);
      expect(stderr).toContain('next step: end what uses it first: deactivate the pool');
    }
    await served.end();
    const reading = await serve(pool, '--read-only');
    expect((await refused(pool)).exitCode).toBe(64);
    const another = await serve(pool, '--read-only');
    await another.end();
    await reading.end();
  });

  it('data that somebody else has open', async () => {
    const pool = await smallPool();
    const data = await openFileDataDevice(pool.data, { mode: 'write' });
    const { exitCode, stderr } = await refused(pool);
    await data.close();
    expect(exitCode).toBe(64);
    expect(stderr).toContain(`cannot open ${pool.data} for writing`);
    expect(stderr).toContain('next step: end what uses it first');
  });

  it('an address that somebody else has, or that is none', async () => {
    const pool = await smallPool();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const served = await serve(await smallPool());
    const socket = decodeURIComponent(served.uri.split('socket=')[1] as string);
    const file = writeImage(directory, 'a-file', Buffer.from('mine'));
    for (const [options, says] of [
      [['--port', String(port)], 'another program is listening there'],
      [['--socket', socket], 'another server is listening there'],
      [['--socket', file], 'a file that is not a socket is there'],
      [['--socket', join(directory, 'no', 'where')], 'there is no directory'],
      [['--host', '192.0.2.1', '--insecure'], 'this machine has no such address'],
      [['--socket', join(directory, 'x'.repeat(120))], 'has at most 107 bytes'],
    ] as const) {
      const { exitCode, stderr } = await refused(pool, ...options);
      expect([options, exitCode]).toEqual([options, 64]);
      expect(stderr).toContain('cannot listen on ');
      expect(stderr).toContain(says);
    }
    expect(readFileSync(file, 'utf8')).toBe('mine');
    other.close();
    await served.end();
  });

  it('a certificate that is none', async () => {
    const pem = writeImage(directory, 'not.pem', Buffer.from('not a certificate'));
    const { exitCode, stderr } = await refused(await smallPool(), '--tls-cert', pem, '--tls-key', pem, '--port', '0');
    expect(exitCode).toBe(64);
    expect(stderr).toMatch(
      /^the certificate or the key cannot be used: one of them is no PEM, or the other thing\n {2}next step: give a certificate/,
    );
  });

  it.each([
    [['--host', '0.0.0.0'], 'anybody who can reach 0.0.0.0 could read and write what is served'],
    [['--socket', '/tmp/x', '--port', '1'], "'--socket <PATH>' cannot be used with '--port <N>'"],
    [
      ['--volume-size', '1.5G', '--port', '0'],
      "invalid value '1.5G' for '--volume-size <SIZE>': expected a number of bytes",
    ],
    [['--size', '10G', '--port', '0'], "invalid value '10G' for '--size <ID=SIZE>': expected ID=SIZE: 7=10G"],
    [['--feature', 'read_only', '--port', '0'], "invalid value 'read_only' for '--feature <FEATURE>'"],
  ])('options: %s', async (options, says) => {
    const { exitCode, stderr } = await refused(kernelPool(), ...options);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(says);
  });

  it('a size for a volume that is not there', async () => {
    const { exitCode, stderr } = await refused(kernelPool(), '--size', '3=1G');
    expect(exitCode).toBe(64);
    expect(stderr).toBe(
      'there is no volume 3 in this pool to have a size\n  next step: give --size for those there are: 0, 1, 2, 4, 7\n',
    );
  });

  it('a line without both devices', async () => {
    const { exitCode, stderr } = await runTool('serve thin --metadata x');
    expect(exitCode).toBe(2);
    expect(stderr).toContain('  --data <FILE>\n\nUsage: pdata serve thin [OPTIONS] --metadata <FILE> --data <FILE>');
  });
});
