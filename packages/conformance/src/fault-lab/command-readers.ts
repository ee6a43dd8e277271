/**
 * The commands as readers for the fuzzer, each run in this process on a file that holds the image: it may do its work, or refuse with an
 * exit code of its own and words. What a user would call a crash is a failure: an exception that nobody foresaw, an exit code that no help
 * text knows, output without bound, a refusal without a word.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { BLOCK_SIZE, type MetadataDevice, StoreError } from '@pdata/device';
import type { FuzzReader } from '@pdata/testing';
import { InterruptedError, keptIo, run } from '@pdata/tools';
import { openScratch, type Scratch } from '../scratch.js';

const SUCCESS = 0;
const USAGE = 2;
const FAILURE = 64;
/** A hostile image of some hundred blocks may share what there is often; more output than this is none any more. */
const MOST_OUTPUT = 128 * 2 ** 20;
/** How an exception that nobody foresaw is reported. */
const BUG = 'this is a bug in pdata';

/** The files of one run. */
export interface CommandFiles {
  /** Holds the image. */
  readonly image: string;
  /** The image itself. */
  readonly bytes: Uint8Array;
  /** A file of zeros, made anew; 64 KiB unless told. */
  zeros(name: string, size?: number): string;
  /** A file with this content, made anew. */
  file(name: string, content: Uint8Array): string;
  /** Runs another command first, and returns what it prints; ends the run as refused when that one refuses. */
  output(...argv: readonly string[]): Promise<string>;
}

export interface CommandReader {
  /** The command, and what tells this way of running it from others. */
  readonly name: string;
  /** Its command line. */
  argv(files: CommandFiles): readonly string[] | Promise<readonly string[]>;
  /** Where its options come from the image, they may be refused, too. */
  readonly mayRefuseUsage?: boolean;
  /** It is dearer than others, and run on one image in so many. Default 4: a command opens files, and is run beside the library. */
  readonly every?: number;
  /** It serves: it is asked to stop as soon as it has opened everything. */
  readonly serves?: boolean;
}

/** A command that refused; expected. */
class RefusedError extends StoreError {
  override readonly name = 'RefusedError';
  readonly code = 'ERR_REFUSED';
}

/** One directory for all runs of this thread: making one for each would take longer than most of them. */
let scratch: Scratch | undefined;

/** To be called when the readers have run. */
export function removeCommandFiles(): void {
  scratch?.[Symbol.dispose]();
  scratch = undefined;
}

export function commandReaders(commands: readonly CommandReader[]): FuzzReader[] {
  return commands.map((command) => ({
    name: command.name,
    every: command.every ?? 4,
    run: (device) => runCommand(command, device),
  }));
}

async function runCommand(command: CommandReader, device: MetadataDevice): Promise<void> {
  scratch ??= openScratch();
  const { path } = scratch;
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE);
  device.read(0, bytes);
  const file = (name: string, content: Uint8Array): string => {
    writeFileSync(path(name), content);
    return path(name);
  };
  const files: CommandFiles = {
    image: file('image', bytes),
    bytes,
    file,
    zeros(name, size = 65_536) {
      truncateSync(file(name, new Uint8Array(0)), size);
      return path(name);
    },
    async output(...argv) {
      const { exitCode, stdout, stderr } = await judged(argv, false);
      if (exitCode !== SUCCESS) throw new RefusedError(stderr);
      return stdout();
    },
  };
  const { exitCode, stderr } = await judged(await command.argv(files), command.serves ?? false);
  if (exitCode === SUCCESS) return;
  if (exitCode === FAILURE || (exitCode === USAGE && command.mayRefuseUsage)) throw new RefusedError(stderr);
  throw new Error(`exit code ${exitCode}: ${stderr}`);
}

/** Runs a command; throws what a user would call a crash. */
async function judged(
  argv: readonly string[],
  serves: boolean,
): Promise<{ readonly exitCode: number; readonly stdout: () => string; readonly stderr: string }> {
  let length = 0;
  const stop = new AbortController();
  if (serves) stop.abort(new InterruptedError(2));
  const kept = keptIo({ isDebugging: true, signal: stop.signal });
  const io = {
    ...kept.io,
    out(data: string | Uint8Array): void {
      length += data.length;
      if (length <= MOST_OUTPUT) kept.io.out(data);
    },
  };
  const exitCode = await run(argv, io);
  const stderr = kept.stderr();
  if (length > MOST_OUTPUT) throw new Error(`${length} bytes of output`);
  if (stderr.includes(BUG)) throw new Error(stderr);
  if (exitCode !== SUCCESS && stderr.trim() === '') throw new Error(`exit code ${exitCode}, and not a word`);
  return { exitCode, stdout: kept.stdout, stderr };
}
