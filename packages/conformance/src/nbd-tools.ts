/**
 * The real NBD programs: clients (nbdinfo, nbdcopy, qemu-img, qemu-io, fio with its nbd engine) that judge our server, and
 * servers (qemu-nbd, nbdkit) that judge our client.
 *
 * With them openssl, which makes certificates, and e2fsck and debugfs, which judge what a guest wrote.
 *
 * They come from Debian's packages (`oracle/install-tools`). Without them their tests are skipped with a printed reason, unless
 * PDATA_REQUIRE_TOOLS=1.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitStatus, judgesAreRequired, type RunResult, runProgram } from './real-tools.js';

/** How each tells that it is here, and that it can do what is asked of it. */
const TOOLS = {
  nbdinfo: ['--version'],
  nbdcopy: ['--version'],
  'qemu-img': ['--version'],
  'qemu-io': ['--version'],
  'qemu-nbd': ['--version'],
  nbdkit: ['--version'],
  fio: ['--enghelp=nbd'],
  openssl: ['version'],
  e2fsck: ['-V'],
  debugfs: ['-V'],
} as const;

export type NbdTool = keyof typeof TOOLS;

/**
 * Whether the real NBD programs are here. Their absence is printed once, or is an error where judges are required.
 * @example describe.runIf(requireNbdTools())('…', …)
 */
export function requireNbdTools(): boolean {
  areHere ??= lookForTools();
  return areHere;
}

let areHere: boolean | undefined;

function lookForTools(): boolean {
  process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`; // fsck is there, and not on everybody's PATH
  const missing = Object.entries(TOOLS).flatMap(([tool, args]) => {
    try {
      const { status, stdout, stderr } = runProgram(tool, args);
      return status === 0 ? [] : [`${tool} (${(stderr || stdout).trim().split('\n')[0]})`];
    } catch {
      return [tool];
    }
  });
  if (missing.length === 0) return true;
  const why = `${missing.join(', ')} not found; packages/conformance/oracle/install-tools brings them`;
  if (judgesAreRequired()) throw new Error(why);
  console.warn(`Skipped: tests with real NBD programs. ${why}.`);
  return false;
}

/** Whether tests may take minutes: more random workloads, larger disks, longer fio runs. PDATA_LONG=1 asks for it. */
export const runsLong = (): boolean => process.env.PDATA_LONG === '1';

/** Runs a program to its end while this process goes on serving it. A program that hangs is killed after two minutes. */
export function runAside(program: string, args: readonly string[], input?: string): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 120_000, killSignal: 'SIGKILL' });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.on('error', () => {}); // it may end without having read all
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status: exitStatus(status, signal), stdout, stderr }));
  });
}

/** What a program prints. @throws Error with all it said when its status is not 0 */
export async function outputOf(program: string, args: readonly string[], input?: string): Promise<string> {
  const { status, stdout, stderr } = await runAside(program, args, input);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} exits with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** A server that a test started. */
export interface RealServer extends AsyncDisposable {
  readonly uri: string;
  readonly child: ChildProcess;
  /** Ends the process, softly, and waits for it. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** qemu-nbd with `args` (image and options); the export's name is "". */
export function startQemuNbd(socketPath: string, args: readonly string[]): Promise<RealServer> {
  return startServer('qemu-nbd', ['--socket', socketPath, '--persistent', '--shared=16', ...args], socketPath);
}

/** nbdkit in the foreground with `args` (plugin and parameters). */
export function startNbdkit(socketPath: string, args: readonly string[]): Promise<RealServer> {
  return startServer('nbdkit', ['--foreground', '--unix', socketPath, ...args], socketPath);
}

/** Starts a program and waits until it listens. @throws Error with what it said when it ends instead */
export async function startServer(program: string, args: readonly string[], socketPath: string): Promise<RealServer> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-65_536);
    });
  let failure: Error | undefined;
  const ended = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      failure = error;
      resolve();
    });
    child.on('exit', () => resolve());
  });
  for (let tries = 0; !(await listensOn(socketPath)); tries++) {
    if (failure !== undefined || child.exitCode !== null || tries > 1500) {
      child.kill('SIGKILL');
      throw new Error(`${program} ${args.join(' ')} does not listen on ${socketPath}: ${failure?.message ?? said}`);
    }
    await sleep(20);
  }
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    child.kill(signal);
    await ended;
  };
  return { uri: `nbd+unix:///?socket=${socketPath}`, child, stop, [Symbol.asyncDispose]: () => stop() };
}

/** A socket's file is there a moment before somebody listens on it. */
function listensOn(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path: socketPath });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
