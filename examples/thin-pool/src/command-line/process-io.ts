/**
 * A command's streams in a real process.
 *
 * A command that looks at `signal` is asked to come to an end by the first SIGINT, SIGTERM or SIGHUP; a second SIGINT or SIGTERM ends
 * the process (not SIGHUP: a closing terminal sends it besides). All others are ended at once: a pool survives that at any moment. When whoever reads our output goes away, the command is ended quietly, as
 * `head` expects.
 */
import { once } from 'node:events';
import { PoolError, reasonOf } from '../words/pool-error.js';
import type { Io } from './command.js';

export function processIo(): Io {
  let stop: AbortController | undefined;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.stderr.write(`thin-pool: cannot write the output: ${reasonOf(error)}\n`);
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
    get signal() {
      stop ??= abortedBySignals();
      return stop.signal;
    },
  };
}

function abortedBySignals(): AbortController {
  const stop = new AbortController();
  let isAsked = false;
  const onSignal = (name: NodeJS.Signals): void => {
    if (isAsked) process.exit(name === 'SIGINT' ? 130 : 143);
    isAsked = true;
    stop.abort(new PoolError('ERR_INTERRUPTED', 'interrupted'));
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal);
  // A closed terminal often comes together with a Ctrl-C, in either order: it is not counted.
  process.on('SIGHUP', () => stop.abort(new PoolError('ERR_INTERRUPTED', 'interrupted')));
  return stop;
}
