/**
 * The process's own streams, written synchronously: what was printed is out before the next block is read, nothing is left
 * to drain at exit, and a closed pipe is found out at once (Node ignores SIGPIPE, so the write fails with EPIPE).
 */
import { writeSync } from 'node:fs';
import { constants } from 'node:os';
import { systemProblem } from '@pdata/device/node';
import { ToolError } from '../failure/tool-error.js';
import { BrokenPipeError, InterruptedError, type Io } from './io.js';

const STDOUT = 1;
const STDERR = 2;
const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How long to wait before trying again when a non-blocking pipe is full. */
const RETRY_MS = 2;

export function processIo(): Io {
  const interruption = new AbortController();
  return {
    out(data) {
      try {
        writeFully(STDOUT, data);
      } catch (error) {
        if (codeOf(error) === 'EPIPE') throw new BrokenPipeError('standard output was closed by its reader');
        const message = `output error: cannot write to standard output: ${systemProblem(error) ?? (error as Error).message}`;
        throw new ToolError(
          'ERR_OUTPUT',
          message,
          { nextStep: 'write it to a place with room for it' },
          { cause: error },
        );
      }
    },
    err(text) {
      try {
        writeFully(STDERR, text);
      } catch {
        // There is no place left to complain to; the exit code still tells.
      }
    },
    get errColumns() {
      return process.stderr.isTTY ? process.stderr.columns || 80 : 0;
    },
    signal: interruption.signal,
    catchInterrupts() {
      const interrupt = (name: NodeJS.Signals): void => {
        // From now on they end the process: whoever asks twice does not want to wait.
        for (const caught of INTERRUPTS) process.off(caught, interrupt);
        interruption.abort(new InterruptedError(constants.signals[name]));
      };
      for (const name of INTERRUPTS) process.on(name, interrupt);
    },
    onStatusRequest(listener) {
      if (process.platform === 'win32') return () => {}; // there is no such signal
      const requested = (): void => listener();
      process.on('SIGUSR1', requested); // instead of Node's debugger
      return () => void process.off('SIGUSR1', requested);
    },
    // Twice: called while the event loop polls, the first comes in the same turn of it, before signals are looked for again.
    breathe: () => new Promise((resolve) => setImmediate(() => setImmediate(resolve))),
    now: () => performance.now(),
    isDebugging: !['', '0', undefined].includes(process.env.PDATA_DEBUG),
  };
}

function writeFully(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException).code;
