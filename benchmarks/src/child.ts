/** Running the contenders: each in a process of its own, timed from outside. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Peak memory is looked up this often, in milliseconds; the system keeps the highest value itself. */
const LOOK_EVERY = 2;

export interface Program {
  readonly command: string;
  /** Come before all others. */
  readonly args: readonly string[];
}

export interface TimedRun {
  /** Wall clock, process start and end included. */
  readonly seconds: number;
  readonly exitCode: number;
  readonly stderr: string;
}

export function runTimed({ command, args }: Program, more: readonly string[]): TimedRun {
  const begin = process.hrtime.bigint();
  const { status, stderr, error } = spawnSync(command, [...args, ...more], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  if (error !== undefined) throw error;
  return { seconds, exitCode: status ?? 128, stderr };
}

/**
 * The largest resident memory of a run in bytes; NaN where the system does not say (only Linux's /proc does). A run of its
 * own, because looking costs time.
 */
export function peakMemory({ command, args }: Program, more: readonly string[]): Promise<number> {
  if (process.platform !== 'linux') return Promise.resolve(Number.NaN);
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args, ...more], { stdio: 'ignore' });
    let peak = 0;
    const look = (): void => {
      peak = Math.max(peak, highWaterMark(child.pid));
    };
    const timer = setInterval(look, LOOK_EVERY);
    child.once('error', (error) => {
      clearInterval(timer);
      reject(error);
    });
    child.once('exit', (exitCode) => {
      clearInterval(timer);
      if (exitCode === 0) resolve(peak);
      else reject(new Error(`${[command, ...args, ...more].join(' ')} ended with exit code ${exitCode}`));
    });
  });
}

function highWaterMark(pid: number | undefined): number {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    return kib === undefined ? 0 : Number(kib) * 1024;
  } catch {
    return 0; // gone already
  }
}
