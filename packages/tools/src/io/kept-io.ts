/** For programs, and tests, that run a command themselves and want what it says: an {@link Io} that keeps it. */
import type { Io } from './io.js';

export interface KeptIo {
  readonly io: Io;
  /** What the command has written so far. */
  stdout(): string;
  stderr(): string;
}

/**
 * No terminal, never interrupted, unless `changes` say otherwise.
 * @example const kept = keptIo(); const exitCode = await run(['thin_check', path], kept.io);
 */
export function keptIo(changes: Partial<Io> = {}): KeptIo {
  const chunks: (string | Uint8Array)[] = [];
  const decoder = new TextDecoder();
  let errors = '';
  const io: Io = {
    out: (data) => void chunks.push(typeof data === 'string' ? data : data.slice()), // its memory is used again
    err: (text) => {
      errors += text;
    },
    errColumns: 0,
    signal: new AbortController().signal,
    catchInterrupts: () => {},
    onStatusRequest: () => () => {},
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
    isDebugging: false,
    ...changes,
  };
  return {
    io,
    stdout: () =>
      chunks.map((data) => (typeof data === 'string' ? data : decoder.decode(data, { stream: true }))).join(''),
    stderr: () => errors,
  };
}
