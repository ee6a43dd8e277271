/**
 * A Network Block Device server: exports of any `DataDevice`, on a Unix socket or a TCP port.
 *
 * Here: listening, who may connect, and the end of it all. A client's way is connection.ts, then haggling.ts, then transmission.ts.
 * Format: docs/format/nbd.md.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { systemProblem } from '@pdata/device/node';
import { BufferPool } from './buffer-pool.js';
import { Connection, type ConnectionHost, type NbdClientInfo } from './connection.js';
import { errorNumberOf } from './error-numbers.js';
import type { ExportSource } from './export.js';
import { limitsOf, type NbdServerLimits } from './limits.js';
import { listenOn, type NbdListenTarget } from './listening.js';
import { SharedExports } from './shared-exports.js';
import { checkServerTls, type NbdServerTls } from './starting-tls.js';

export interface NbdServerOptions {
  readonly exports: ExportSource;
  readonly listen: NbdListenTarget;
  /** Certificate and key, as `tls.createSecureContext` takes them, and who needs TLS. */
  readonly tls?: NbdServerTls;
  readonly limits?: Partial<NbdServerLimits>;
  /** Told, in one line each, of clients that were cut off and of requests that failed. */
  readonly log?: (line: string) => void;
}

/** Free buffers that are kept. */
const POOL_BYTES = 16 * 2 ** 20;
const DEFAULT_GRACE_MS = 5000;

export class NbdServer {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #host: ConnectionHost & { isShuttingDown: boolean };
  readonly #sweeper: NodeJS.Timeout;
  readonly #releaseErrors: unknown[] = [];
  readonly #target: NbdListenTarget;
  #nextId = 1;
  #closing: Promise<void> | undefined;

  private constructor(options: NbdServerOptions) {
    const { exports: source, tls, log = () => {} } = options;
    const limits = limitsOf(options.limits);
    if (tls !== undefined) checkServerTls(tls);
    this.#target = options.listen;
    const exports = new SharedExports(source, (name, error) => {
      this.#releaseErrors.push(error);
      log(`export "${name}" was not released well: ${messageOf(error)}`);
    });
    this.#host = {
      limits,
      exports,
      pool: new BufferPool(POOL_BYTES),
      bytesInFlight: 0,
      tls,
      isShuttingDown: false,
      log,
      requestFailed: (name, error) =>
        log(`a request to export "${name}" failed with error ${errorNumberOf(error)}: ${messageOf(error)}`),
    };
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    const periodMs = Math.min(1000, Math.max(10, Math.min(limits.handshakeMs, limits.stallMs) / 4));
    this.#sweeper = setInterval(() => {
      for (const connection of this.#connections) connection.sweep(periodMs);
    }, periodMs);
    this.#sweeper.unref();
  }

  /**
   * Starts a server. It keeps the process alive until it is closed.
   * @throws {@link NbdListenError}, as a rejection, when it cannot listen there, or `requestCert` has no certificate to go by
   * @throws {@link NbdCertificateError}, as a rejection, for a certificate or a key that cannot be used
   * @throws RangeError for a limit out of range
   */
  static async listen(options: NbdServerOptions): Promise<NbdServer> {
    const server = new NbdServer(options);
    try {
      await listenOn(server.#server, options.listen);
    } catch (error) {
      clearInterval(server.#sweeper);
      throw error;
    }
    server.#server.on('error', (error) => server.#host.log(`listening: ${systemProblem(error) ?? error.message}`));
    return server;
  }

  /** Where it listens; the port is the actual one when 0 was asked for. */
  get address(): { readonly socketPath: string } | { readonly host: string; readonly port: number } {
    if ('socketPath' in this.#target) return { socketPath: this.#target.socketPath };
    const address = this.#server.address() as AddressInfo | null;
    return { host: address?.address ?? this.#target.host ?? '', port: address?.port ?? this.#target.port };
  }

  /** The clients of this moment, in order of arrival. */
  get clients(): NbdClientInfo[] {
    return [...this.#connections].map((connection) => connection.info);
  }

  /**
   * Stops: no new clients, no new requests. What is in flight is finished and answered; after `graceMs` (default 5000) what is left is cut
   * off. Resolves when every export was released. Calling it again gives the same promise.
   * @throws AggregateError, as a rejection, when an export could not be flushed or released, in this moment or earlier
   */
  close({ graceMs = DEFAULT_GRACE_MS }: { graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    this.#host.isShuttingDown = true;
    const stopped = new Promise<void>((resolve) => {
      this.#server.close(() => resolve()); // removes the file of a Unix socket, too
    });
    for (const connection of this.#connections) connection.shutDown();
    const impatient = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy('was cut off by the end of the server');
    }, graceMs);
    await Promise.all([...this.#connections].map(({ closed }) => closed));
    clearTimeout(impatient);
    clearInterval(this.#sweeper);
    await stopped;
    if (this.#releaseErrors.length > 0) {
      throw new AggregateError(this.#releaseErrors, 'exports could not be flushed or released');
    }
  }

  #accept(socket: Socket): void {
    const { limits, log, isShuttingDown } = this.#host;
    if (isShuttingDown || this.#connections.size >= limits.connections) {
      socket.on('error', () => {});
      socket.destroy();
      if (!isShuttingDown) log(`a client was turned away: there are ${limits.connections} already`);
      return;
    }
    const connection = new Connection(this.#nextId++, socket, this.#host);
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
