/**
 * Where a server listens, and who may come in, from the options of the command line.
 *
 * A Unix socket is guarded by the permissions of its file, a port on the loopback address by being reachable from this machine
 * alone. Any other address is open to a network: there it takes TLS, or somebody who says that he wants it otherwise.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { systemProblem } from '@pdata/device/node';
import { flag, InvalidValue, type ParsedOptions, type ParseValue, value } from '../command-line/option-table.js';
import { anyText, u32 } from '../command-line/value-types.js';
import { USAGE } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';

/** The port that IANA gave to NBD. */
export const NBD_PORT = 10809;
const LOOPBACK = '127.0.0.1';

const portNr: ParseValue<number> = (text) => {
  const port = u32(text);
  if (port > 65535) throw new InvalidValue(`${port} is not in 0..=65535`);
  return port;
};

/** The options of every command that serves. */
export const addressOptions = {
  socket: value(anyText, {
    placeholder: 'PATH',
    help: 'Listen on this Unix socket, which only its owner may use.',
    conflictsWith: ['port', 'host'],
  }),
  port: value(portNr, {
    placeholder: 'N',
    help: `Listen on this TCP port; 0 for any that is free [default: ${NBD_PORT}, unless there is --socket].`,
  }),
  host: value(anyText, {
    placeholder: 'ADDRESS',
    help: `Listen on this address [default: ${LOOPBACK}]. One that others can reach needs TLS, or --insecure.`,
  }),
  'tls-cert': value(anyText, {
    placeholder: 'FILE',
    help: 'Demand TLS, and show this certificate (PEM) to clients.',
  }),
  'tls-key': value(anyText, { placeholder: 'FILE', help: 'The key of the certificate (PEM).' }),
  'tls-ca': value(anyText, {
    placeholder: 'FILE',
    help: 'Admit only clients with a certificate that one of these (PEM) vouches for.',
  }),
  insecure: flag({
    help: 'Listen without TLS on an address that others can reach: whoever reaches it reads and writes.',
    conflictsWith: ['tls-cert', 'tls-key', 'tls-ca', 'socket'],
  }),
} as const;

export interface ServeAddress {
  readonly listen: { readonly socketPath: string } | { readonly host: string; readonly port: number };
  /** TLS is then demanded of every client. PEM. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly ca?: Buffer; readonly requestCert?: true };
  /** What the user should know about who can get in. */
  readonly warning?: string;
}

/** @throws {@link ToolError} for options that do not go together, and for files that cannot be read */
export function serveAddress(options: ParsedOptions<typeof addressOptions>): ServeAddress {
  const { socket, port = NBD_PORT, host = LOOPBACK, 'tls-cert': cert, 'tls-key': key, 'tls-ca': ca } = options;
  if ((cert === undefined) !== (key === undefined)) {
    throw usageError(
      cert === undefined
        ? 'there is a --tls-key without its --tls-cert'
        : 'there is a --tls-cert without its --tls-key',
      'give both',
    );
  }
  if (ca !== undefined && cert === undefined) {
    throw usageError('there is a --tls-ca without TLS', 'give --tls-cert and --tls-key too');
  }
  if (socket === '' || host === '') throw usageError(`--${socket === '' ? 'socket' : 'host'} is empty`, 'give a value');
  const isOpen = socket === undefined && !isLoopback(host);
  if (isOpen && cert === undefined && !options.insecure) {
    throw usageError(
      `anybody who can reach ${host} could read and write what is served`,
      'ask who they are: --tls-cert FILE --tls-key FILE --tls-ca FILE; or leave --host out, and let clients come through a tunnel (ssh -L); or ' +
        'say --insecure',
    );
  }
  if (options.insecure && !isOpen) {
    throw usageError(`--insecure, but ${host} can be reached from this machine alone`, 'leave --insecure out');
  }
  const listen = socket === undefined ? { host, port } : { socketPath: socket };
  if (cert === undefined || key === undefined) {
    return options.insecure
      ? { listen, warning: `whoever reaches ${host} can read and write, and listen in` }
      : { listen };
  }
  const tls = {
    cert: pem('--tls-cert', cert),
    key: pem('--tls-key', key),
    ...(ca === undefined ? {} : { ca: pem('--tls-ca', ca), requestCert: true as const }),
  };
  if (!isOpen || ca !== undefined) return { listen, tls };
  return {
    listen,
    tls,
    warning: `clients are not asked who they are: whoever reaches ${host} can read and write; --tls-ca admits only those whose certificate it vouches for`,
  };
}

const usageError = (message: string, nextStep: string): ToolError =>
  new ToolError('ERR_USAGE', message, { nextStep }, { exitCode: USAGE });

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

function pem(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const problem = systemProblem(cause);
    if (problem === undefined) throw cause;
    throw new ToolError(
      'ERR_NO_INPUT',
      `cannot read '${path}' (${option}): ${problem}`,
      { nextStep: 'check the path, and that you have the permission to read it' },
      { cause },
    );
  }
}
