/** The built program, as a process of its own. Tests that run it bring the build up to date first. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const PROGRAM = fileURLToPath(new URL('../bin/thin-pool.js', import.meta.url));

/** @throws Error with the compiler's messages */
export function buildProgram(): void {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'examples/thin-pool')], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the program cannot be built:\n${built.stdout}`);
}

export interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command to its end. */
export function thinPool(
  args: readonly string[],
  options: { input?: Uint8Array; cwd?: string; uid?: number; gid?: number } = {},
): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
    ...options,
    maxBuffer: 2 ** 30,
    env: { ...process.env, NO_COLOR: '1' },
  });
  return { exitCode: status, out: stdout.toString(), err: stderr.toString() };
}

export interface Serving {
  readonly child: ChildProcess;
  /** Resolves when it serves; rejects when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone, with its exit code or signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly output: () => string;
}

/** Starts `serve`, without a page unless asked for. */
export function startServing(pool: string, args: readonly string[] = ['--no-page']): Serving {
  const child = spawn(process.execPath, [PROGRAM, 'serve', pool, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ended = new Promise<number | NodeJS.Signals>((resolve) =>
    child.once('close', (exitCode, signal) => resolve(exitCode ?? signal ?? -1)),
  );
  const ready = new Promise<void>((resolve, reject) => {
    const read = (text: string): void => {
      output += text;
      if (/^NBD {3}/m.test(output)) resolve();
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    void ended.then((how) => reject(new Error(`serve ended with ${how}: ${output}`)));
  });
  ready.catch(() => undefined); // whoever waits for it hears of it
  return { child, ready, ended, output: () => output };
}

export interface Scratch extends Disposable {
  readonly path: (...names: string[]) => string;
}

/** A directory that is removed at the end of its scope. */
export function openScratch(): Scratch {
  const directory = mkdtempSync(join(tmpdir(), 'thin-pool-test-'));
  return {
    path: (...names) => join(directory, ...names),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
