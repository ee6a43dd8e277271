/**
 * A pool that the kernel made, served by `pdata serve thin` as a process of its own to real NBD clients: what they read is what
 * the kernel read; what they write, and what the engine does to the pool in between, the kernel then activates and reads.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { ThinPool } from '@pdata/thin';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  fixture,
  openScratch,
  ourCheckComplaint,
  outputOf,
  type RealServer,
  realCheckComplaint,
  requireKernel,
  requireNbdTools,
  requireTools,
  runAside,
  runGuest,
  type Scratch,
  startServer,
} from '../src/index.js';

const MIB = 2 ** 20;
const BLOCK = 65_536;
const isJudged = requireTools() && requireKernel() && requireNbdTools();

vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });

const root = fileURLToPath(new URL('../../..', import.meta.url));
const pdata = `${root}packages/tools/bin/pdata.js`;

/** The program runs the build. */
beforeAll(() => {
  if (!isJudged) return;
  const tsc = `${root}node_modules/typescript/bin/tsc`;
  const built = spawnSync(process.execPath, [tsc, '-b', `${root}packages/tools`], { encoding: 'utf8' });
  expect(built.status, `the program cannot be built:\n${built.stdout}`).toBe(0);
});

let scratch: Scratch;
let server: PoolServer | undefined;
afterEach(async () => {
  await server?.real.stop('SIGKILL');
  server = undefined;
  scratch?.[Symbol.dispose]();
});

interface PoolServer {
  readonly real: RealServer;
  uri(thinId: number): string;
}

async function serve({ metadata, data }: Files, ...options: string[]): Promise<PoolServer> {
  const socket = scratch.path('socket');
  const args = [pdata, 'serve', 'thin', '--metadata', metadata, '--data', data, '--socket', socket, ...options];
  const real = await startServer(process.execPath, args, socket);
  server = { real, uri: (thinId) => `nbd+unix:///${thinId}?socket=${socket}` };
  return server;
}

/** As an administrator ends it: SIGTERM, and everything is committed. */
async function end({ real }: PoolServer): Promise<void> {
  await real.stop('SIGTERM');
  server = undefined;
  expect([real.child.exitCode, real.child.signalCode]).toEqual([0, null]);
}

interface Files {
  readonly metadata: string;
  readonly data: string;
}

function copyOf(name: 'thin-basic' | 'thin-metasnap'): Files {
  scratch = openScratch();
  return {
    metadata: fixture(name).writeMetadata(scratch.path('meta.img')),
    data: fixture(name).writeData(scratch.path('data.img')),
  };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The whole of a volume, as nbdcopy reads it. */
async function copied({ uri }: PoolServer, thinId: number): Promise<Buffer> {
  const file = scratch.path(`copy-${thinId}`);
  await outputOf('nbdcopy', [uri(thinId), file]);
  return readFileSync(file);
}

async function sumsOf(served: PoolServer, thinIds: Iterable<number>): Promise<Map<number, string>> {
  const sums = new Map<number, string>();
  for (const thinId of thinIds) sums.set(thinId, sha256(await copied(served, thinId)));
  return sums;
}

const qemuIo = ({ uri }: PoolServer, thinId: number, ...commands: string[]): Promise<string> =>
  outputOf('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri(thinId)]);

async function expectClean(image: string, after: string): Promise<void> {
  expect(await ourCheckComplaint(image), after).toBeUndefined();
  expect(await realCheckComplaint('1.1.0', image), after).toBeUndefined();
  expect(await realCheckComplaint('0.9.0', image), after).toBeUndefined();
}

describe.runIf(isJudged)('a pool that the kernel made', () => {
  it.each(['thin-basic', 'thin-metasnap'] as const)('is served as the kernel read it: %s', async (name) => {
    const files = copyOf(name);
    const before = [files.metadata, files.data].map((path) => sha256(readFileSync(path)));
    const served = await serve(files, '--read-only');
    // Without a word about their sizes: the kernel's volumes are whole extents.
    expect(await sumsOf(served, fixture(name).sums.keys())).toEqual(fixture(name).sums);
    expect(fixture(name).sums.size).toBe(4);
    await end(served);
    expect([files.metadata, files.data].map((path) => sha256(readFileSync(path)))).toEqual(before);
  });

  it('is served encrypted, to nobody else', async () => {
    const files = copyOf('thin-basic');
    const [certificates, key] = [scratch.path('pki'), scratch.path('key.pem')];
    mkdirSync(certificates);
    const certificate = `${certificates}/ca-cert.pem`;
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '3650'];
    await outputOf('openssl', ['req', '-x509', ...curve, '-nodes', '-keyout', key, '-out', certificate, ...name]);
    const served = await serve(files, '--read-only', '--tls-cert', certificate, '--tls-key', key);
    const encrypted = `${served.uri(0).replace('nbd', 'nbds')}&tls-certificates=${certificates}&tls-hostname=localhost`;
    await outputOf('nbdcopy', [encrypted, scratch.path('copy')]);
    expect(sha256(readFileSync(scratch.path('copy')))).toBe(fixture('thin-basic').sums.get(0));
    const plain = await runAside('nbdcopy', [served.uri(0), scratch.path('plain')]);
    expect(plain.status).not.toBe(0);
    expect(plain.stderr).toContain('server requires TLS');
    await end(served);
  });

  it('is the kernel’s again after it was written to, snapshotted and trimmed, and ours after that', async () => {
    const files = copyOf('thin-basic');
    let served = await serve(files);
    await qemuIo(
      served,
      0,
      'write -P 0x5a 1000k 3M',
      'write -P 0x11 31M 1M',
      'discard 8M 2M',
      'write -z 12M 300k',
      'flush',
    );
    await qemuIo(served, 1, 'write -P 0x22 17k 3k', 'discard 100k 1M', 'write -f -P 0x23 20M 1k');
    writeFileSync(scratch.path('random'), Buffer.alloc(32 * MIB, Buffer.from(sha256(Buffer.from('four')), 'hex')));
    await outputOf('nbdcopy', [scratch.path('random'), served.uri(4)]);
    expect(sha256(await copied(served, 4))).toBe(sha256(readFileSync(scratch.path('random'))));
    await end(served);
    await expectClean(files.metadata, 'after the first service');

    await withEngine(files, async (pool) => {
      const volume = await pool.openVolume(0, { size: 32 * MIB });
      await volume.write(5 * MIB, new Uint8Array(BLOCK + 512).fill(7));
      await pool.message('create_snap 20 0');
      await volume.write(5 * MIB, new Uint8Array(512).fill(8));
      await pool.message('create_thin 30');
      await pool.message('delete 2');
      await volume.close();
    });

    served = await serve(files, '--volume-size', '32M', '--size', '7=1G');
    await qemuIo(served, 0, 'write -P 0x31 2M 130k', 'discard 24M 1M');
    await qemuIo(served, 20, 'write -P 0x32 7M 64k', 'write -P 0x33 9000k 1k');
    await qemuIo(served, 30, 'write -P 0x34 0 200k', 'write -P 0x35 31M 1M');
    const contents = new Map<number, Buffer>();
    for (const thinId of [0, 1, 4, 20, 30]) contents.set(thinId, await copied(served, thinId));
    await expectDirtyWhereDifferent(served, contents, 0, 20);
    await expectDirtyWhereDifferent(served, contents, 20, 0);
    await expectDirtyWhereDifferent(served, contents, 1, 0);
    await end(served);
    await expectClean(files.metadata, 'after the second service');

    const volumes = '0:65536 1:65536 4:65536 20:65536 30:65536';
    const found = await runGuest({
      guest: 'judge',
      disks: [files.metadata, files.data],
      env: {
        POOL_SECTORS: 131_072,
        BLOCK_SECTORS: 128,
        VOLUMES: volumes,
        SEED: 3,
        WORK: 'write:0 snapshot:40:0 write:40 discard:4 delete:20 write:30',
      },
    });
    expect(found.all('complaint')).toEqual([]);
    expect(found.all('refused')).toEqual([]);
    expect(found.all('before')).toEqual(Array.from(contents, ([thinId, bytes]) => `${thinId} ${sha256(bytes)}`));
    await expectClean(files.metadata, 'after the kernel changed it');

    served = await serve(files, '--volume-size', '32M', '--size', '7=1G');
    expect([...found.sums.keys()].sort()).toEqual([0, 1, 30, 4, 40]);
    expect(await sumsOf(served, found.sums.keys())).toEqual(found.sums);
    await end(served);
    await expectClean(files.metadata, 'after the last service');
  });
});

/** The context `qemu:dirty-bitmap:BASE` of a volume, as nbdinfo shows it, has every block that differs, and not all. */
async function expectDirtyWhereDifferent(
  { uri }: PoolServer,
  contents: ReadonlyMap<number, Buffer>,
  thinId: number,
  baseId: number,
): Promise<void> {
  const map = await outputOf('nbdinfo', [`--map=qemu:dirty-bitmap:${baseId}`, '--json', uri(thinId)]);
  const extents = JSON.parse(map) as { offset: number; length: number; type: number }[];
  const [volume, base] = [contents.get(thinId) as Buffer, contents.get(baseId) as Buffer];
  const dirty = new Set<number>();
  for (const { offset, length, type } of extents) {
    expect([offset % BLOCK, length % BLOCK]).toEqual([0, 0]);
    if (type === 1) for (let at = offset; at < offset + length; at += BLOCK) dirty.add(at);
  }
  const different: number[] = [];
  for (let at = 0; at < volume.length; at += BLOCK)
    if (!volume.subarray(at, at + BLOCK).equals(base.subarray(at, at + BLOCK))) different.push(at);
  expect(different.length).toBeGreaterThan(2);
  expect(different.filter((at) => !dirty.has(at))).toEqual([]);
  expect(dirty.size).toBeLessThan(volume.length / BLOCK);
}

async function withEngine({ metadata, data }: Files, work: (pool: ThinPool) => Promise<void>): Promise<void> {
  const metadataDevice = openFileMetadataDevice(metadata, { mode: 'write' });
  const dataDevice = await openFileDataDevice(data, { mode: 'write' });
  const pool = await ThinPool.open(metadataDevice, dataDevice);
  await work(pool);
  await pool.close();
  await dataDevice.close();
  metadataDevice.close();
}
