/**
 * From an address to a server that has been greeted, over TLS when asked.
 *
 * The whole of it, up to the end of the handshake, has one deadline: a server that accepts and says nothing is as useless
 * as one that is not there. What the system refuses is a `DeviceOpenError` that says what to look at.
 */
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions as TlsConnectionOptions } from 'node:tls';
import { DeviceOpenError, StoreError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';
import { NBD_DEFAULT_PORT } from '../protocol/constants.js';
import { formatNbdUri, type NbdTarget, parseNbdUri } from '../uri.js';
import { NbdTimeoutError } from './errors.js';
import { Handshake } from './handshake.js';
import { Incoming } from './incoming.js';

export interface OpenOptions {
  /**
   * Demand TLS: `true` trusts what the system trusts; an object is given to Node's `tls.connect` (ca, cert, key,
   * servername…). Without it nothing is encrypted. A server that does not offer TLS is then refused: there is no falling back.
   */
  readonly tls?: boolean | TlsConnectionOptions;
  /** Ms until the server must have agreed to an export; 10 000 unless given. */
  readonly connectMs?: number;
}

/** Where and how: an address, or a URI that names both, and perhaps an export. */
export interface Destination {
  readonly target: NbdTarget;
  readonly exportName: string;
  readonly tls: TlsConnectionOptions | undefined;
  /** For messages. */
  readonly uri: string;
}

/** Joins what a URI says with the options, which win. */
export function destinationOf(
  target: NbdTarget | string,
  { exportName, tls }: { readonly exportName?: string | undefined; readonly tls?: OpenOptions['tls'] },
): Destination {
  const uri = typeof target === 'string' ? parseNbdUri(target) : { target, exportName: '', tls: false };
  const meant = { ...uri, exportName: exportName ?? uri.exportName, tls: uri.tls || (tls ?? false) !== false };
  const trust =
    'tlsCertificates' in uri && uri.tlsCertificates !== undefined ? certificatesIn(uri.tlsCertificates) : {};
  const hostname = 'tlsHostname' in uri && uri.tlsHostname !== undefined ? { servername: uri.tlsHostname } : {};
  return {
    target: uri.target,
    exportName: meant.exportName,
    tls: meant.tls ? { ...trust, ...hostname, ...(typeof tls === 'object' ? tls : {}) } : undefined,
    uri: formatNbdUri(meant),
  };
}

/** As libnbd and nbdkit lay them out. */
function certificatesIn(directory: string): TlsConnectionOptions {
  const read = (name: string): Buffer | undefined => {
    try {
      return readFileSync(join(directory, name));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && name !== 'ca-cert.pem') return undefined;
      throw new DeviceOpenError(
        `cannot read the certificate ${join(directory, name)}: ${systemProblem(cause) ?? (cause as Error).message}`,
        {
          cause,
        },
      );
    }
  };
  const [ca, cert, key] = [read('ca-cert.pem'), read('client-cert.pem'), read('client-key.pem')];
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** A server that was greeted and agreed to what was asked. */
export interface OpenedConnection<Result> {
  readonly socket: Socket;
  /** What comes from it, with all that has come and was not taken. */
  readonly incoming: Incoming;
  readonly result: Result;
}

/**
 * Connects, greets, begins TLS, and has `haggle` do the rest.
 * @throws DeviceOpenError, {@link NbdProtocolError}
 */
export async function openConnection<Result>(
  { target, tls, uri }: Destination,
  { connectMs = 10_000 }: OpenOptions,
  haggle: (handshake: Handshake) => Promise<Result>,
): Promise<OpenedConnection<Result>> {
  const address =
    'socketPath' in target
      ? { path: target.socketPath }
      : { host: target.host, port: target.port ?? NBD_DEFAULT_PORT, noDelay: true };
  const plain = tls === undefined ? Incoming.connect(address) : waitingFor(createConnection(address));
  let { socket, incoming } = plain;
  let overdue: NbdTimeoutError | undefined;
  const deadline = setTimeout(() => {
    overdue = new NbdTimeoutError(`${uri}: no NBD server has answered within ${connectMs / 1000} s`);
    socket.destroy(overdue);
  }, connectMs);
  const send = (bytes: Uint8Array): void => void socket.write(bytes);
  try {
    await happens(socket, 'connect');
    let handshake = new Handshake(incoming, send, uri);
    await handshake.greet();
    if (tls !== undefined) {
      await handshake.startTls();
      const servername = 'host' in target && !/^[\d.]+$|:/.test(target.host) ? { servername: target.host } : {};
      socket.removeAllListeners('data');
      socket = connectTls({ minVersion: 'TLSv1.2', ...servername, ...identityOf(target), ...tls, socket });
      await happens(socket, 'secureConnect');
      incoming = Incoming.from(socket);
      handshake = handshake.over(incoming, send);
    }
    return { socket, incoming, result: await haggle(handshake) };
  } catch (error) {
    socket.on('error', () => {}); // it is being thrown away; what else it complains of interests nobody
    socket.destroy();
    if (overdue !== undefined) throw new DeviceOpenError(overdue.message, { cause: overdue });
    if (error instanceof StoreError) throw error;
    throw new DeviceOpenError(`cannot connect to ${uri}: ${systemWords(error as NodeJS.ErrnoException)}`, {
      cause: error,
    });
  } finally {
    clearTimeout(deadline);
  }
}

const waitingFor = (socket: Socket): { socket: Socket; incoming: Incoming } => ({
  socket,
  incoming: Incoming.from(socket),
});

/** A certificate is checked against the host's name; behind a Unix socket there is none unless the caller gives it. */
const identityOf = (target: NbdTarget): TlsConnectionOptions =>
  'host' in target ? { host: target.host } : { host: 'localhost' };

function happens(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      socket.off(event, onEvent).off('error', settle).off('close', onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onEvent = (): void => settle();
    const onClose = (): void => settle(new Error('the server closed the connection'));
    socket.once(event, onEvent).once('error', settle).once('close', onClose);
  });
}

function systemWords(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return 'no such socket; is the server running, and the path right?';
    case 'ECONNREFUSED':
      return 'nobody listens there; is the server running?';
    default:
      return systemProblem(error) ?? error.message;
  }
}
