/**
 * A command's streams in a real process.
 *
 * The first SIGINT or SIGTERM asks the command to come to an end; a second one ends the process. When whoever reads our output goes
 * away, the command is ended quietly, as `head` expects.
 */
import { once } from 'node:events';
import type { Io } from './command.js';

export function processIo(): Io {
  const stop = new AbortController();
  let nrSignals = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    nrSignals++;
    if (nrSignals === 1) stop.abort(name);
    else process.exit(name === 'SIGINT' ? 130 : 143);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.stderr.write(`thin-pool: cannot write: ${error.message}\n`);
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  process.stderr.on('error', () => {});
  const write = async (chunk: string | Uint8Array): Promise<void> => {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  };
  return {
    out: write,
    outBytes: write,
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    colors: process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb',
    signal: stop.signal,
  };
}
