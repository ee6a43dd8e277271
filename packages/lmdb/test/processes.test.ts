/**
 * Several processes at one environment: killed writers, readers beside a writer, locks. The programs run the build, so the
 * build is brought up to date first.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DeviceBusyError } from '@pdata/device';
import { LmdbEnvironment } from '@pdata/lmdb';
import { seededRandom } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { thrownBy } from './blocks.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const require = createRequire(import.meta.url);
let path: string;
const running: ChildProcess[] = [];

beforeAll(() => {
  const tsc = join(require.resolve('typescript/package.json'), '..', 'bin', 'tsc');
  const projects = ['lmdb', 'testing', 'thin'].map((name) => join(root, 'packages', name));
  const built = spawnSync(process.execPath, [tsc, '-b', ...projects], { encoding: 'utf8' });
  expect(built.stdout + built.stderr).toBe('');
});
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'pdata-lmdb-processes-'));
});
afterEach(async () => {
  for (const child of running.splice(0)) await kill(child);
  rmSync(path, { recursive: true });
});

interface Program {
  readonly child: ChildProcess;
  /** The lines it has said so far. */
  readonly lines: string[];
  /** The next line it says. */
  next(): Promise<string>;
  say(line: string): void;
}

function start(name: string, parameters: readonly string[], options: { uid?: number } = {}): Program {
  const program = fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url));
  const child = spawn(process.execPath, [program, ...parameters], { stdio: ['pipe', 'pipe', 'inherit'], ...options });
  running.push(child);
  const lines: string[] = [];
  const output = createInterface(child.stdout);
  let nrTaken = 0;
  let wake = (): void => undefined;
  output.on('line', (line) => {
    lines.push(line);
    wake();
  });
  let isClosed = false;
  output.on('close', () => {
    isClosed = true;
    wake();
  });
  return {
    child,
    lines,
    async next() {
      while (lines.length === nrTaken) {
        if (isClosed) throw new Error(`${name} has ended`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return lines[nrTaken++] as string;
    },
    say: (line) => void child.stdin.write(`${line}\n`),
  };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

it('a writer killed at any moment leaves the last commit it told of, or a later one, metadata and catalogue alike', async () => {
  const made = LmdbEnvironment.open(path, { create: true });
  const fresh = made.createPool('pool', { nrBlocks: 4096 });
  ThinMetadata.format(fresh, { dataBlockSize: 128, nrDataBlocks: 100_000 });
  await made.close();
  const random = seededRandom(20);
  let nrTold = 0;
  for (let round = 1; round <= 20; round++) {
    const writer = start('commit', [path, 'pool', `${round}`]);
    for (let nr = Math.floor(random() * 6); nr >= 0; nr--) await writer.next(); // "ready" first
    await delay(random() * 25);
    await kill(writer.child);
    const told = writer.lines.slice(1);
    nrTold += told.length;

    const environment = LmdbEnvironment.open(path);
    const pool = environment.openPool('pool');
    const findings = [...checkThin(pool)];
    expect(findings, `round ${round}, after ${told.length} commits`).toEqual([]);
    const metadata = ThinMetadata.open(pool);
    const thinIds = [...metadata.devices()].map(({ thinId }) => thinId);
    const records = [...environment.catalogue<{ thinId: number }>('pool').entries()];
    expect(records.map(([, { thinId }]) => thinId).sort((a, b) => a - b)).toEqual(thinIds);
    // The last line may have been cut off by the kill, and the commit after it may have got through untold.
    const last = told.findLast((line) => line.endsWith(']'));
    if (last !== undefined) {
      const toldIds = JSON.parse(last) as number[];
      expect(Math.max(...thinIds), `round ${round}: told ${last}, found ${thinIds}`).toBeGreaterThanOrEqual(
        Math.max(...toldIds),
      );
      if (Math.max(...thinIds) === Math.max(...toldIds)) expect(thinIds).toEqual(toldIds);
    }
    await environment.close();
  }
  expect(nrTold, 'commits in all rounds').toBeGreaterThan(40);
}, 120_000);

describe('a reader in another process', () => {
  it('sees whole commits while a writer commits, and the same one until it refreshes', async () => {
    const environment = LmdbEnvironment.open(path, { create: true });
    const pool = environment.createPool('pool', { nrBlocks: 200 });
    const catalogue = environment.catalogue<number>('pool');
    const all = new Uint32Array((200 * 4096) / 4);
    const stage = (commit: number): void => {
      pool.write(0, new Uint8Array(all.fill(commit).buffer));
      catalogue.put('commit', commit);
    };
    stage(1);
    pool.flush();
    const reader = start('read', [path, 'pool']);
    expect(await reader.next()).toBe('ready');
    let commit = 1;
    let isDone = false;
    const writing = (async () => {
      while (!isDone) {
        stage(++commit);
        if (commit % 3 === 0) pool.flush();
        else await pool.flushAsync();
        await delay(1);
      }
    })();
    const seen: number[] = [];
    for (let nr = 0; nr < 60; nr++) {
      reader.say(nr % 3 === 2 ? 'refresh' : 'state');
      const [, number, isSame] = /^state (\d+) (true|false)$/.exec(await reader.next()) ?? [];
      expect(isSame, `commit ${number} is whole`).toBe('true');
      seen.push(Number(number));
      if (nr % 3 !== 2 && nr > 0) expect(seen[nr], 'the commit changed without a refresh').toBe(seen[nr - 1]);
    }
    isDone = true;
    await writing;
    expect(new Set(seen).size, 'commits seen').toBeGreaterThan(5);
    expect([...seen].sort((a, b) => a - b)).toEqual(seen);
    reader.say('refresh');
    expect(await reader.next()).toBe(`state ${commit} true`);
    await environment.close();
  });

  it('that died is no longer in the way', async () => {
    const environment = LmdbEnvironment.open(path, { create: true });
    const pool = environment.createPool('pool', { nrBlocks: 50 });
    const rewrite = (): void => {
      for (let nr = 1; nr <= 10; nr++) {
        pool.write(0, new Uint8Array(50 * 4096).fill(nr));
        pool.flush();
      }
    };
    rewrite();
    const reader = start('open', [path, 'read', 'pool']);
    expect(await reader.next()).toBe('opened');
    rewrite();
    expect(environment.readers()[0]).toEqual({ processId: reader.child.pid, nrCommitsBehind: 10 });
    await kill(reader.child);
    expect(environment.readers().filter(({ processId }) => processId === reader.child.pid)).toEqual([]);
    const { size } = environment;
    rewrite();
    expect(environment.size).toBeLessThanOrEqual(size);
    await environment.close();
  });

  const whyNot = process.geteuid?.() === 0 ? undefined : 'taking up another user needs root';
  if (whyNot !== undefined) console.warn(`skipped, readers without permission: ${whyNot}`);
  it.skipIf(whyNot !== undefined)(
    'without permission for lock.mdb is refused, for LMDB would not know of it',
    async () => {
      const environment = LmdbEnvironment.open(path, { create: true });
      environment.createPool('pool', { nrBlocks: 1 });
      spawnSync('chmod', ['755', path]);
      spawnSync('chmod', ['644', join(path, 'data.mdb'), join(path, 'lock.mdb')]);
      const stranger = start('open', [path, 'read', 'pool'], { uid: 65534 });
      expect(await stranger.next()).toBe(
        `ERR_DEVICE_OPEN cannot open ${path} for reading: permission denied: ${path}/lock.mdb must be readable and writable, for readers too`,
      );
      const writer = start('open', [path, 'write', 'pool'], { uid: 65534 });
      expect(await writer.next()).toMatch(/^ERR_DEVICE_OPEN cannot open .* for writing: permission denied: /);
      await environment.close();
    },
  );
});

it('a pool has one writer among all processes, until that one dies', async () => {
  const environment = LmdbEnvironment.open(path, { create: true });
  environment.createPool('theirs', { nrBlocks: 1 }).close();
  const ours = environment.createPool('ours', { nrBlocks: 1 });
  const other = start('open', [path, 'write', 'theirs']);
  expect(await other.next(), 'an environment has as many processes as want it').toBe('opened');
  for (const use of [() => environment.openPool('theirs'), () => environment.deletePool('theirs')]) {
    const refusal = thrownBy(use);
    expect(refusal).toBeInstanceOf(DeviceBusyError);
    expect(refusal.message).toContain(`cannot open pool "theirs" in ${path} for writing: it is open already`);
  }
  environment.openPool('theirs', { mode: 'read' });
  const refused = start('open', [path, 'write', 'ours']);
  expect(await refused.next()).toContain(`ERR_DEVICE_BUSY cannot open pool "ours" in ${path} for writing`);
  ours.write(0, new Uint8Array(4096).fill(1));
  ours.flush();
  await kill(other.child);
  environment.openPool('theirs').write(0, new Uint8Array(4096));
  await environment.close();
});
