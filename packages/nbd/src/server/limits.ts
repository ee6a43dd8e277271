/**
 * What a client may cost. With these the memory of a server has a bound, whatever its clients do:
 * `connections` × (`optionSize` + one largest payload) + `inFlightBytes` for all of them.
 */
import { DEFAULT_MAX_PAYLOAD } from '../protocol/constants.js';

export interface NbdServerLimits {
  /** Connections at a time; one more is closed at once. Default 128. */
  readonly connections: number;
  /** From being accepted to the first request, TLS included, in ms. Default 10 000. */
  readonly handshakeMs: number;
  /** Silence in the middle of a request, in ms. Between requests a client may be silent for ever. Default 30 000. */
  readonly stallMs: number;
  /** Bytes of data of one option; more are read, dropped and refused. Default 65 536. */
  readonly optionSize: number;
  /** Bytes that one READ or WRITE moves; told to clients. Default 33 554 432, which a client may assume untold. */
  readonly payload: number;
  /** Requests of one connection that are not yet answered, or whose answer is not yet sent. Default 256. */
  readonly requestsInFlight: number;
  /** Bytes of payload in such requests, of one connection; a single request may always go. Default 64 MiB. */
  readonly bytesInFlight: number;
  /** The same for all connections together; above it, each connection has one request at a time. Default 256 MiB. */
  readonly totalBytesInFlight: number;
}

export const DEFAULT_LIMITS: NbdServerLimits = {
  connections: 128,
  handshakeMs: 10_000,
  stallMs: 30_000,
  optionSize: 65_536,
  payload: DEFAULT_MAX_PAYLOAD,
  requestsInFlight: 256,
  bytesInFlight: 64 * 2 ** 20,
  totalBytesInFlight: 256 * 2 ** 20,
};

/** @throws RangeError for a limit that is not a number above 0, or a payload no client could live with */
export function limitsOf(given: Partial<NbdServerLimits> = {}): NbdServerLimits {
  const limits = { ...DEFAULT_LIMITS };
  for (const [name, value] of Object.entries(given) as [keyof NbdServerLimits, number | undefined][]) {
    if (value === undefined) continue;
    if (!(name in limits)) throw new RangeError(`there is no limit "${name}"`);
    if (!(value > 0)) throw new RangeError(`the limit "${name}" is ${value}, expected a number above 0`);
    limits[name] = value;
  }
  if (limits.payload < 65_536 || limits.payload > 2 ** 30 || !Number.isInteger(limits.payload)) {
    throw new RangeError(`the limit "payload" is ${limits.payload}, expected 65536 to 1073741824 bytes`);
  }
  return limits;
}
