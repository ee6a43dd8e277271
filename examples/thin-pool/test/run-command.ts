/** A command in this process, with streams of its own. */
import { Readable } from 'node:stream';
import type { Io } from '../src/command-line/command.js';
import { run } from '../src/command-line/run.js';

export interface CommandResult {
  readonly exitCode: number;
  readonly out: string;
  readonly outBytes: Buffer;
  readonly err: string;
}

export interface RunOptions {
  readonly input?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal;
  /** Called with each piece of the output. */
  readonly onOut?: (text: string) => void;
}

export async function runCommand(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  const { input, signal = new AbortController().signal, onOut } = options;
  const pieces: Buffer[] = [];
  let err = '';
  const io: Io = {
    async out(text) {
      pieces.push(Buffer.from(text));
      onOut?.(text);
    },
    async outBytes(bytes) {
      pieces.push(Buffer.from(bytes));
    },
    err: (text) => {
      err += text;
    },
    stdin: input instanceof Uint8Array ? Readable.from([input]) : Readable.from(input ?? []),
    outIsTerminal: false,
    errIsTerminal: false,
    colors: false,
    signal,
  };
  const exitCode = await run(argv, io);
  const outBytes = Buffer.concat(pieces);
  return { exitCode, out: outBytes.toString(), outBytes, err };
}
