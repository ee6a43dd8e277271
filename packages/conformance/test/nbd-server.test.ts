/** Our NBD server, judged by the clients that people use: nbdinfo, nbdcopy, qemu-img, qemu-io, and fio with its nbd engine. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DataDevice, MemoryDataDevice } from '@pdata/device';
import { openFileDataDevice } from '@pdata/device/node';
import { connectNbd, type MetaContext, type MetaExtent } from '@pdata/nbd';
import { dataDeviceConformance, seededRandom } from '@pdata/testing';
import { afterAll, describe, expect, it } from 'vitest';
import {
  makeCertificates,
  type NbdService,
  openScratch,
  outputOf,
  requireNbdTools,
  runAside,
  runsLong,
  serveExports,
} from '../src/index.js';

const MIB = 2 ** 20;
const scratch = openScratch();
afterAll(() => scratch[Symbol.dispose]());
let nrNames = 0;
const fresh = (): string => scratch.path(`${++nrNames}`);
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Random bytes with holes in it, each of 64 KiB or more. */
function sparseBytes(size: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536)
    if (random() < 0.4)
      bytes.set(
        bytes.subarray(at, at + 65536).map(() => random() * 256),
        at,
      );
  return bytes;
}

/** A device that holds `bytes`, and knows their holes. */
async function deviceOf(bytes: Uint8Array): Promise<MemoryDataDevice> {
  const device = new MemoryDataDevice({ size: bytes.length });
  for (let at = 0; at < bytes.length; at += 65536) {
    const part = bytes.subarray(at, at + 65536);
    if (part.some((byte) => byte !== 0)) await device.write(at, part);
  }
  return device;
}

async function contentOf(device: DataDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.size);
  await device.read(0, bytes);
  return bytes;
}

const fileOf = (bytes: Uint8Array): string => {
  const path = fresh();
  writeFileSync(path, bytes);
  return path;
};

/** The bytes [from, to) of each pair have changed. */
function dirty(name: string, size: number, ranges: readonly (readonly [from: number, to: number])[]): MetaContext {
  return {
    name: `qemu:dirty-bitmap:${name}`,
    extents: async (offset) => {
      const extents: MetaExtent[] = [];
      let at = 0;
      const upTo = (to: number, flags: number): void => {
        if (to > Math.max(at, offset)) extents.push({ length: to - Math.max(at, offset), flags });
        at = to;
      };
      for (const [from, to] of ranges) {
        upTo(from, 0);
        upTo(to, 1);
      }
      upTo(size, 0);
      return extents;
    },
  };
}

/** qemu's way to name an export together with options of its own. */
const qemuImage = ({ socketPath }: NbdService, exportName: string, more: object = {}): string =>
  `json:${JSON.stringify({ driver: 'raw', file: { driver: 'nbd', server: { type: 'unix', path: socketPath }, export: exportName, ...more } })}`;

describe.runIf(requireNbdTools())('our NBD server', () => {
  it('tells nbdinfo what an export is and can do', async () => {
    const device = new MemoryDataDevice({ size: 5 * MIB + 512 });
    const contexts = [dirty('monday', device.size, [])];
    await using service = await serveExports({ 'a b/ä': { device, description: 'a disk', contexts } });
    const { exports } = JSON.parse(await outputOf('nbdinfo', ['--json', service.uri('a b/ä')])) as {
      exports: object[];
    };
    expect(exports).toMatchObject([
      {
        'export-name': 'a b/ä',
        description: 'a disk',
        'export-size': 5 * MIB + 512,
        contexts: ['base:allocation', 'qemu:dirty-bitmap:monday'],
        is_read_only: false,
        is_rotational: false,
        can_multi_conn: true,
        can_flush: true,
        can_fua: true,
        can_trim: true,
        can_zero: true,
        can_df: true,
        block_size_minimum: 1,
        block_size_maximum: 32 * MIB,
      },
    ]);
  });

  it('lists all its exports to nbdinfo, in order', async () => {
    const device = new MemoryDataDevice({ size: MIB });
    await using service = await serveExports({
      one: { device, description: 'first' },
      two: { device },
      '': { device },
    });
    const { exports } = JSON.parse(await outputOf('nbdinfo', ['--list', '--json', service.uri()])) as {
      exports: Record<string, unknown>[];
    };
    expect(exports.map((each) => [each['export-name'], each.description, each['export-size']])).toEqual([
      ['one', 'first', MIB],
      ['two', undefined, MIB],
      ['', undefined, MIB],
    ]);
  });

  it('shows nbdinfo where data and holes are, and what has changed', async () => {
    const bytes = new Uint8Array(4 * MIB);
    bytes.fill(1, MIB, MIB + 65536);
    const contexts = [
      dirty('monday', bytes.length, [
        [65536, 131072],
        [3 * MIB, 4 * MIB],
      ]),
    ];
    await using service = await serveExports({ x: { device: await deviceOf(bytes), contexts } });
    const map = async (context: string): Promise<number[][]> => {
      const extents = JSON.parse(await outputOf('nbdinfo', [`--map=${context}`, '--json', service.uri('x')])) as {
        offset: number;
        length: number;
        type: number;
      }[];
      return extents.map(({ offset, length, type }) => [offset, length, type]);
    };
    expect(await map('base:allocation')).toEqual([
      [0, MIB, 3],
      [MIB, 65536, 0],
      [MIB + 65536, 3 * MIB - 65536, 3],
    ]);
    expect(await map('qemu:dirty-bitmap:monday')).toEqual([
      [0, 65536, 0],
      [65536, 65536, 1],
      [131072, 3 * MIB - 131072, 0],
      [3 * MIB, MIB, 1],
    ]);
  });

  it('gives nbdcopy what it holds, and takes what it brings, over many connections', async () => {
    const bytes = sparseBytes(24 * MIB, 5);
    const [source, target] = [await deviceOf(bytes), new MemoryDataDevice({ size: bytes.length })];
    await target.write(0, new Uint8Array(bytes.length).fill(7)); // holes must become zeros
    await using service = await serveExports({ source: { device: source }, target: { device: target } });
    for (const options of [[], ['--connections=8', '--requests=128', '--request-size=1048576'], ['--synchronous']]) {
      const copy = fileOf(new Uint8Array(0));
      await outputOf('nbdcopy', [...options, service.uri('source'), copy]);
      expect(sha256(readFileSync(copy))).toBe(sha256(bytes));
    }
    await outputOf('nbdcopy', ['--flush', service.uri('source'), service.uri('target')]);
    expect(sha256(await contentOf(target))).toBe(sha256(bytes));
    const other = sparseBytes(24 * MIB, 6);
    await outputOf('nbdcopy', ['--connections=8', fileOf(other), service.uri('target')]);
    expect(sha256(await contentOf(target))).toBe(sha256(other));
    await outputOf('nbdcopy', ['--allocated', service.uri('source'), service.uri('target')]);
    expect(sha256(await contentOf(target))).toBe(sha256(bytes));
    expect(service.logged).toEqual([]);
  });

  it('is an image to qemu-img: info, map, convert, compare', async () => {
    const bytes = sparseBytes(16 * MIB, 8);
    const device = await deviceOf(bytes);
    const target = new MemoryDataDevice({ size: bytes.length });
    await target.write(0, new Uint8Array(bytes.length).fill(7));
    const contexts = [dirty('monday', bytes.length, [[MIB, 2 * MIB]])];
    await using service = await serveExports({ x: { device, contexts }, target: { device: target } });
    const info = JSON.parse(await outputOf('qemu-img', ['info', '--output=json', service.uri('x')])) as object;
    expect(info).toMatchObject({ format: 'raw', 'virtual-size': bytes.length });

    const map = JSON.parse(await outputOf('qemu-img', ['map', '--output=json', service.uri('x')])) as {
      start: number;
      length: number;
      zero: boolean;
    }[];
    let at = 0;
    for (const { start, length, zero } of map) {
      expect(start).toBe(at);
      if (zero) expect(bytes.subarray(start, start + length).every((byte) => byte === 0)).toBe(true);
      at += length;
    }
    expect(at).toBe(bytes.length);
    expect(map.some(({ zero }) => zero)).toBe(true);
    const changed = JSON.parse(
      await outputOf('qemu-img', [
        'map',
        '--output=json',
        qemuImage(service, 'x', { 'x-dirty-bitmap': 'qemu:dirty-bitmap:monday' }),
      ]),
    ) as { start: number; length: number; data: boolean }[];
    // qemu shows what is dirty as "no data": the way its documentation tells backup programs to read it.
    expect(changed.filter(({ data }) => !data).map(({ start, length }) => [start, length])).toEqual([[MIB, MIB]]);

    const qcow2 = fresh();
    await outputOf('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', service.uri('x'), qcow2]);
    await outputOf('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', service.uri('x'), qcow2]);
    await outputOf('qemu-img', [
      'convert',
      '-n',
      '-m',
      '16',
      '-W',
      '-f',
      'qcow2',
      '-O',
      'raw',
      qcow2,
      service.uri('target'),
    ]);
    expect(sha256(await contentOf(target))).toBe(sha256(bytes));
    await outputOf('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', service.uri('x'), service.uri('target')]);
    await target.write(9 * MIB, new Uint8Array([...new Array<number>(512).keys()]));
    const { status } = await runAside('qemu-img', [
      'compare',
      '-f',
      'raw',
      '-F',
      'raw',
      service.uri('x'),
      service.uri('target'),
    ]);
    expect(status, 'qemu-img compare finds a difference where there is one').toBe(1);
  });

  it('does what qemu-io asks, aligned or not: writes, zeros that unmap or do not, discards, FUA, reads back', async () => {
    const size = 4 * MIB + 512;
    const device = new MemoryDataDevice({ size });
    await using service = await serveExports({ x: { device } });
    const model = new Uint8Array(size);
    const commands: string[] = [];
    const fill = (pattern: number, at: number, length: number, options: string): void => {
      model.fill(pattern, at, at + length);
      commands.push(`write ${options} ${at} ${length}`, `read -P ${pattern} ${at} ${length}`);
    };
    fill(1, 0, size, '-P 1');
    fill(2, 65536, 65536, '-P 2 -f');
    fill(3, 1, 1, '-P 3');
    fill(4, 511, 2, '-P 4 -f');
    fill(5, 131072 - 3, 7 * 512, '-P 5');
    fill(0, 196608, 65536, '-z');
    fill(0, 2 * MIB, MIB, '-z -u');
    fill(0, 3 * MIB + 100, 5000, '-z');
    fill(0, 262144 - 512, 1024, '-z -u -f');
    fill(6, size - 512, 512, '-P 6 -f');
    fill(7, size - 1, 1, '-P 7');
    commands.push(
      'flush',
      'discard 1M 512k',
      'discard 1535 3000',
      'aio_write -P 9 400k 4k',
      'aio_write -P 9 404k 4k',
      'aio_flush',
    );
    model.fill(9, 400 * 1024, 408 * 1024);
    const output = await outputOf('qemu-io', [
      '-t',
      'none',
      '-f',
      'raw',
      ...commands.flatMap((c) => ['-c', c]),
      service.uri('x'),
    ]);
    expect(output).not.toMatch(/failed|error/i);
    const found = await contentOf(device);
    // What is discarded reads as zeros, or as it was.
    for (const [from, to] of [
      [MIB, 1.5 * MIB],
      [1535, 4535],
    ] as const)
      for (let at = from; at < to; at++) if (found[at] === 0) model[at] = 0;
    expect(sha256(found)).toBe(sha256(model));
    expect(await device.allocation(2 * MIB, MIB)).toEqual([{ offset: 2 * MIB, length: MIB, state: 'hole' }]);
    expect((await device.allocation(196608, 65536))[0]?.state).toBe('zero');
  });

  it.each([
    { what: 'memory', jobs: 1, open: async () => new MemoryDataDevice({ size: 32 * MIB }) },
    {
      what: 'a file, by 4 jobs',
      jobs: 4,
      open: () => openFileDataDevice(fresh(), { mode: 'write', create: { size: 32 * MIB } }),
    },
  ])('keeps what fio writes at random and verifies, on $what', async ({ jobs, open }) => {
    const device = await open();
    await using service = await serveExports({ x: { device } });
    const output = await outputOf('fio', [
      '--name=verify',
      '--ioengine=nbd',
      '--verify_state_save=0',
      `--uri=${service.uri('x')}`,
      '--rw=randwrite',
      '--bsrange=512-64k',
      '--bs_unaligned',
      '--iodepth=16',
      '--fsync=64',
      `--numjobs=${jobs}`,
      `--size=${32 / jobs}m`,
      `--offset_increment=${32 / jobs}m`,
      `--io_size=${runsLong() ? 512 : 24 / jobs}m`,
      '--verify=crc32c',
      '--verify_fatal=1',
      '--do_verify=1',
      '--randseed=11',
      '--output-format=json',
    ]);
    const report = JSON.parse(output.slice(output.indexOf('{'))) as {
      jobs: { error: number; write: { total_ios: number }; read: { total_ios: number } }[];
    };
    expect(report.jobs).toHaveLength(jobs);
    for (const { error, write, read } of report.jobs) {
      expect(error).toBe(0);
      expect(write.total_ios).toBeGreaterThan(100);
      expect(read.total_ios, 'reads of the verification').toBeGreaterThan(100);
    }
    await device.close();
  });

  it('has fio find out what changed under it: the verification can fail', async () => {
    const device = new MemoryDataDevice({ size: MIB });
    await using service = await serveExports({ x: { device } });
    const fio = (...args: string[]): ReturnType<typeof runAside> =>
      runAside('fio', [
        '--name=x',
        '--ioengine=nbd',
        '--verify_state_save=0',
        `--uri=${service.uri('x')}`,
        '--rw=write',
        '--bs=4k',
        '--size=1m',
        '--verify=crc32c',
        ...args,
      ]);
    expect((await fio('--do_verify=0')).status).toBe(0);
    expect((await fio('--verify_only')).status).toBe(0);
    await device.write(512 * 1024, new Uint8Array(512).fill(9));
    expect((await fio('--verify_only')).status).not.toBe(0);
  });

  it('serves forty clients at once', async () => {
    const bytes = sparseBytes(2 * MIB, 3);
    await using service = await serveExports({ x: { device: await deviceOf(bytes) } });
    const copies = Array.from({ length: 20 }, fresh);
    await Promise.all([
      ...copies.map((copy) => outputOf('nbdcopy', ['--connections=4', service.uri('x'), copy])),
      ...copies.map(() => outputOf('nbdinfo', ['--size', service.uri('x')])),
    ]);
    for (const copy of copies) expect(sha256(readFileSync(copy))).toBe(sha256(bytes));
    expect(service.logged).toEqual([]);
  });

  it('refuses changes to a read-only export so that clients say so, and nothing changes', async () => {
    const bytes = sparseBytes(MIB, 4);
    await using service = await serveExports({
      x: { device: new MemoryDataDevice({ bytes: bytes.slice(), readOnly: true }) },
    });
    const written = await runAside('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', service.uri('x')]);
    expect(written.status).not.toBe(0);
    expect(written.stderr + written.stdout).toMatch(/permission denied/i); // its words for qemu-nbd --read-only, too
    const copied = await runAside('nbdcopy', [fileOf(new Uint8Array(MIB)), service.uri('x')]);
    expect(copied.status).not.toBe(0);
    await outputOf('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', service.uri('x'), fileOf(bytes)]);
  });

  it('takes nothing behind its end, and nbdcopy says so', async () => {
    const device = new MemoryDataDevice({ size: MIB });
    await using service = await serveExports({ x: { device } });
    const { status, stderr } = await runAside('nbdcopy', [fileOf(sparseBytes(2 * MIB, 2)), service.uri('x')]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/smaller/);
    const { stdout } = await runAside('qemu-io', ['-f', 'raw', '-c', 'read 1M 512', service.uri('x')]);
    expect(stdout).toMatch(/read failed/);
  });

  it('says which export it lacks', async () => {
    await using service = await serveExports({ x: { device: new MemoryDataDevice({ size: MIB }) } });
    for (const [program, args] of [
      ['nbdinfo', ['--size', service.uri('nope')]],
      ['qemu-img', ['info', service.uri('nope')]],
    ] as const) {
      const { status, stderr } = await runAside(program, args);
      expect(status).not.toBe(0);
      expect(stderr).toMatch(/nope/);
    }
  });

  it('passes the errors of its device on to the client, and goes on', async () => {
    const device = new MemoryDataDevice({ size: MIB });
    const full = new Proxy<DataDevice>(device, {
      get(_, key) {
        if (key === 'write') return () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }));
        const member = device[key as keyof DataDevice];
        return typeof member === 'function' ? member.bind(device) : member;
      },
    });
    await using service = await serveExports({ x: { device: full } });
    const { stdout, stderr } = await runAside('qemu-io', [
      '-f',
      'raw',
      '-c',
      'write 0 4k',
      '-c',
      'read -P 0 0 4k',
      service.uri('x'),
    ]);
    expect(stdout + stderr).toMatch(/write failed: No space left on device/);
    expect(stdout).toMatch(/read 4096\/4096 bytes/);
  });

  it('stops while a client is writing, which is told so, and keeps what it wrote', async () => {
    const path = fresh();
    const device = await openFileDataDevice(path, { mode: 'write', create: { size: 64 * MIB } });
    const service = await serveExports({ x: { device } });
    const fio = runAside('fio', [
      '--name=x',
      '--ioengine=nbd',
      '--verify_state_save=0',
      `--uri=${service.uri('x')}`,
      '--rw=randwrite',
      '--bs=4k',
      '--iodepth=8',
      '--time_based',
      '--runtime=60',
      '--size=64m',
    ]);
    while (service.server.clients.every(({ nrRequests }) => nrRequests < 1000))
      await new Promise((resolve) => setTimeout(resolve, 20));
    await service[Symbol.asyncDispose]();
    expect((await fio).status, 'fio is told that its disk is gone').not.toBe(0);
    await device.close();
    expect(readFileSync(path).some((byte) => byte !== 0)).toBe(true);
  });

  it('talks TLS with nbdinfo, nbdcopy and qemu-img, and turns away who does not', async () => {
    const bytes = sparseBytes(2 * MIB, 9);
    const directory = makeCertificates(fresh());
    const pem = (name: string): Buffer => readFileSync(join(directory, `${name}.pem`));
    const tls = { mode: 'require', cert: pem('server-cert'), key: pem('server-key') } as const;
    await using service = await serveExports({ x: { device: await deviceOf(bytes) } }, { tls });
    const uri = `${service.uri('x')}&tls-certificates=${directory}&tls-verify-peer=false`;
    expect((await outputOf('nbdinfo', ['--size', uri])).trim()).toBe(String(bytes.length));
    const copy = fresh();
    await outputOf('nbdcopy', [uri, copy]);
    expect(sha256(readFileSync(copy))).toBe(sha256(bytes));
    const object = `tls-creds-x509,id=tls0,endpoint=client,dir=${directory}`;
    const image = `driver=nbd,server.type=unix,server.path=${service.socketPath},export=x,tls-creds=tls0,tls-hostname=localhost`;
    await outputOf('qemu-img', ['info', '--object', object, '--image-opts', image]);
    const inTheClear = await runAside('nbdinfo', ['--size', service.uri('x').replace('nbds', 'nbd')]);
    expect(inTheClear.status).not.toBe(0);
    expect(inTheClear.stderr).toMatch(/TLS|tls/);
  });
});

describe('our NBD server as a disk of our own client', () => {
  const open: Record<string, () => Promise<DataDevice>> = {
    memory: async () => new MemoryDataDevice({ size: 2 * MIB }),
    'a file': () => openFileDataDevice(fresh(), { mode: 'write', create: { size: 2 * MIB } }),
  };
  describe.each(Object.keys(open))('over %s', (what) => {
    const services: NbdService[] = [];
    afterAll(async () => {
      for (const service of services) await service[Symbol.asyncDispose]();
    });
    let service: Promise<NbdService> | undefined;
    const connect = async (readOnly: boolean): Promise<DataDevice> => {
      service ??= open[what]!().then((device) => serveExports({ x: { device } }));
      if (!services.includes(await service)) services.push(await service);
      return connectNbd((await service).uri('x'), { connections: 4, readOnly });
    };
    const suite = dataDeviceConformance({
      create: () => connect(false),
      reopen: () => connect(false),
      createReadOnly: () => connect(true),
      nrRandomWorkloads: runsLong() ? 60 : 4,
    });
    for (const { name, run } of suite) it(name, run);
  });
});
