/**
 * The path by which a socket in a directory is bound or reached.
 *
 * The system keeps such paths in 108 bytes. A longer one is shortened: relative to the working directory, or, on Linux, through a
 * descriptor of the directory (`/proc/self/fd/N/NAME`), which lives until the caller lets go of it.
 */
import { closeSync, openSync } from 'node:fs';
import { join, relative } from 'node:path';
import { PoolError, quoted } from '../words/pool-error.js';

/** Bytes of a path, without the zero behind it; 103 on macOS and the BSDs. */
export const MAX_SOCKET_PATH = process.platform === 'linux' ? 107 : 103;

export interface ShortPath {
  readonly path: string;
  release(): void;
}

export function shortSocketPath(directory: string, name: string): ShortPath {
  const path = join(directory, name);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return { path, release: () => {} };
  const fromHere = relative(process.cwd(), path);
  if (Buffer.byteLength(fromHere) <= MAX_SOCKET_PATH) return { path: fromHere, release: () => {} };
  if (process.platform !== 'linux') {
    throw new PoolError(
      'ERR_LISTEN',
      `the path ${quoted(path)} is too long for a socket: work from a directory nearer to it`,
    );
  }
  const fd = openSync(directory, 'r');
  return { path: `/proc/self/fd/${fd}/${name}`, release: () => closeSync(fd) };
}
