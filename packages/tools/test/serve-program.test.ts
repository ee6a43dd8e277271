/**
 * `pdata serve thin` as a process, for what only a process shows: that a signal ends it with everything committed, that a second
 * one does not wait, and that another tells how things are. It runs the build, which is brought up to date first.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectNbd } from '@pdata/nbd';
import { beforeAll, describe, expect, it } from 'vitest';
import { kernelImage, runTool, scratchDirectory, writeImage } from './run-tool.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const pdata = join(root, 'packages/tools/bin/pdata.js');
const directory = scratchDirectory();
let nrServers = 0;

beforeAll(() => {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'packages/tools')], { encoding: 'utf8' });
  expect(built.status, `the program cannot be built:\n${built.stdout}`).toBe(0);
}, 300_000);

interface Server {
  readonly child: ChildProcess;
  readonly socket: string;
  readonly metadata: string;
  said(): string;
  saidSoon(text: string): Promise<void>;
  readonly ended: Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }>;
}

async function start(...options: string[]): Promise<Server> {
  const nr = nrServers++;
  const socket = join(directory, `s${nr}`);
  const metadata = writeImage(directory, `metadata-${nr}.img`, kernelImage('thin-basic'));
  const data = join(directory, `data-${nr}.img`);
  writeFileSync(data, '');
  truncateSync(data, 64 * 2 ** 20);
  const line = [pdata, 'serve', 'thin', '--metadata', metadata, '--data', data, '--socket', socket, ...options];
  const child = spawn(process.execPath, line, { stdio: ['ignore', 'pipe', 'pipe'] });
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
  return { child, socket, metadata, said: () => said, saidSoon, ended };
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
    const server = await start();
    const device = await connected(server);
    await device.write(0, new Uint8Array(512).fill(7));
    await device.flush();
    // A client in the middle of a request, which would be waited for.
    const stuck = connect(server.socket);
    stuck.on('error', () => {});
    const nbdFlags = Buffer.from([0, 0, 0, 3]);
    const exportName = Buffer.from('49484156454F50540000000100000001', 'hex');
    stuck.write(Buffer.concat([nbdFlags, exportName, Buffer.from('0')]));
    await new Promise((resolve) => stuck.once('data', resolve));
    await sleep(50);
    stuck.write(Buffer.from('25609513000000010000000000000001000000000000000000001000', 'hex')); // WRITE, without its data
    await sleep(50);
    server.child.kill('SIGTERM');
    await sleep(100);
    expect([server.child.exitCode, server.child.signalCode], 'it waits for the client').toEqual([null, null]);
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual({ exitCode: null, signal: 'SIGTERM' });
    stuck.destroy();
    await device.close().catch(() => {});
    expect((await runTool(['thin_check', server.metadata])).exitCode).toBe(0);
    // The socket it left behind is in nobody's way.
    const again = spawn(process.execPath, [...server.child.spawnargs.slice(1)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise<void>((resolve) =>
      again.stdout.on('data', (text) => String(text).includes('listening') && resolve()),
    );
    const reader = await connected(server);
    const sector = new Uint8Array(512);
    await reader.read(0, sector);
    expect(sector[0]).toBe(7);
    await reader.close();
    again.kill('SIGTERM');
    expect(await new Promise((resolve) => again.once('close', resolve))).toBe(0);
  });

  it('tells its status line at SIGUSR1, and goes on', async () => {
    const server = await start('--read-only');
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
