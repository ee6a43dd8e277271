/**
 * Opening a remote disk, and asking a server what it has.
 */
import { DeviceOpenError } from '@pdata/device';
import { BASE_ALLOCATION, TRANSMISSION_FLAG } from '../protocol/constants.js';
import type { NbdTarget } from '../uri.js';
import { NbdConnection } from './connection.js';
import { NbdProtocolError } from './errors.js';
import type { Negotiated } from './handshake.js';
import { NbdDataDevice } from './nbd-data-device.js';
import { destinationOf, type OpenOptions, openConnection } from './open-connection.js';

export interface NbdClientOptions extends OpenOptions {
  /** Which export; the URI's, or the server's default "". */
  readonly exportName?: string;
  /** How many connections to use where the server says that several work as one: 1 to 16, 1 unless given. */
  readonly connections?: number;
  /** Refuse writes, also where the server would take them. */
  readonly readOnly?: boolean;
  /** For messages; the URI unless given. */
  readonly name?: string;
  /** Metadata contexts besides `base:allocation`, such as "qemu:dirty-bitmap:monday"; a server without one of them is an error. */
  readonly contexts?: readonly string[];
  /** Ms that the server may owe an answer, before it is given up; 60 000 unless given. */
  readonly replyMs?: number;
  /** Requests in flight on a connection; 64 unless given. */
  readonly maxInFlight?: number;
  /** Believe a server without FLUSH that what it answered is durable, instead of failing each flush. */
  readonly trustWithoutFlush?: boolean;
}

/** Payloads on their way on one connection: enough to fill a fast line, little enough to hold in memory. */
const MAX_BYTES_IN_FLIGHT = 2 ** 23;

/**
 * Opens an export of an NBD server as a data device.
 *
 * @param target an address, or an NBD URI ("nbd+unix:///vol?socket=/run/nbd.sock"), which may also name the export and TLS
 * @throws DeviceOpenError when the server cannot be reached, lacks the export or a context, or refuses
 * @throws {@link NbdProtocolError} when what answers does not speak NBD
 * @throws {@link NbdUriError}
 * @example const disk = await connectNbd('nbd://backup.example/disk0', { connections: 4 });
 */
export async function connectNbd(target: NbdTarget | string, options: NbdClientOptions = {}): Promise<NbdDataDevice> {
  const { connections: wanted = 1, contexts = [], replyMs = 60_000, maxInFlight = 64 } = options;
  requireNumber('connections', wanted, 16);
  requireNumber('replyMs', replyMs, 2 ** 31 - 1);
  requireNumber('maxInFlight', maxInFlight, 65_536);
  const destination = destinationOf(target, options);
  const name = options.name ?? destination.uri;
  const wish = { exportName: destination.exportName, contexts: [...new Set([BASE_ALLOCATION, ...contexts])] };
  const connections: NbdConnection[] = [];
  const open = async (): Promise<NbdConnection> => {
    const opened = await openConnection(destination, options, (handshake) => handshake.enter(wish));
    return new NbdConnection(opened, {
      name,
      replyMs,
      maxInFlight,
      maxBytesInFlight: MAX_BYTES_IN_FLIGHT,
      onDeath: ({ message, cause }) => {
        for (const other of connections) other.die(withoutName(message, name), cause);
      },
    });
  };
  const closeAll = async (): Promise<void> => {
    await Promise.all(connections.map((connection) => connection.leave()));
  };

  connections.push(await open());
  const first = connections[0]!.negotiated;
  try {
    const missing = contexts.find((context) => !first.contexts.has(context));
    if (missing !== undefined)
      throw new DeviceOpenError(
        first.structured
          ? `${name}: the server has no metadata context "${missing}" for this export`
          : `${name}: the server has no structured replies, and so no metadata context "${missing}"`,
      );
    if ((first.flags & TRANSMISSION_FLAG.CAN_MULTI_CONN) !== 0)
      while (connections.length < wanted) {
        connections.push(await open());
        requireSame(first, connections.at(-1)!.negotiated, name);
      }
  } catch (error) {
    await closeAll();
    throw error;
  }
  const { readOnly = false, trustWithoutFlush = false } = options;
  return new NbdDataDevice({ name, connections, readOnly, trustWithoutFlush });
}

/** What a server lists. */
export interface NbdListedExport {
  /** "" is the default export. */
  readonly name: string;
  /** May be empty. */
  readonly description: string;
}

/**
 * The exports that a server lists; it may have others.
 * @throws DeviceOpenError when the server cannot be reached, or does not list its exports
 */
export async function listNbdExports(
  target: NbdTarget | string,
  options: OpenOptions = {},
): Promise<NbdListedExport[]> {
  const destination = destinationOf(target, options);
  const { socket, result } = await openConnection(destination, options, async (handshake) => {
    const exports = await handshake.list();
    handshake.abort();
    return exports;
  });
  socket.on('error', () => {}); // the list is here; how the server hangs up does not matter
  socket.destroySoon();
  return result;
}

/** All connections must show one disk, or a write on one would be read differently on another. */
function requireSame(first: Negotiated, other: Negotiated, name: string): void {
  const shown = ({ size, flags, structured, contexts, blockSize }: Negotiated): string =>
    JSON.stringify([size, flags, structured, [...contexts], blockSize.minimum, blockSize.preferred, blockSize.maximum]);
  if (shown(first) !== shown(other))
    throw new NbdProtocolError(
      `${name}: the server broke the NBD protocol: it shows one export differently on two connections (${shown(first)}, ${shown(other)})`,
    );
}

function requireNumber(what: string, value: number, maximum: number): void {
  if (!Number.isInteger(value) || value < 1 || value > maximum)
    throw new RangeError(`${what} must be a whole number from 1 to ${maximum}, not ${value}`);
}

const withoutName = (message: string, name: string): string =>
  message.startsWith(`${name}: `) ? message.slice(name.length + 2) : message;
