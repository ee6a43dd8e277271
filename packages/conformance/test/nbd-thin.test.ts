/**
 * Thin pools served over NBD: pools that the kernel made, read back by nbdcopy with the sums that the kernel recorded; a pool whose data
 * is itself on a remote disk; and the kernel's judgement of what is left.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DataDevice, StoreError } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { connectNbd } from '@pdata/nbd';
import { dataDeviceConformance, seededRandom } from '@pdata/testing';
import { ThinPool } from '@pdata/thin';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type FixtureName,
  fixture,
  type NbdService,
  openScratch,
  outputOf,
  type RealServer,
  readDump,
  requireKernel,
  requireNbdTools,
  requireTools,
  runGuest,
  runOurTool,
  runsLong,
  type Scratch,
  serveExports,
  startQemuNbd,
  startServer,
} from '../src/index.js';
import { BLOCK, expectClean, fileSum, PoolInFiles, sumsByDump } from './pool-in-files.js';

const MIB = 2 ** 20;
const root = fileURLToPath(new URL('../../..', import.meta.url));
/** A guest boots in six seconds on an idle machine; a busy one may take its time. */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

let scratch: Scratch;
beforeEach(() => {
  scratch = openScratch();
});
afterEach(() => scratch[Symbol.dispose]());

async function sumOfExport(uri: string): Promise<string> {
  const copy = scratch.path('copy.img');
  await outputOf('nbdcopy', [uri, copy]);
  const sum = fileSum(copy);
  rmSync(copy);
  return sum;
}

/** What nbdinfo sees of a context, extent by extent. */
async function mapOf(
  uri: string,
  context = 'base:allocation',
): Promise<{ offset: number; length: number; type: number }[]> {
  return JSON.parse(await outputOf('nbdinfo', [`--map=${context}`, '--json', uri])) as Awaited<
    ReturnType<typeof mapOf>
  >;
}

describe.runIf(requireNbdTools())('pdata serve thin', () => {
  // The program runs the build.
  beforeAll(() => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'packages/tools')], { encoding: 'utf8' });
    expect(built.status, built.stdout).toBe(0);
  });

  it.each<{ name: FixtureName; volumes: readonly number[] }>([
    { name: 'thin-basic', volumes: [0, 1, 2, 4] },
    { name: 'thin-metasnap', volumes: [0, 1, 2, 4] },
    { name: 'thin-powercut', volumes: [] },
  ])('serves $name, which the kernel made, so that nbdcopy reads what the kernel read', async ({ name, volumes }) => {
    const [meta, data] = [
      fixture(name).writeMetadata(scratch.path('meta')),
      fixture(name).writeData(scratch.path('data')),
    ];
    const before = [fileSum(meta), fileSum(data)];
    const { devices } = readDump((await runOurTool('thin_dump', [meta])).stdout);
    const size = 32 * MIB;
    const expected = await sumsByDump(meta, data, new Map(Array.from(devices.keys(), (id) => [id, size / 512])));
    for (const thinId of volumes) expect(fixture(name).sums.get(thinId)).toBe(expected.get(thinId));
    const socketPath = scratch.path('nbd.sock');
    const program = join(root, 'packages/tools/bin/pdata.js');
    const args = ['serve', 'thin', '--metadata', meta, '--data', data, '--socket', socketPath, '--volume-size', '32M'];
    const uri = (thinId: number): string => `nbd+unix:///${thinId}?socket=${socketPath}`;
    {
      await using server = await startServer(process.execPath, [program, ...args, '--read-only'], socketPath);
      for (const [thinId, { mappings }] of devices) {
        expect(await sumOfExport(uri(thinId)), `volume ${thinId}`).toBe(expected.get(thinId));
        const mapped = mappings.flatMap(({ virtualBlock, length }) =>
          Array.from({ length }, (_, nr) => virtualBlock + nr),
        );
        const seen: number[] = [];
        for (const { offset, length, type } of await mapOf(uri(thinId)))
          for (let at = offset; at < offset + length; at += BLOCK) if (type === 0) seen.push(at / BLOCK);
        expect(seen, `mapped blocks of volume ${thinId}`).toEqual(mapped.filter((block) => block < size / BLOCK));
      }
      await server.stop('SIGTERM');
      expect(server.child.exitCode).toBe(0);
      expect([fileSum(meta), fileSum(data)], 'what was served read-only is as it was').toEqual(before);
    }
    {
      await using server = await startServer(process.execPath, [program, ...args], socketPath);
      expect(await sumOfExport(uri(0))).toBe(expected.get(0));
      await outputOf('qemu-io', ['-f', 'raw', '-c', 'write -P 7 1M 100k', '-c', 'flush', uri(0)]);
      await outputOf('qemu-io', ['-f', 'raw', '-c', 'read -P 7 1M 100k', uri(0)]);
      expect(await sumOfExport(uri(1)), 'another volume, after a write to the first').toBe(expected.get(1));
      await server.stop('SIGTERM');
      expect(server.child.exitCode).toBe(0);
    }
    await expectClean(meta);
  });

  it('tells what changed between two snapshots, and that is all that differs', async () => {
    const [meta, data] = [
      fixture('thin-basic').writeMetadata(scratch.path('meta')),
      fixture('thin-basic').writeData(scratch.path('data')),
    ];
    const socketPath = scratch.path('nbd.sock');
    const program = join(root, 'packages/tools/bin/pdata.js');
    const args = [
      'serve',
      'thin',
      '--metadata',
      meta,
      '--data',
      data,
      '--socket',
      socketPath,
      '--volume-size',
      '32M',
      '--read-only',
    ];
    await using _server = await startServer(process.execPath, [program, ...args], socketPath);
    const context = 'qemu:dirty-bitmap:0';
    const base = await connectNbd({ socketPath }, { exportName: '0' });
    const volume = await connectNbd({ socketPath }, { exportName: '1', contexts: [context] });
    const [baseBytes, bytes] = [new Uint8Array(32 * MIB), new Uint8Array(32 * MIB)];
    await Promise.all([base.read(0, baseBytes), volume.read(0, bytes)]);
    let nrChanged = 0;
    for await (const { offset, length } of volume.changed(context)) {
      baseBytes.set(bytes.subarray(offset, offset + length), offset);
      nrChanged += length;
    }
    expect(Buffer.compare(baseBytes, bytes)).toBe(0);
    expect(nrChanged).toBeGreaterThan(0);
    expect(nrChanged).toBeLessThan(32 * MIB);
    const seenByNbdinfo = await mapOf(`nbd+unix:///1?socket=${socketPath}`, context);
    expect(seenByNbdinfo.filter(({ type }) => type === 1).reduce((sum, { length }) => sum + length, 0)).toBe(nrChanged);
    await Promise.all([base.close(), volume.close()]);
  });
});

describe('a thin volume, served and used over NBD,', () => {
  let opened: PoolInFiles;
  let service: NbdService;
  let place: Scratch;
  beforeAll(async () => {
    place = openScratch();
    opened = await PoolInFiles.make(place.path('meta'), place.path('data'), 16 * MIB);
    await opened.pool.createThin(0);
    service = await serveExports({ '0': { device: await opened.pool.openVolume(0, { size: 4 * MIB }) } });
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await opened[Symbol.asyncDispose]();
    await expectClean(place.path('meta'));
    place[Symbol.dispose]();
  });
  const connect = (readOnly: boolean): Promise<DataDevice> =>
    connectNbd(service.uri('0'), { connections: 4, readOnly });
  const suite = dataDeviceConformance({
    create: () => connect(false),
    reopen: () => connect(false),
    createReadOnly: () => connect(true),
    nrRandomWorkloads: runsLong() ? 40 : 3,
  });
  for (const { name, run } of suite) it(name, run);
});

describe.runIf(requireNbdTools())('a pool whose data is on a remote disk', () => {
  it('has all that was flushed, and clean metadata, after its server was killed in the middle of writes', async () => {
    const [meta, image] = [scratch.path('meta'), scratch.path('data.img')];
    await outputOf('qemu-img', ['create', '-q', '-f', 'raw', image, '128M']);
    const start = (): Promise<RealServer> => {
      const socketPath = scratch.path('remote.sock');
      rmSync(socketPath, { force: true });
      return startQemuNbd(socketPath, ['--format=raw', '--discard=unmap', image]);
    };
    const size = 64 * MIB;
    const nrPlaces = size / 4096;
    const flushed = new Uint32Array(nrPlaces);
    const begun = new Uint32Array(nrPlaces);
    {
      await using server = await start();
      const metadata = openFileMetadataDevice(meta, { mode: 'write', create: { nrBlocks: 1024 } });
      const remote = await connectNbd(server.uri, { connections: 4, replyMs: 10_000 });
      const pool = await ThinPool.format(metadata, remote, { dataBlockSize: BLOCK / 512 });
      await pool.createThin(0);
      const volume = await pool.openVolume(0, { size });
      const random = seededRandom(21);
      let nrRounds = 0;
      const write = async (): Promise<never> => {
        for (;;) {
          const written = new Map<number, number>();
          await Promise.all(
            Array.from({ length: 16 }, async () => {
              const place = Math.floor(random() * nrPlaces);
              if (written.has(place)) return;
              const stamp = begun[place]! + 1;
              written.set(place, stamp);
              begun[place] = stamp;
              await volume.write(place * 4096, new Uint8Array(new Uint32Array(1024).fill(stamp).buffer));
            }),
          );
          await volume.flush();
          for (const [place, stamp] of written) flushed[place] = stamp;
          if (++nrRounds === 40) server.child.kill('SIGKILL');
        }
      };
      await expect(write()).rejects.toThrow(StoreError);
      expect(nrRounds).toBeGreaterThanOrEqual(40);
      await volume.close().catch(() => {});
      await pool.close().catch(() => {}); // it cannot commit what its data device did not take
      await remote.close();
      metadata.close();
    }
    await expectClean(meta);
    await using server = await start();
    const metadata = openFileMetadataDevice(meta, { mode: 'write' });
    const remote = await connectNbd(server.uri, { connections: 4 });
    const pool = await ThinPool.open(metadata, remote);
    const volume = await pool.openVolume(0, { size });
    const bytes = Buffer.alloc(size);
    await volume.read(0, bytes);
    for (let place = 0; place < nrPlaces; place++) {
      const stamp = bytes.readUInt32LE(place * 4096);
      expect(stamp, `place ${place} has what was flushed`).toBeGreaterThanOrEqual(flushed[place]!);
      expect(stamp, `place ${place} has nothing that was never written`).toBeLessThanOrEqual(begun[place]!);
    }
    await pool.close();
    await remote.close();
    metadata.close();
    await expectClean(meta);
  });
});

describe.runIf(requireNbdTools() && requireTools() && requireKernel())('the kernel', () => {
  it('activates a pool of its own after we served it, with writes, snapshots and discards over NBD', async () => {
    const [meta, data] = [
      fixture('thin-basic').writeMetadata(scratch.path('meta')),
      fixture('thin-basic').writeData(scratch.path('data')),
    ];
    const sums = new Map<number, string>();
    {
      await using opened = await PoolInFiles.open(meta, data);
      const { pool } = opened;
      const size = 16 * MIB;
      const open = async (thinId: number) => ({ device: await pool.openVolume(thinId, { size }) });
      const exports = { '0': await open(0), '1': await open(1), '4': await open(4) };
      await using service = await serveExports(exports);
      const qemuIo = (thinId: number, ...commands: string[]): Promise<string> =>
        outputOf('qemu-io', [
          '-t',
          'none',
          '-f',
          'raw',
          ...commands.flatMap((command) => ['-c', command]),
          service.uri(String(thinId)),
        ]);
      await qemuIo(0, 'write -P 11 1M 3M', 'write -P 12 15M 100k', 'write -z 5M 1M', 'flush');
      await pool.createSnapshot(20, 0);
      await qemuIo(0, 'write -P 13 2M 1M', 'discard 8M 4M', 'write -z -u 13M 1M');
      await qemuIo(1, 'discard 0 8M', 'write -P 14 -f 12345 54321');
      await outputOf('fio', [
        '--name=x',
        '--ioengine=nbd',
        '--verify_state_save=0',
        `--uri=${service.uri('4')}`,
        '--rw=randrw',
        '--bsrange=512-128k',
        '--size=16m',
        '--io_size=6m',
        '--iodepth=4',
      ]);
      await pool.deleteThin(2);
      await pool.setTransactionId(5n, 6n);
      const snapshot = await pool.openVolume(20, { size });
      await using snapshots = await serveExports({ '20': { device: snapshot } });
      for (const thinId of [0, 1, 4]) sums.set(thinId, await sumOfExport(service.uri(String(thinId))));
      sums.set(20, await sumOfExport(snapshots.uri('20')));
    }
    await expectClean(meta);
    expect(await sumsByDump(meta, data, new Map([...sums.keys()].map((thinId) => [thinId, 32_768])))).toEqual(sums);
    const found = await runGuest({
      guest: 'judge',
      disks: [meta, data],
      env: {
        POOL_SECTORS: 131_072,
        BLOCK_SECTORS: 128,
        VOLUMES: [...sums.keys()].map((thinId) => `${thinId}:32768`).join(' '),
        SEED: 3,
        WORK: '',
      },
    });
    expect(found.all('before').sort()).toEqual(Array.from(sums, ([thinId, sum]) => `${thinId} ${sum}`).sort());
    expect([...found.all('complaint'), ...found.all('refused')]).toEqual([]);
    expect(found.all('status').join('\n')).toContain('thin-pool 6 ');
  });
});
