/**
 * Taking a socket to listen on: a Unix socket's file, or a TCP port.
 *
 * A file left by a server that died is removed, one of a server that lives is not: the difference is whether anybody answers. The file
 * is made readable and writable for its owner alone, from the first moment on, because whoever may connect may write.
 */
import { chmodSync, existsSync, lstatSync, type Stats, unlinkSync } from 'node:fs';
import { connect, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { StoreError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';

/** Where to listen: a Unix socket, or a TCP port (0: any free one) on an address (default: this machine only). */
export type NbdListenTarget = { readonly socketPath: string } | { readonly host?: string; readonly port: number };

/** The server cannot listen where it was told to. The message says why, and what to do. */
export class NbdListenError extends StoreError {
  override readonly name = 'NbdListenError';
  readonly code = 'ERR_NBD_LISTEN';
}

/** Bytes of the longest path of a Unix socket on Linux, without its final NUL; other systems have less. */
const MAX_SOCKET_PATH = 107;
const DEFAULT_HOST = '127.0.0.1';

/** @throws {@link NbdListenError}, as a rejection */
export async function listenOn(server: Server, target: NbdListenTarget): Promise<void> {
  if ('socketPath' in target) {
    await removeDeadSocket(target.socketPath);
    await withPrivateFiles(() => listen(server, { path: target.socketPath }, target.socketPath));
    chmodSync(target.socketPath, 0o600);
  } else {
    const { host = DEFAULT_HOST, port } = target;
    await listen(server, { host, port }, `${host}:${port}`);
  }
}

function listen(server: Server, options: ListenOptions, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(listenError(where, error));
    server.once('error', failed);
    try {
      server.listen(options, () => {
        server.off('error', failed);
        resolve();
      });
    } catch (error) {
      failed(error as NodeJS.ErrnoException); // a port out of range is thrown at once
    }
  });
}

/** A socket is bound before `listen` returns, so for that moment new files are the owner's alone. */
function withPrivateFiles<T>(work: () => T): T {
  let before: number | undefined;
  try {
    before = process.umask(0o177);
  } catch {
    // A worker thread may not change the mask; the mode is set right afterwards in any case.
  }
  try {
    return work();
  } finally {
    if (before !== undefined) process.umask(before);
  }
}

/** @throws {@link NbdListenError} when something is there that is not ours to remove */
async function removeDeadSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new NbdListenError(
      `cannot listen on ${path}: the path of a Unix socket has at most ${MAX_SOCKET_PATH} bytes; use a shorter one`,
    );
  }
  let stats: Stats;
  try {
    stats = lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // the directory too may be missing: `listen` finds out
    throw listenError(path, error as NodeJS.ErrnoException);
  }
  if (!stats.isSocket()) {
    throw new NbdListenError(
      `cannot listen on ${path}: a file that is not a socket is there; remove it or use another path`,
    );
  }
  if (await isAnswered(path)) {
    throw new NbdListenError(
      `cannot listen on ${path}: another server is listening there; stop it or use another path`,
    );
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw listenError(path, error as NodeJS.ErrnoException);
  }
}

/** Whether a server accepts connections there. Any answer but "nobody listens" counts as one: better refuse than remove. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

function listenError(where: string, error: NodeJS.ErrnoException): NbdListenError {
  return new NbdListenError(`cannot listen on ${where}: ${reasonOf(where, error)}`, { cause: error });
}

function reasonOf(where: string, error: NodeJS.ErrnoException): string {
  const { code, message } = error;
  switch (code) {
    case 'EADDRINUSE':
      return 'another program is listening there; stop it or use another port or path';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address';
    case 'ENOTFOUND':
      return 'no such host';
    case 'EACCES':
    case 'EPERM':
      // libuv says so of a Unix socket's directory that is not there, too.
      if (code === 'EPERM' || !where.includes('/') || existsSync(dirname(where))) return 'permission denied';
      return `there is no directory ${dirname(where)}`;
    case 'ENOENT':
      return `there is no directory ${dirname(where)}`;
    case 'ENOTDIR':
      return `${dirname(where)} is not a directory`;
    case 'ERR_SOCKET_BAD_PORT':
      return 'a port is a number from 0 to 65535';
    default:
      return systemProblem(error) ?? message;
  }
}
