/**
 * Lets other commands work on the pool that this process has open.
 *
 * A connection's open volumes are its own, and are closed with it: a command that dies leaves nothing in use. At most
 * `MAX_IN_FLIGHT` of its requests are worked on at once; the rest waits in the socket.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type DataDevice, StoreError } from '@pdata/device';
import type { PoolHost } from '../pool-host.js';
import { PoolError, quoted, reasonOf } from '../words/pool-error.js';
import {
  encodeMessage,
  MAX_PIECE,
  MAX_REQUEST,
  type Message,
  PROTOCOL,
  readMessages,
  SOCKET_NAME,
} from './messages.js';
import { shortSocketPath } from './socket-path.js';

const MAX_IN_FLIGHT = 32;
const MAX_OPEN_VOLUMES = 64;

export interface ControlServer {
  readonly nrConnections: number;
  /** Hangs up on everybody, after what they have asked for so far is done. */
  close(): Promise<void>;
}

/** The caller has the pool open, so a socket that lies there is of a process that is gone. */
export async function listenForCommands(host: PoolHost): Promise<ControlServer> {
  const { path, release } = shortSocketPath(host.directory, SOCKET_NAME);
  const connections = new Set<Connection>();
  const server = createServer((socket) => {
    const connection = new Connection(host, socket);
    connections.add(connection);
    void connection.serve().finally(() => connections.delete(connection));
  });
  const mask = process.umask(0o177);
  try {
    rmSync(join(host.directory, SOCKET_NAME), { force: true });
    await listen(server, path);
  } catch (error) {
    release();
    throw new PoolError(
      'ERR_LISTEN',
      `cannot listen for commands on ${quoted(join(host.directory, SOCKET_NAME))}: ${reasonOf(error)}`,
      { cause: error },
    );
  } finally {
    process.umask(mask);
  }
  chmodSync(join(host.directory, SOCKET_NAME), 0o600);
  return {
    get nrConnections() {
      return connections.size;
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      await Promise.all([...connections].map((connection) => connection.close()));
      await closed;
      release();
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  const listening = once(server, 'listening');
  server.listen(path);
  await listening;
}

type Parameters = Readonly<Record<string, unknown>>;

class Connection {
  readonly #host: PoolHost;
  readonly #socket: Socket;
  readonly #volumes = new Map<number, DataDevice>();
  #nextHandle = 1;
  readonly #inFlight = new Set<Promise<void>>();
  #endEvents: (() => void) | undefined;

  constructor(host: PoolHost, socket: Socket) {
    this.#host = host;
    this.#socket = socket;
    socket.on('error', () => {}); // a client that went away; reading ends
  }

  async serve(): Promise<void> {
    try {
      this.#send([0, 'hello', { protocol: PROTOCOL, processId: process.pid }]);
      for await (const message of readMessages(this.#socket, MAX_REQUEST)) {
        const work = this.#answer(message).finally(() => this.#inFlight.delete(work));
        this.#inFlight.add(work);
        while (this.#inFlight.size >= MAX_IN_FLIGHT) await Promise.race(this.#inFlight);
        if (this.#socket.writableNeedDrain)
          await Promise.race([once(this.#socket, 'drain'), once(this.#socket, 'close')]);
      }
    } catch {
      // It does not speak our language, or is gone: either way there is nobody to talk to.
    } finally {
      await this.#release();
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
    this.#socket.end();
    this.#socket.destroySoon();
    await this.#release();
  }

  async #release(): Promise<void> {
    this.#endEvents?.();
    this.#socket.destroySoon();
    await Promise.allSettled(this.#inFlight);
    const open = [...this.#volumes.values()];
    this.#volumes.clear();
    await Promise.allSettled(open.map((volume) => volume.close()));
  }

  async #answer([id, method, content]: Message): Promise<void> {
    try {
      if (typeof method !== 'string' || !Object.hasOwn(METHODS, method)) {
        throw new PoolError(
          'ERR_PROTOCOL',
          `the serving thin-pool does not know the request ${quoted(String(method))}`,
        );
      }
      const parameters = typeof content === 'object' && content !== null ? (content as Parameters) : {};
      const result = await METHODS[method as keyof typeof METHODS].call(this, parameters);
      this.#send([id, true, result]);
    } catch (error) {
      const code = error instanceof StoreError ? error.code : 'ERR_INTERNAL';
      this.#send([id, false, { code, message: error instanceof Error ? error.message : String(error) }]);
    }
  }

  #send(message: Message): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage(message));
  }

  get host(): PoolHost {
    return this.#host;
  }

  keep(volume: DataDevice) {
    const handle = this.#nextHandle++;
    this.#volumes.set(handle, volume);
    const { name, size, readOnly, hints } = volume;
    return { handle, name, size, readOnly, hints };
  }

  refuseTooMany(): void {
    if (this.#volumes.size >= MAX_OPEN_VOLUMES) {
      throw new PoolError('ERR_PROTOCOL', `a command opens at most ${MAX_OPEN_VOLUMES} volumes at once`);
    }
  }

  volume({ handle }: Parameters): DataDevice {
    const volume = this.#volumes.get(handle as number);
    if (volume === undefined) throw new PoolError('ERR_PROTOCOL', 'the volume is not open');
    return volume;
  }

  async closeVolume(parameters: Parameters): Promise<void> {
    const volume = this.volume(parameters);
    this.#volumes.delete(parameters.handle as number);
    await volume.close();
  }

  subscribe(): void {
    this.#endEvents ??= this.#host.onEvent((event) => this.#send([0, 'event', event]));
  }
}

type Method = (this: Connection, parameters: Parameters) => Promise<unknown>;

/** A method of the host that takes one record of parameters; the host itself checks names and sizes. */
const hosts = (call: (host: PoolHost, parameters: never) => Promise<unknown>): Method =>
  async function (parameters) {
    return await call(this.host, parameters as never);
  };

const METHODS = {
  status: hosts((host) => host.status()),
  volumes: hosts((host) => host.volumes()),
  volume: hosts((host, parameters) => host.volume(parameters)),
  createVolume: hosts((host, parameters) => host.createVolume(parameters)),
  snapshot: hosts((host, parameters) => host.snapshot(parameters)),
  renameVolume: hosts((host, parameters) => host.renameVolume(parameters)),
  resizeVolume: hosts((host, parameters) => host.resizeVolume(parameters)),
  removeVolume: hosts((host, parameters) => host.removeVolume(parameters)),
  revertVolume: hosts((host, parameters) => host.revertVolume(parameters)),
  diff: hosts((host, parameters) => host.diff(parameters)),
  sharing: hosts((host, parameters) => host.sharing(parameters)),
  check: hosts((host) => host.check()),
  growPool: hosts((host, parameters) => host.growPool(parameters)),
  'receiving.list': hosts((host) => host.receiving.list()),
  'receiving.begin': hosts((host, parameters) => host.receiving.begin(parameters)),
  'receiving.progress': hosts((host, parameters) => host.receiving.progress(parameters)),
  'receiving.finish': hosts((host, parameters) => host.receiving.finish(parameters)),
  'receiving.abandon': hosts((host, parameters) => host.receiving.abandon(parameters)),
  async events() {
    this.subscribe();
  },
  async openVolume(parameters) {
    this.refuseTooMany();
    return this.keep(await this.host.openVolume(parameters as never));
  },
  async 'receiving.open'(parameters) {
    this.refuseTooMany();
    return this.keep(await this.host.receiving.open(parameters as never));
  },
  async closeVolume(parameters) {
    await this.closeVolume(parameters);
  },
  async read(parameters) {
    const { offset, length } = parameters as { offset: number; length: number };
    if (!(length >= 0 && length <= MAX_PIECE)) throw new PoolError('ERR_PROTOCOL', 'the piece is too large');
    const bytes = new Uint8Array(length);
    await this.volume(parameters).read(offset, bytes);
    return bytes;
  },
  async write(parameters) {
    const { offset, bytes, fua } = parameters as { offset: number; bytes: Uint8Array; fua: boolean };
    if (!(bytes instanceof Uint8Array)) throw new PoolError('ERR_PROTOCOL', 'there are no bytes to write');
    await this.volume(parameters).write(offset, bytes, { fua: fua === true });
  },
  async writeZeroes(parameters) {
    const { offset, length, fua, keepAllocated } = parameters as Record<string, number | boolean>;
    const options = { fua: fua === true, keepAllocated: keepAllocated === true };
    await this.volume(parameters).writeZeroes(offset as number, length as number, options);
  },
  async discard(parameters) {
    const { offset, length, fua } = parameters as { offset: number; length: number; fua: boolean };
    await this.volume(parameters).discard(offset, length, { fua: fua === true });
  },
  async flush(parameters) {
    await this.volume(parameters).flush();
  },
  async allocation(parameters) {
    const { offset, length } = parameters as { offset: number; length: number };
    return await this.volume(parameters).allocation(offset, length);
  },
} satisfies Record<string, Method>;
