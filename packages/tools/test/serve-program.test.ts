/**
 * `pdata serve …` as a process, for what only a process shows: that a signal ends it with everything committed, that a second
 * one does not wait, and that another tells how things are. It runs the build, which is brought up to date first.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { connectNbd } from '@pdata/nbd';
import { ThinPool } from '@pdata/thin';
import { beforeAll, describe, expect, it } from 'vitest';
import { kernelImage, runTool, scratchDirectory, writeImage } from './run-tool.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const pdata = join(root, 'packages/tools/bin/pdata.js');
const directory = scratchDirectory();
const BLOCK = 65_536;
let nrServers = 0;
let nrPools = 0;

beforeAll(() => {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'packages/tools')], { encoding: 'utf8' });
  expect(built.status, `the program cannot be built:\n${built.stdout}`).toBe(0);
}, 300_000);

interface Server {
  readonly child: ChildProcess;
  readonly socket: string;
  readonly metadata: string;
  readonly data: string;
  said(): string;
  saidSoon(text: string): Promise<void>;
  readonly ended: Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }>;
}

interface PoolFiles {
  readonly metadata: string;
  readonly data: string;
}

function kernelPool(): PoolFiles {
  const metadata = writeImage(directory, `metadata-${nrPools}.img`, kernelImage('thin-basic'));
  const data = join(directory, `data-${nrPools++}.img`);
  writeFileSync(data, '');
  truncateSync(data, 64 * 2 ** 20);
  return { metadata, data };
}

/** A pool of two data blocks with the empty volume 0. */
async function smallPool(): Promise<PoolFiles> {
  const metadata = join(directory, `metadata-${nrPools}.img`);
  const data = join(directory, `data-${nrPools++}.img`);
  const metadataDevice = openFileMetadataDevice(metadata, { mode: 'write', create: { nrBlocks: 64 } });
  const dataDevice = await openFileDataDevice(data, { mode: 'write', create: { size: 2 * BLOCK } });
  const pool = await ThinPool.format(metadataDevice, dataDevice, { dataBlockSize: 128 });
  await pool.createThin(0);
  await pool.close();
  await dataDevice.close();
  metadataDevice.close();
  return { metadata, data };
}

async function start(
  options: readonly string[] = [],
  { metadata, data }: PoolFiles = kernelPool(),
  socket = join(directory, `s${nrServers++}`),
): Promise<Server> {
  const running = await started(['thin', '--metadata', metadata, '--data', data, '--socket', socket, ...options]);
  return { ...running, socket, metadata, data };
}

/** Runs `pdata serve WORD …` until it listens. */
async function started(words: readonly string[]): Promise<Pick<Server, 'child' | 'said' | 'saidSoon' | 'ended'>> {
  const child = spawn(process.execPath, [pdata, 'serve', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  const ended = new Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (exitCode, signal) => resolve({ exitCode, signal }));
  });
  const saidSoon = async (text: string): Promise<void> => {
    while (!said.includes(text)) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended:\n${said}`);
      await sleep(5);
    }
  };
  await saidSoon('listening on ');
  return { child, said: () => said, saidSoon, ended };
}

const connected = (server: Server) => connectNbd({ socketPath: server.socket }, { exportName: '0' });

describe.runIf(process.platform !== 'win32')('the server', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'asked by %s to end commits everything and ends with 0',
    async (signal) => {
      const server = await start();
      const device = await connected(server);
      await device.write(0, new Uint8Array(512).fill(7));
      server.child.kill(signal);
      expect(await server.ended).toEqual({ exitCode: 0, signal: null });
      expect(server.said()).toMatch(/\npool: 5 \d+\/1024 \d+\/1024 - rw discard_passdown queue_if_no_space - 256 \n$/);
      await device.close().catch(() => {});
      const { exitCode, stdout } = await runTool(['thin_check', server.metadata]);
      expect([exitCode, stdout]).toEqual([0, expect.stringContaining('TRANSACTION_ID=5')]);
    },
  );

  it('ends at once when it is asked twice, and what was flushed is there', async () => {
    const server = await start([], await smallPool());
    const device = await connected(server);
    await device.write(0, new Uint8Array(2 * BLOCK).fill(7));
    await device.flush();
    // There is no third block: this one waits, and so would the end of the service.
    const waiting = device.write(2 * BLOCK, new Uint8Array(512)).catch(() => 'lost');
    await server.saidSoon('the pool is in out-of-data-space mode now');
    server.child.kill('SIGTERM');
    while (existsSync(server.socket)) await sleep(5); // it does not listen any more: the signal has arrived
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual({ exitCode: null, signal: 'SIGTERM' });
    expect(await waiting).toBe('lost');
    await device.close().catch(() => {});
    expect((await runTool(['thin_check', server.metadata])).exitCode).toBe(0);
    const again = await start([], server);
    const reader = await connected(again);
    const sector = new Uint8Array(512);
    await reader.read(2 * BLOCK - 512, sector);
    expect(sector).toEqual(new Uint8Array(512).fill(7));
    await reader.close();
    again.child.kill('SIGTERM');
    expect(await again.ended).toEqual({ exitCode: 0, signal: null });
  });

  it('replaces the socket of a server that was killed', async () => {
    const files = await smallPool();
    const killed = await start([], files);
    killed.child.kill('SIGKILL');
    await killed.ended;
    expect(existsSync(killed.socket)).toBe(true);
    const again = await start([], files, killed.socket);
    await (await connected(again)).close();
    again.child.kill('SIGTERM');
    expect(await again.ended).toEqual({ exitCode: 0, signal: null });
    expect(existsSync(killed.socket)).toBe(false);
  });

  it('tells its status line at SIGUSR1, and goes on', async () => {
    const server = await start(['--read-only']);
    server.child.kill('SIGUSR1');
    await server.saidSoon('pool: 5 116/1024 206/1024 - ro ');
    const device = await connected(server);
    await device.read(0, new Uint8Array(512));
    await device.close();
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual({ exitCode: 0, signal: null });
    expect(server.said()).not.toContain('Debugger');
  });
});

describe.runIf(process.platform !== 'win32')('a clone', () => {
  const SIZE = 8 * 2 ** 20;
  const image = new Uint8Array(SIZE).map((_, at) => 1 + ((at >> 12) % 250));

  it('that was killed on its way goes on with what was flushed, tells its status, and ends committed', async () => {
    const source = writeImage(directory, 'source.img', image);
    const [metadata, destination] = [join(directory, 'clone.meta'), join(directory, 'clone.img')];
    const serve = (socket: string, ...more: string[]) =>
      started([
        'clone',
        '--metadata',
        metadata,
        '--source',
        source,
        '--destination',
        destination,
        '--socket',
        socket,
        ...more,
      ]);
    const socket = join(directory, `s${nrServers++}`);
    const killed = await serve(socket, '--no-hydration', '--region-sectors', '8');
    const device = await connectNbd({ socketPath: socket }, { exportName: 'clone' });
    await device.write(SIZE / 2 + 512, new Uint8Array(512).fill(255), { fua: true });
    await device.write(SIZE / 4, new Uint8Array(4096).fill(254)); // not flushed
    killed.child.kill('SIGKILL');
    await killed.ended;
    await device.close().catch(() => {});

    const again = await serve(join(directory, `s${nrServers++}`));
    again.child.kill('SIGUSR1');
    await again.saidSoon('clone: 8 6/1024 8 ');
    await again.saidSoon('complete: ');
    again.child.kill('SIGTERM');
    expect(await again.ended).toEqual({ exitCode: 0, signal: null });
    expect(again.said()).toMatch(
      /\nclone: 8 6\/1024 8 2048\/2048 0 0 4 hydration_threshold 48 hydration_batch_size 16 rw\n$/,
    );
    const expected = image.slice();
    expected.fill(255, SIZE / 2 + 512, SIZE / 2 + 1024);
    const found = readFileSync(destination);
    found.copy(expected, SIZE / 4, SIZE / 4, SIZE / 4 + 4096); // either
    expect(Buffer.compare(found, expected)).toBe(0);
    expect([254, 1 + (((SIZE / 4) >> 12) % 250)]).toContain(found[SIZE / 4]);
  });
});
