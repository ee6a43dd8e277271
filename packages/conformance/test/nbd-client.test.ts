/** Our NBD client, judged by real servers: qemu-nbd on a raw and a qcow2 file, nbdkit with its plugins and filters. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { type DataDevice, DeviceError, DeviceOpenError, ReadOnlyError } from '@pdata/device';
import { connectNbd, formatNbdUri, listNbdExports } from '@pdata/nbd';
import { dataDeviceConformance, seededRandom } from '@pdata/testing';
import { afterAll, describe, expect, it } from 'vitest';
import {
  makeCertificates,
  openScratch,
  outputOf,
  type RealServer,
  requireNbdTools,
  runProgram,
  runsLong,
  startNbdkit,
  startQemuNbd,
} from '../src/index.js';

const SIZE = 2 * 2 ** 20;
const scratch = openScratch();
let nrNames = 0;
const fresh = (): string => scratch.path(`${++nrNames}`);
const servers: RealServer[] = [];
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop('SIGKILL')));
  scratch[Symbol.dispose]();
});
const kept = async (starting: Promise<RealServer>): Promise<RealServer> => {
  const server = await starting;
  servers.push(server);
  return server;
};

function image(format: 'raw' | 'qcow2', size: number | string = SIZE): string {
  const path = fresh();
  const { status, stderr } = runProgram('qemu-img', ['create', '-q', '-f', format, path, String(size)]);
  if (status !== 0) throw new Error(stderr);
  return path;
}

const nrRandomWorkloads = runsLong() ? 60 : 4;

/**
 * What none of these servers does: they answer WRITE_ZEROES with NO_HOLE well, and yet call the range a hole in base:allocation
 * (qemu-nbd sees preallocated space of a file as a hole, nbdkit's memory takes no space for zeros at all). What they say of it
 * is theirs to say, and our device passes it on.
 */
const UNKEPT = 'calls nothing a hole whose space was to be kept';

describe.runIf(requireNbdTools())('our NBD client', () => {
  const peers: { peer: string; start: () => Promise<RealServer>; connections?: number }[] = [
    {
      peer: 'qemu-nbd on a raw file',
      start: () => startQemuNbd(fresh(), ['--format=raw', '--discard=unmap', image('raw')]),
    },
    {
      peer: 'qemu-nbd on a qcow2 file, over 4 connections',
      start: () => startQemuNbd(fresh(), ['--format=qcow2', '--discard=unmap', image('qcow2')]),
      connections: 4,
    },
    {
      peer: 'nbdkit memory, over 8 connections',
      start: () => startNbdkit(fresh(), ['memory', `size=${SIZE}`]),
      connections: 8,
    },
    {
      peer: 'nbdkit with blocks of 4096 bytes and payloads of at most 64 KiB',
      start: () =>
        startNbdkit(fresh(), [
          '--filter=blocksize-policy',
          'memory',
          `size=${SIZE}`,
          'blocksize-minimum=4096',
          'blocksize-preferred=4096',
          'blocksize-maximum=65536',
          'blocksize-error-policy=error',
        ]),
      connections: 2,
    },
    {
      peer: 'nbdkit without structured replies, WRITE_ZEROES and FUA',
      start: () => startNbdkit(fresh(), ['--no-sr', '--filter=nozero', '--filter=fua', 'file', image('raw')]),
    },
  ];
  describe.each(peers)('on $peer', ({ start, connections = 1 }) => {
    let server: Promise<RealServer> | undefined;
    const open = async (readOnly: boolean): Promise<DataDevice> => {
      server ??= kept(start());
      return connectNbd((await server).uri, { connections, readOnly });
    };
    const create = (): Promise<DataDevice> => open(false);
    const createReadOnly = (): Promise<DataDevice> => open(true);
    const reopen = create;
    for (const { name, run } of dataDeviceConformance({ create, reopen, createReadOnly, nrRandomWorkloads }))
      if (name !== UNKEPT) it(name, run);
  });
  it('reads and writes large ranges over several connections, as qemu-img sees them', async () => {
    const path = image('raw', '40M');
    const server = await kept(startQemuNbd(fresh(), ['--format=raw', '--discard=unmap', path]));
    const disk = await connectNbd(server.uri, { connections: 8 });
    expect(disk.nrConnections).toBe(8);
    const random = seededRandom(7);
    const bytes = new Uint8Array(33 * 2 ** 20 + 512).map(() => random() * 256);
    await disk.write(2 ** 20 - 512, bytes);
    await disk.flush();
    const back = new Uint8Array(bytes.length);
    await disk.read(2 ** 20 - 512, back);
    expect(Buffer.compare(back, bytes)).toBe(0);
    await disk.writeZeroes(2 ** 20, 32 * 2 ** 20);
    await disk.close();
    const copy = fresh();
    const expected = new Uint8Array(40 * 2 ** 20);
    expected.set(bytes, 2 ** 20 - 512);
    expected.fill(0, 2 ** 20, 33 * 2 ** 20);
    writeFileSync(copy, expected);
    await outputOf('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', path, copy]);
  });

  it('uses one connection where the server does not say that several work as one', async () => {
    const server = await kept(startNbdkit(fresh(), ['--filter=multi-conn', 'memory', '1M', 'multi-conn-mode=disable']));
    const disk = await connectNbd(server.uri, { connections: 4 });
    expect(disk.nrConnections).toBe(1);
    await disk.close();
  });

  it('finds an export that is not there, and tells the name and what the server says', async () => {
    const server = await kept(startQemuNbd(fresh(), ['--export-name=disk', '--format=raw', image('raw')]));
    await expect(connectNbd(server.uri)).rejects.toThrow(DeviceOpenError);
    await expect(connectNbd(server.uri)).rejects.toThrow(
      /refuses the export "": the server has no such export; .*not present/,
    );
    const disk = await connectNbd(server.uri, { exportName: 'disk' });
    expect(disk.size).toBe(SIZE);
    await disk.close();
  });

  it('lists the exports of a server, with what it says of them', async () => {
    const server = await kept(
      startQemuNbd(fresh(), ['--export-name=disk/ä', '--description=a disk', '--format=raw', image('raw')]),
    );
    expect(await listNbdExports(server.uri)).toEqual([{ name: 'disk/ä', description: 'a disk' }]);
  });

  it.each([
    { how: 'with GO and simple replies', args: ['--no-sr'] },
    { how: 'by EXPORT_NAME with 124 zeros, as before GO', args: ['--mask-handshake=0'] },
    { how: 'by EXPORT_NAME without the zeros', args: ['--mask-handshake=2'] },
  ])('opens an export of an old server $how', async ({ args }) => {
    const server = await kept(startNbdkit(fresh(), [...args, 'data', 'data=@4096 7 8 9', 'size=8192']));
    const disk = await connectNbd(server.uri);
    const sector = new Uint8Array(512);
    await disk.read(4096, sector);
    expect([...sector.subarray(0, 4)]).toEqual([7, 8, 9, 0]);
    expect(await disk.allocation(0, 8192)).toEqual([{ offset: 0, length: 8192, state: 'data' }]);
    await disk.close();
  });

  it('refuses a server of the oldest kind with a word on what it is', async () => {
    const server = await kept(startNbdkit(fresh(), ['--oldstyle', 'memory', '1M']));
    await expect(connectNbd(server.uri)).rejects.toThrow(/of before 2011/);
  });

  it('keeps off writes from a read-only export, and shows its holes', async () => {
    const path = image('raw');
    const server = await kept(startQemuNbd(fresh(), ['--read-only', '--format=raw', path]));
    const disk = await connectNbd(server.uri);
    expect(disk.readOnly).toBe(true);
    await expect(disk.write(0, new Uint8Array(512))).rejects.toThrow(ReadOnlyError);
    await disk.flush();
    const half = SIZE / 2; // qemu-img gives a raw file its first block
    expect(await disk.allocation(half, half)).toEqual([{ offset: half, length: half, state: 'hole' }]);
    await disk.close();
  });

  it('does not use bytes of an export behind its last whole sector, and tells its true size', async () => {
    const server = await kept(startNbdkit(fresh(), ['memory', '1000']));
    const disk = await connectNbd(server.uri);
    expect([disk.size, disk.exportSize]).toEqual([512, 1000]);
    await disk.close();
  });

  it('reads which blocks changed since a bitmap of qemu was made', async () => {
    const path = image('qcow2', '64M');
    await outputOf('qemu-img', ['bitmap', '--add', '-g', '64k', path, 'monday']);
    await outputOf('qemu-io', ['-c', 'write -P 1 1M 64k', '-c', 'write -P 1 32M 128k', path]);
    const server = await kept(startQemuNbd(fresh(), ['--read-only', '--bitmap=monday', path]));
    const context = 'qemu:dirty-bitmap:monday';
    const disk = await connectNbd(server.uri, { contexts: [context] });
    expect(disk.contexts).toEqual(['base:allocation', context]);
    const changed: { offset: number; length: number }[] = [];
    for await (const range of disk.changed(context)) changed.push(range);
    expect(changed).toEqual([
      { offset: 2 ** 20, length: 65536 },
      { offset: 32 * 2 ** 20, length: 131072 },
    ]);
    expect(await disk.extents(context, 2 ** 20 + 512, 1024, { oneExtent: true })).toEqual([
      { offset: 2 ** 20 + 512, length: 1024, flags: 1 },
    ]);
    await expect(disk.extents('x:y', 0, 512)).rejects.toThrow('the context "x:y" was not agreed on; base:allocation');
    await disk.close();
    await expect(connectNbd(server.uri, { contexts: ['qemu:dirty-bitmap:sunday'] })).rejects.toThrow(
      'has no metadata context "qemu:dirty-bitmap:sunday"',
    );
  });

  it('passes on what the server cannot do, with the number and the words it gives, and goes on', async () => {
    const server = await kept(
      startNbdkit(fresh(), ['--filter=error', 'memory', '1M', 'error-pread=ENOSPC', 'error-pread-rate=100%']),
    );
    const disk = await connectNbd(server.uri);
    const failure = await disk.read(4096, new Uint8Array(512)).catch((error: Error) => error);
    expect(failure).toBeInstanceOf(DeviceError);
    expect((failure as Error).message).toMatch(/read of 512 bytes at 4096 failed: the server answered ENOSPC/);
    expect((failure as Error).cause).toMatchObject({ errorNr: 28, errorName: 'ENOSPC', code: 'ERR_NBD_REPLY' });
    await disk.write(0, new Uint8Array(512));
    await disk.close();
  });

  it('fails every request in flight and each later one when the server is killed', async () => {
    const server = await kept(
      startNbdkit(fresh(), ['--filter=delay', 'memory', '1M', 'delay-read=60', 'delay-close=0']),
    );
    const disk = await connectNbd(server.uri, { connections: 2 });
    const inFlight = Promise.allSettled([0, 512, 1024].map((at) => disk.read(at, new Uint8Array(512))));
    await disk.write(0, new Uint8Array(512));
    await server.stop('SIGKILL');
    for (const result of await inFlight) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_DEVICE' } });
      expect(String((result as PromiseRejectedResult).reason)).toMatch(/server closed the connection|connection broke/);
    }
    await expect(disk.flush()).rejects.toThrow(DeviceError);
    await expect(disk.write(0, new Uint8Array(512))).rejects.toThrow(/open the device anew/);
    await disk.close();
  });

  it('gives a server up that owes an answer for too long', async () => {
    const server = await kept(startNbdkit(fresh(), ['--filter=delay', 'memory', '1M', 'delay-read=60']));
    const disk = await connectNbd(server.uri, { replyMs: 300 });
    await expect(disk.read(0, new Uint8Array(512))).rejects.toMatchObject({
      code: 'ERR_DEVICE',
      cause: { code: 'ERR_NBD_TIMEOUT' },
    });
    await disk.close();
    await server.stop('SIGKILL');
  });

  it('says who is missing when nobody listens, and that it is no NBD server when somebody else does', async () => {
    await expect(connectNbd({ socketPath: fresh() })).rejects.toThrow(/no such socket/);
    await expect(connectNbd({ host: '127.0.0.1', port: 1 })).rejects.toThrow(/nobody listens there/);
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const path = fresh();
    await new Promise<void>((resolve) => web.listen(path, resolve));
    await expect(connectNbd({ socketPath: path })).rejects.toThrow(/is not an NBD server/);
    web.close();
  });

  describe('over TLS', () => {
    it('reads and writes on a server that demands it, by a URI that names the certificates', async () => {
      const directory = makeCertificates(fresh());
      const socketPath = fresh();
      const args = ['--tls=require', `--tls-certificates=${directory}`, '--tls-verify-peer', 'memory', '1M'];
      await kept(startNbdkit(socketPath, args));
      const uri = formatNbdUri({ target: { socketPath }, tls: true, tlsCertificates: directory });
      const disk = await connectNbd(uri, { connections: 3 });
      expect(disk.nrConnections).toBe(3);
      const bytes = new Uint8Array(2 ** 20).fill(5);
      await disk.write(0, bytes, { fua: true });
      const back = new Uint8Array(2 ** 20);
      await disk.read(0, back);
      expect(Buffer.compare(back, bytes)).toBe(0);
      await disk.close();
      expect(await listNbdExports(uri)).toHaveLength(1);
      await expect(connectNbd({ socketPath })).rejects.toThrow(/the server wants TLS first/);
      await expect(connectNbd({ socketPath }, { tls: true })).rejects.toThrow(
        /cannot connect to nbds\+unix.*certificate/,
      );
      await expect(connectNbd(`${uri}&tls-hostname=other`)).rejects.toThrow(/cannot connect to .*other/);
    });

    it('does not talk in the clear when TLS was asked for and the server has none', async () => {
      const server = await kept(startNbdkit(fresh(), ['memory', '1M']));
      await expect(connectNbd(server.uri, { tls: true })).rejects.toThrow(/refuses TLS/);
    });
  });
});
