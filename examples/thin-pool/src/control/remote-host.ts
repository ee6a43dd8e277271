/**
 * A pool that another process has open, as a `PoolHost`.
 *
 * Its errors are the ones thrown there, with code and sentence. When the connection is lost, what was asked and not answered fails
 * with `ERR_CONNECTION_LOST`: whether it was done is then not known, as after any crash.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { ClosedError, type DataDevice } from '@pdata/device';
import type { PoolEvent, PoolHost, Receiving } from '../pool-host.js';
import { PoolError } from '../words/pool-error.js';
import { encodeMessage, MAX_ANSWER, PROTOCOL, readMessages, SOCKET_NAME } from './messages.js';
import { type Ask, RemoteVolume, type RemoteVolumeInfo } from './remote-volume.js';
import { shortSocketPath } from './socket-path.js';

type Waiting = { resolve(result: unknown): void; reject(error: Error): void };

/** Who serves says hello at once, unless it is very busy; one that is stopped, or hangs, never does. */
const HELLO_MS = 30_000;

/** @returns undefined when nobody serves the pool */
export async function connectToHost(directory: string, helloMs = HELLO_MS): Promise<PoolHost | undefined> {
  const { path, release } = shortSocketPath(directory, SOCKET_NAME);
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') return undefined;
    if (code === 'EACCES' || code === 'EPERM') {
      throw new PoolError('ERR_POOL_BUSY', `the pool ${directory} is served by another user, who alone may use it`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    release();
  }
  return await new Connection(directory, socket).greeted(helloMs);
}

class Connection {
  readonly directory: string;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  readonly #listeners = new Set<(event: PoolEvent) => void>();
  #end: Error | undefined;
  #greeting: Waiting | undefined;

  constructor(directory: string, socket: Socket) {
    this.directory = directory;
    this.#socket = socket;
    socket.on('error', () => {}); // reading ends with it
  }

  async greeted(helloMs: number): Promise<PoolHost> {
    const greeting = new Promise<unknown>((resolve, reject) => {
      this.#greeting = { resolve, reject };
    });
    const impatient = setTimeout(() => {
      this.#finish(
        new PoolError(
          'ERR_CONNECTION_LOST',
          `the process that serves the pool ${this.directory} does not answer: it is stopped or hangs; end it, and try again`,
        ),
      );
      this.#socket.destroy();
    }, helloMs);
    void this.#read();
    const hello = (await greeting.finally(() => clearTimeout(impatient))) as { protocol?: number };
    if (hello.protocol !== PROTOCOL) {
      this.#socket.destroy();
      throw new PoolError(
        'ERR_PROTOCOL',
        'the pool is served by another version of thin-pool: use that one, or stop it and serve with this one',
      );
    }
    return remoteHost(this);
  }

  readonly ask: Ask = async (method, parameters = {}) => {
    if (this.#end !== undefined) throw this.#end;
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#socket.write(encodeMessage([id, method, parameters]));
    return await answer;
  };

  listen(listener: (event: PoolEvent) => void): () => void {
    if (this.#listeners.size === 0) this.ask('events').catch(() => {}); // the connection's end is told by other requests
    const own = (event: PoolEvent) => listener(event);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  async close(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#finish(new ClosedError(`the connection to the pool ${this.directory} is closed`));
    const closed = once(this.#socket, 'close');
    this.#socket.end();
    this.#socket.destroySoon();
    await closed;
  }

  async #read(): Promise<void> {
    try {
      for await (const [id, what, content] of readMessages(this.#socket, MAX_ANSWER)) {
        if (what === 'hello') this.#greeting?.resolve(content);
        else if (what === 'event') for (const listener of this.#listeners) listener(content as PoolEvent);
        else this.#answer(id, what, content);
      }
    } catch {
      // whatever it was, nothing more comes
    }
    this.#finish(
      new PoolError(
        'ERR_CONNECTION_LOST',
        `the process that serves the pool ${this.directory} has ended: nobody answers any more`,
      ),
    );
    this.#socket.destroy();
  }

  #answer(id: number, isResult: unknown, content: unknown): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (isResult === true) waiting?.resolve(content);
    else {
      const { code, message } = content as { code: `ERR_${string}`; message: string };
      waiting?.reject(new PoolError(code, message));
    }
  }

  #finish(error: Error): void {
    this.#end ??= error;
    this.#greeting?.reject(this.#end);
    for (const { reject } of this.#waiting.values()) reject(this.#end);
    this.#waiting.clear();
  }
}

function remoteHost(connection: Connection): PoolHost {
  const { ask } = connection;
  /** Answers have the shape that the server's own `PoolHost` gave them. */
  const call =
    <Request extends object | void, Answer>(method: string) =>
    async (request: Request): Promise<Answer> =>
      (await ask(method, request ?? {})) as Answer;
  const openVolume = async (method: string, request: object): Promise<DataDevice> =>
    new RemoteVolume(ask, (await ask(method, request)) as RemoteVolumeInfo);
  const receiving: Receiving = {
    list: call('receiving.list'),
    begin: call('receiving.begin'),
    open: (request) => openVolume('receiving.open', request),
    progress: call('receiving.progress'),
    finish: call('receiving.finish'),
    abandon: call('receiving.abandon'),
  };
  return {
    directory: connection.directory,
    status: call('status'),
    volumes: call('volumes'),
    volume: call('volume'),
    createVolume: call('createVolume'),
    snapshot: call('snapshot'),
    renameVolume: call('renameVolume'),
    resizeVolume: call('resizeVolume'),
    removeVolume: call('removeVolume'),
    revertVolume: call('revertVolume'),
    diff: call('diff'),
    sharing: async (request) => (await ask('sharing', request ?? {})) as never,
    check: call('check'),
    growPool: call('growPool'),
    openVolume: (request) => openVolume('openVolume', request),
    receiving,
    onEvent: (listener) => connection.listen(listener),
    close: () => connection.close(),
  };
}
