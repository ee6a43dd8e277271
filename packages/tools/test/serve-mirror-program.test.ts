/**
 * `pdata serve mirror` as a process: killed while it is written to and copies, and started again, it leaves legs that are equal, with all
 * that was flushed. It runs the build, which is brought up to date first.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectNbd } from '@pdata/nbd';
import { beforeAll, describe, expect, it } from 'vitest';
import { scratchDirectory } from './run-tool.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const pdata = join(root, 'packages/tools/bin/pdata.js');
const directory = scratchDirectory();
const MIB = 2 ** 20;
const SIZE = 32 * MIB;
const [log, first, second, socket] = ['log.img', 'leg0.img', 'leg1.img', 's'].map((name) => join(directory, name)) as [
  string,
  string,
  string,
  string,
];

beforeAll(() => {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'packages/tools')], { encoding: 'utf8' });
  expect(built.status, `the program cannot be built:\n${built.stdout}`).toBe(0);
}, 300_000);

interface Server {
  readonly child: ChildProcess;
  said(): string;
  saidSoon(text: string): Promise<void>;
  readonly ended: Promise<number | null>;
}

/** @param command what the program is started by, unless by itself */
async function start(options: readonly string[], command: readonly string[] = []): Promise<Server> {
  const files = ['--region-sectors', '128', '--leg', first, '--leg', second, '--socket', socket];
  const [file, ...words] = [...command, process.execPath, pdata, 'serve', 'mirror', ...files, ...options] as [string];
  const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (exitCode) => resolve(exitCode));
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

describe.runIf(process.platform !== 'win32')('killed', () => {
  it('again and again while it is written to, it copies after each start what may differ, and loses nothing', async () => {
    for (const leg of [first, second]) writeFileSync(leg, randomFillSync(new Uint8Array(SIZE)));
    const flushed = new Map<number, number>();
    for (let round = 1; round <= 4; round++) {
      const server = await start(['--log', log, '--resync-rate', '16m']);
      const device = await connectNbd({ socketPath: socket }, { exportName: 'mirror' });
      for (let nr = 0; nr < 12; nr++) {
        const offset = ((round * 7 + nr * 13) % 60) * (SIZE / 64);
        await device.write(offset, new Uint8Array(65_536).fill(round * 16 + nr));
        if (nr === 9) await device.flush();
        if (nr <= 9) flushed.set(offset, round * 16 + nr);
        else flushed.delete(offset);
      }
      server.child.kill('SIGKILL');
      await server.ended;
      await device.close().catch(() => {});
    }
    const server = await start(['--log', log]);
    await server.saidSoon('regions are in sync');
    server.child.kill('SIGUSR1');
    await server.saidSoon('512/512 1 AA 3 disk');
    server.child.kill('SIGTERM');
    expect(await server.ended).toBe(0);
    const [a, b] = [readFileSync(first), readFileSync(second)];
    expect(Buffer.compare(a, b)).toBe(0);
    expect(flushed.size).toBeGreaterThan(5);
    for (const [offset, value] of flushed) expect(a[offset], `byte ${offset}`).toBe(value);
    expect(
      readFileSync(log)
        .subarray(1024, 1024 + 64)
        .every((byte) => byte === 0xff),
    ).toBe(true);
  });
});

describe.runIf(process.platform !== 'win32')('a leg that cannot be written to from the first moment on', () => {
  it('is told of, although nobody was listening yet', async () => {
    for (const leg of [first, second]) writeFileSync(leg, randomFillSync(new Uint8Array(MIB)));
    // No file may be written beyond its first 32 KiB.
    const server = await start(['--core-log'], ['sh', '-c', 'ulimit -f 64 && exec "$0" "$@"']);
    await server.saidSoon(`leg 1 (${second}) has failed, in a copy: cannot write `);
    server.child.kill('SIGTERM');
    expect(await server.ended).toBe(0);
    expect(server.said()).toMatch(/ of .*leg1\.img: file too large\n/);
  });
});
