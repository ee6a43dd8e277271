/**
 * Thin pools served over NBD: pools that the kernel made, read back by nbdcopy with the sums that the kernel recorded; snapshots of
 * volumes that fio, our client and a virtual machine are writing to; and the kernel's judgement of what is left.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type DataDevice, type MetadataDevice, StoreError } from '@pdata/device';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { connectNbd } from '@pdata/nbd';
import { dataDeviceConformance, seededRandom } from '@pdata/testing';
import { ThinPool } from '@pdata/thin';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type FixtureName,
  fixture,
  type NbdService,
  openScratch,
  ourCheckComplaint,
  outputOf,
  type RealServer,
  readDump,
  realCheckComplaint,
  requireKernel,
  requireNbdTools,
  requireTools,
  runAside,
  runGuest,
  runOurTool,
  runProgram,
  runsLong,
  type Scratch,
  serveExports,
  startQemuNbd,
  startServer,
  volumeSum,
} from '../src/index.js';

const MIB = 2 ** 20;
const BLOCK = 65_536;
const root = fileURLToPath(new URL('../../..', import.meta.url));
/** A guest boots in six seconds on an idle machine; a busy one may take its time. */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

let scratch: Scratch;
beforeEach(() => {
  scratch = openScratch();
});
afterEach(() => scratch[Symbol.dispose]());

/** A pool in files, open. */
class PoolInFiles implements AsyncDisposable {
  private constructor(
    readonly metadata: MetadataDevice,
    readonly data: DataDevice,
    readonly pool: ThinPool,
  ) {}

  static async make(metaPath: string, dataPath: string, dataSize: number): Promise<PoolInFiles> {
    const metadata = openFileMetadataDevice(metaPath, { mode: 'write', create: { nrBlocks: 2048 } });
    const data = await openFileDataDevice(dataPath, { mode: 'write', create: { size: dataSize } });
    return new PoolInFiles(metadata, data, await ThinPool.format(metadata, data, { dataBlockSize: BLOCK / 512 }));
  }

  static async open(metaPath: string, dataPath: string): Promise<PoolInFiles> {
    const metadata = openFileMetadataDevice(metaPath, { mode: 'write' });
    const data = await openFileDataDevice(dataPath, { mode: 'write' });
    return new PoolInFiles(metadata, data, await ThinPool.open(metadata, data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
    await this.data.close();
    this.metadata.close();
  }
}

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

const byNumber = (a: number, b: number): number => a - b;

function fileSum(path: string): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  const buffer = new Uint8Array(MIB);
  for (let nr = readSync(fd, buffer); nr > 0; nr = readSync(fd, buffer)) hash.update(buffer.subarray(0, nr));
  closeSync(fd);
  return hash.digest('hex');
}

/** Sums of volumes as a dump and the data image have them; no code in common with the engine. */
async function sumsByDump(
  meta: string,
  data: string,
  sectors: ReadonlyMap<number, number>,
): Promise<Map<number, string>> {
  const { status, stdout, stderr } = await runOurTool('thin_dump', [meta]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const pool = readDump(stdout);
  return new Map(Array.from(sectors, ([thinId, nr]) => [thinId, volumeSum(pool, thinId, nr, data)]));
}

async function expectClean(meta: string): Promise<void> {
  expect(await ourCheckComplaint(meta)).toBeUndefined();
  if (!requireTools()) return;
  expect(realCheckComplaint('0.9.0', meta)).toBeUndefined();
  expect(realCheckComplaint('1.1.0', meta)).toBeUndefined();
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
    for (const readOnly of [['--read-only'], []]) {
      await using server = await startServer(process.execPath, [program, ...args, ...readOnly], socketPath);
      for (const [thinId, sum] of expected) expect(await sumOfExport(uri(thinId)), `volume ${thinId}`).toBe(sum);
      for (const [thinId, { mappings }] of devices) {
        const mapped = new Set(
          mappings.flatMap(({ virtualBlock, length }) => Array.from({ length }, (_, nr) => virtualBlock + nr)),
        );
        const seen = new Set<number>();
        for (const { offset, length, type } of await mapOf(uri(thinId)))
          for (let at = offset; at < offset + length; at += BLOCK) if (type === 0) seen.add(at / BLOCK);
        const expectedBlocks = [...mapped].filter((block) => block < size / BLOCK);
        expect([...seen].sort(byNumber), `mapped blocks of volume ${thinId}`).toEqual(expectedBlocks.sort(byNumber));
      }
      await server.stop('SIGTERM');
      expect(server.child.exitCode).toBe(0);
      if (readOnly.length > 0)
        expect([fileSum(meta), fileSum(data)], 'read-only leaves both as they were').toEqual(before);
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

describe.runIf(requireNbdTools())('a snapshot of a volume that is being written to over NBD', () => {
  it('holds what was acknowledged before it, nothing that began after it, and no sector of fio torn', async () => {
    const [meta, data] = [scratch.path('meta'), scratch.path('data')];
    const half = 16 * MIB;
    {
      await using opened = await PoolInFiles.make(meta, data, 160 * MIB);
      const { pool } = opened;
      await pool.createThin(0);
      const volume = await pool.openVolume(0, { size: 2 * half });
      await using service = await serveExports({ '0': { device: volume } });
      // We write to the second half: 4 KiB of one number each, counting up for each place.
      const disk = await connectNbd(service.uri('0'), { connections: 4 });
      const isOurs = new Set(service.server.clients.map(({ id }) => id));
      // fio writes to the first half, and verifies it at its end, when the snapshot has long been taken.
      const fio = outputOf('fio', [
        '--name=x',
        '--ioengine=nbd',
        '--verify_state_save=0',
        `--uri=${service.uri('0')}`,
        '--rw=randwrite',
        '--bs=4k',
        '--iodepth=8',
        `--size=${half}`,
        `--io_size=${runsLong() ? 64 * half : 2 * half}`,
        '--fsync=32',
        '--verify=crc32c',
        '--verify_fatal=1',
        '--do_verify=1',
        '--norandommap',
        '--randseed=5',
      ]);
      const nrPlaces = half / 4096;
      const [begun, ended] = [new Uint32Array(nrPlaces), new Uint32Array(nrPlaces)];
      const random = seededRandom(9);
      let stop = false;
      const writer = async (lane: number): Promise<void> => {
        while (!stop) {
          const place = Math.floor((random() * nrPlaces) / 8) * 8 + lane; // a place has one writer
          const stamp = ++begun[place]!;
          await disk.write(half + place * 4096, stampedPlace(place, stamp));
          ended[place] = stamp;
        }
      };
      const writers = Array.from({ length: 8 }, (_, lane) => writer(lane));
      while (!service.server.clients.some(({ id, nrRequests }) => !isOurs.has(id) && nrRequests > 300)) await sleep(10);
      const moments: { thinId: number; endedBefore: Uint32Array; begunUntil: Uint32Array }[] = [];
      for (let thinId = 1; thinId <= 3; thinId++) {
        await sleep(200);
        const endedBefore = ended.slice();
        await pool.createSnapshot(thinId, 0);
        moments.push({ thinId, endedBefore, begunUntil: begun.slice() });
      }
      await sleep(200);
      stop = true;
      await Promise.all(writers);
      await fio;
      await disk.close();

      for (const { thinId, endedBefore, begunUntil } of moments) {
        const snapshot = await pool.openVolume(thinId, { size: 2 * half, readOnly: true });
        await using served = await serveExports({ [thinId]: { device: snapshot } });
        const copy = scratch.path(`snapshot-${thinId}`);
        await outputOf('nbdcopy', [served.uri(String(thinId)), copy]);
        const bytes = readFileSync(copy);
        let nrWritten = 0;
        for (let place = 0; place < nrPlaces; place++) {
          const found = bytes.subarray(half + place * 4096, half + (place + 1) * 4096);
          const stamp = found.readUInt32LE(0);
          const torn = Array.from({ length: 8 }, (_, nr) => found.readUInt32LE(nr * 512)).some(
            (each) => each !== stamp,
          );
          expect(torn, `snapshot ${thinId}, place ${place} is made of two writes`).toBe(false);
          expect(stamp, `snapshot ${thinId}, place ${place} has what was acknowledged`).toBeGreaterThanOrEqual(
            endedBefore[place]!,
          );
          expect(stamp, `snapshot ${thinId}, place ${place} has nothing of later`).toBeLessThanOrEqual(
            begunUntil[place]!,
          );
          if (stamp > 0) nrWritten++;
        }
        expect(nrWritten).toBeGreaterThan(20);
        expectFioBlocks(bytes.subarray(0, half));
        await snapshot.close();
      }
      await volume.close();
    }
    await expectClean(meta);
  });
});

/** 4 KiB that tell where they belong, and which write to that place they are. */
function stampedPlace(place: number, stamp: number): Uint8Array {
  const words = new Uint32Array(1024).map((_, nr) => (nr % 2 === 0 ? stamp : place));
  return new Uint8Array(words.buffer);
}

/** Each 4 KiB is what fio wrote there, whole, or was never written. fio's header: u16 0xacca, …, u64 offset at 16. */
function expectFioBlocks(bytes: Buffer): void {
  let nrWritten = 0;
  for (let at = 0; at < bytes.length; at += 4096) {
    const block = bytes.subarray(at, at + 4096);
    if (block.every((byte) => byte === 0)) continue;
    nrWritten++;
    expect(block.readUInt16LE(0), `the header of fio's block at ${at}`).toBe(0xacca);
    expect(block.readBigUInt64LE(16), `the place that fio's block at ${at} was meant for`).toBe(BigInt(at));
  }
  expect(nrWritten).toBeGreaterThan(20);
}

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
    nrRandomWorkloads: runsLong() ? 40 : 4,
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

  it('fills a file system on a volume that is its disk; fsck is clean on it, and on a snapshot taken meanwhile', async () => {
    const [meta, data] = [scratch.path('meta'), scratch.path('data')];
    const [origin, snapshot] = [scratch.path('origin.img'), scratch.path('snapshot.img')];
    const nrFiles = runsLong() ? 60 : 14;
    const size = (runsLong() ? 384 : 96) * MIB;
    const synced = new Map<string, string>();
    const removed = new Set<string>();
    let inSnapshot: Map<string, string> | undefined;
    {
      await using opened = await PoolInFiles.make(meta, data, 2 * size);
      const { pool } = opened;
      await pool.createThin(0);
      const volume = await pool.openVolume(0, { size });
      await using service = await serveExports({ '0': { device: volume } });
      let taking: Promise<void> | undefined;
      const found = await runGuest({
        guest: 'filesystem',
        disks: [service.uri('0')],
        programs: ['mke2fs'],
        env: { FILES: nrFiles, FILE_SIZE: 2 * MIB },
        onFinding: (key, value) => {
          const [name = '', sum = ''] = value.split(' ');
          if (key === 'synced') synced.set(name, sum);
          if (key === 'removed') removed.add(name);
          if (synced.size < nrFiles / 2 || taking !== undefined) return;
          inSnapshot = new Map(synced);
          taking = pool.createSnapshot(1, 0);
        },
      });
      await taking;
      expect(found.all('unmounted')).toEqual(['']);
      expect(synced.size).toBe(nrFiles);
      await outputOf('nbdcopy', [service.uri('0'), origin]);
      const frozen = await pool.openVolume(1, { size, readOnly: true });
      await using served = await serveExports({ '1': { device: frozen } });
      await outputOf('nbdcopy', [served.uri('1'), snapshot]);
    }
    await expectClean(meta);

    await expectFileSystem(origin, synced, removed);
    // As after a loss of power, the journal is to be replayed first; then nothing may be wrong.
    expect(await outputOf('debugfs', ['-R', 'features', snapshot]), 'it was mounted').toMatch(/needs_recovery/);
    const replay = await runAside('e2fsck', ['-y', '-E', 'journal_only', snapshot]);
    expect(replay.status, replay.stdout + replay.stderr).toBeLessThanOrEqual(1);
    expect(await outputOf('debugfs', ['-R', 'features', snapshot])).not.toMatch(/needs_recovery/);
    await expectFileSystem(snapshot, inSnapshot!, removed);
    expect(inSnapshot!.size).toBeLessThan(nrFiles);
  });
});

/** fsck has nothing to say, and the files that were synced, and never removed, have their contents. */
async function expectFileSystem(
  image: string,
  files: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): Promise<void> {
  const fsck = await runAside('e2fsck', ['-f', '-n', image]);
  expect(fsck.status, fsck.stdout + fsck.stderr).toBe(0);
  const tree = `${image}.tree`;
  mkdirSync(tree);
  const dumped = runProgram('debugfs', ['-R', `rdump / ${tree}`, image]);
  expect(dumped.status, dumped.stderr).toBe(0);
  const kept = [...files].filter(([name]) => !removed.has(name));
  expect(kept.length).toBeGreaterThan(files.size / 2);
  for (const [name, sum] of kept) expect(fileSum(join(tree, name)), name).toBe(sum);
}
