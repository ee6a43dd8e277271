/** serve: the pool stays open, for NBD clients, other commands and a browser, until SIGINT or SIGTERM. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { certificateProblem, type NbdListenTarget } from '@pdata/nbd';
import { type Arguments, type Command, UsageError } from '../command-line/command.js';
import { connectToHost } from '../control/remote-host.js';
import { formatOf } from '../pool/pool-directory.js';
import { type ServeOptions, servePool } from '../serve/serve-pool.js';
import { fileError, PoolError, quoted } from '../words/pool-error.js';
import { plural } from '../words/sizes.js';
import { DIR, operand, portOption } from './operands.js';
import { onceFree } from './with-pool.js';

export const serveCommand: Command = {
  name: 'serve',
  summary: 'Serve all volumes over NBD, and a live page, until interrupted.',
  operands: [DIR],
  options: {
    socket: { kind: 'value', placeholder: 'PATH', help: 'Unix socket for NBD; default: nbd.sock in the pool.' },
    port: { kind: 'value', short: 'p', placeholder: 'N', help: 'Serve NBD on this TCP port instead; 0: any free one.' },
    host: {
      kind: 'value',
      placeholder: 'ADDRESS',
      help: 'With --port: the address; default 127.0.0.1. Any other wants TLS, or --insecure.',
    },
    'tls-cert': { kind: 'value', placeholder: 'FILE', help: 'Certificate (PEM): clients must use TLS.' },
    'tls-key': { kind: 'value', placeholder: 'FILE', help: 'Its key (PEM).' },
    'tls-ca': {
      kind: 'value',
      placeholder: 'FILE',
      help: 'Serve only clients whose certificate one of these (PEM) vouches for.',
    },
    insecure: {
      kind: 'flag',
      help: 'Serve other machines without TLS: anybody on the network can read and write the volumes.',
    },
    'read-only': { kind: 'flag', short: 'r', help: 'NBD clients cannot write.' },
    'page-port': { kind: 'value', placeholder: 'N', help: 'Port of the page on 127.0.0.1; default: any free one.' },
    'no-page': { kind: 'flag', help: 'No page.' },
  },
  notes: `Volumes are exported under their names; snapshots can only be read. For each snapshot an export has the metadata context
qemu:dirty-bitmap:SNAPSHOT: what changed since. Other commands work on the pool meanwhile. Examples:
  nbdinfo --list "nbd+unix:///?socket=mypool/nbd.sock"
  nbdcopy "nbd+unix:///disk?socket=mypool/nbd.sock" disk.raw
  qemu-img map -f raw "nbd+unix:///disk?socket=mypool/nbd.sock"`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    const options = serveOptions(args);
    const { signal } = io; // from here on a signal means a clean end
    formatOf(directory);
    await refuseServed(directory); // at once: whoever serves will not be done in a moment
    const served = await onceFree(async () => {
      signal.throwIfAborted();
      await refuseServed(directory); // another one may have been quicker
      return await servePool(directory, { ...options, log: (line) => io.err(`${line}\n`) });
    });
    served.host.onEvent(({ kind, message }) => {
      if (kind === 'space' || kind === 'mode' || kind === 'error') io.err(`${message}\n`);
    });
    const volumes = await served.host.volumes();
    await io.out(`Serving ${plural(volumes.length, 'volume')} of ${directory}; end with Ctrl-C.\n`);
    await io.out(`NBD   ${served.uri()}\n`);
    if (isOpenToNetwork(options)) {
      io.err(
        'Whoever reaches this address can read and write the volumes; --tls-ca admits only clients you gave a certificate.\n',
      );
    }
    if (served.pageUrl !== undefined) await io.out(`Page  ${served.pageUrl}\n`);
    if (!signal.aborted) await once(signal, 'abort');
    await served.close();
    await io.out('Ended: everything is committed.\n');
    return 0;
  },
};

async function refuseServed(directory: string): Promise<void> {
  const other = await connectToHost(directory);
  if (other === undefined) return;
  const { serving } = await other.status();
  await other.close();
  throw new PoolError(
    'ERR_POOL_BUSY',
    `the pool is being served already, by process ${serving?.processId ?? '(unknown)'}`,
  );
}

/** @throws {@link UsageError} for options that do not fit, or that would let in who does not belong */
export function serveOptions(args: Arguments): ServeOptions {
  const { socket, host, 'tls-cert': cert, 'tls-key': key, 'tls-ca': ca } = args.values;
  const port = portOption(args, 'port');
  const pagePort = portOption(args, 'page-port');
  if (socket !== undefined && port !== undefined) throw new UsageError('--socket and --port exclude each other');
  if (host !== undefined && port === undefined) throw new UsageError('--host goes with --port');
  if ((cert === undefined) !== (key === undefined)) throw new UsageError('--tls-cert and --tls-key go together');
  if (ca !== undefined && cert === undefined) throw new UsageError('--tls-ca goes with --tls-cert and --tls-key');
  if (pagePort !== undefined && args.flags.has('no-page'))
    throw new UsageError('--page-port and --no-page exclude each other');
  if (host !== undefined && !isLoopback(host) && cert === undefined && !args.flags.has('insecure')) {
    throw new UsageError(
      `--host ${host} lets other machines in: protect it with --tls-cert and --tls-key, or say --insecure if everybody on the network may read and write the volumes`,
    );
  }
  const listen: NbdListenTarget | undefined =
    socket !== undefined
      ? { socketPath: socket }
      : port !== undefined
        ? { port, ...(host === undefined ? {} : { host }) }
        : undefined;
  return {
    ...(listen === undefined ? {} : { listen }),
    ...(cert === undefined || key === undefined ? {} : { tls: readTls(cert, key, ca) }),
    readOnly: args.flags.has('read-only'),
    page: args.flags.has('no-page') ? false : (pagePort ?? 0),
  };
}

/** TLS keeps others from listening in; without certificates for clients it keeps nobody out. */
const isOpenToNetwork = ({ listen, tls }: ServeOptions): boolean =>
  listen !== undefined && 'port' in listen && !isLoopback(listen.host ?? '127.0.0.1') && tls?.ca === undefined;

/** A name may mean anything tomorrow; only "localhost" is taken at its word. */
const isLoopback = (host: string): boolean =>
  host === 'localhost' || (isIP(host) === 4 && host.startsWith('127.')) || host === '::1';

function readTls(cert: string, key: string, ca: string | undefined): NonNullable<ServeOptions['tls']> {
  const tls = { cert: readPem(cert), key: readPem(key), ...(ca === undefined ? {} : { ca: readPem(ca) }) };
  try {
    createSecureContext(tls);
  } catch (error) {
    const files = [cert, key, ...(ca === undefined ? [] : [ca])].map(quoted).join(', ');
    throw new PoolError('ERR_FILE', `TLS cannot be served with ${files}: ${certificateProblem(error)}`, {
      cause: error,
    });
  }
  return tls;
}

function readPem(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('read', path, error);
  }
}
