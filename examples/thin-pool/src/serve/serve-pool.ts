/**
 * A pool that is kept open and served: to NBD clients, to other commands, and to a browser.
 *
 * The end: no new clients; what is in flight is finished and answered; commands are hung up on; then the pool commits and closes.
 * A write that waits for space is given up after a few seconds: it was not answered, and nothing can be waited for that long.
 */
import { join, resolve } from 'node:path';
import { ClosedError } from '@pdata/device';
import { formatNbdUri, type NbdListenTarget, NbdServer } from '@pdata/nbd';
import { type ControlServer, listenForCommands } from '../control/control-server.js';
import { LocalPoolHost } from '../pool/local-host.js';
import { startWebPage } from '../web/web-page.js';
import { PoolError } from '../words/pool-error.js';
import { PoolExports } from './pool-exports.js';

export interface ServeOptions {
  /** Default: the socket `nbd.sock` in the pool's directory. */
  readonly listen?: NbdListenTarget;
  /** PEM texts. With them nobody is served without TLS; with `ca`, only clients that have a certificate which it vouches for. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
  readonly readOnly?: boolean;
  /** The page's port, 0: any free one; `false`: no page. */
  readonly page?: number | false;
  /** One line each, about clients that were cut off and requests that failed. */
  readonly log?: (line: string) => void;
  /** How long, at the end, clients may finish what they have begun, milliseconds. Default 5000. */
  readonly graceMs?: number;
}

export interface ServedPool {
  readonly host: LocalPoolHost;
  /** For a volume's name, or without it: as in status. */
  uri(name?: string): string;
  readonly pageUrl: string | undefined;
  close(): Promise<void>;
}

export const NBD_SOCKET = 'nbd.sock';
const GRACE_MS = 5000;

/** @throws StoreError when the pool cannot be opened, or nobody can be listened to there; nothing stays open then */
export async function servePool(directory: string, options: ServeOptions = {}): Promise<ServedPool> {
  const host = await LocalPoolHost.open(directory);
  const since = Date.now();
  const { graceMs = GRACE_MS } = options;
  let hasGivenUp = false;
  const opened: (() => Promise<void>)[] = [() => host.close()];
  const close = async (): Promise<void> => {
    const errors: unknown[] = [];
    const impatient = setInterval(() => {
      hasGivenUp = true;
      void host.giveUpVolumes();
    }, graceMs);
    for (const end of opened.splice(0).reverse()) await end().catch((error: unknown) => errors.push(error));
    clearInterval(impatient);
    const causes = errors.flatMap((error) => (error instanceof AggregateError ? (error.errors as unknown[]) : [error]));
    // A volume that was closed here cannot be flushed as the NBD server would: the pool's last commit did it.
    const failures = hasGivenUp ? causes.filter((error) => !(error instanceof ClosedError)) : causes;
    if (failures.length > 0) throw closeError(failures);
  };
  try {
    const control: ControlServer = await listenForCommands(host);
    opened.push(() => control.close());
    const exports = new PoolExports(host, {
      readOnly: options.readOnly === true,
      tell: (message, volume) => host.tellClients(message, volume),
    });
    const nbd = await NbdServer.listen({
      exports,
      listen: options.listen ?? { socketPath: join(host.directory, NBD_SOCKET) },
      ...(options.tls === undefined
        ? {}
        : {
            tls: {
              ...options.tls,
              mode: 'require',
              ...(options.tls.ca === undefined ? {} : { requestCert: true }),
            },
          }),
      log: (line) => {
        if (hasGivenUp) return; // what was closed here cannot be flushed or answered there
        host.tellClients(line);
        options.log?.(line);
      },
    });
    opened.push(() => nbd.close({ graceMs }));
    // Whoever asks, from whichever directory, can connect to it.
    const target = 'socketPath' in nbd.address ? { socketPath: resolve(nbd.address.socketPath) } : nbd.address;
    const uri = (exportName = ''): string => formatNbdUri({ target, exportName, tls: options.tls !== undefined });
    host.serving = () => ({ processId: process.pid, since, nbd: uri(), clients: nbd.clients.length });
    let pageUrl: string | undefined;
    if (options.page !== false) {
      const page = await startWebPage({
        host,
        ...(options.page === undefined ? {} : { port: options.page }),
        ...(options.log === undefined ? {} : { log: options.log }),
      });
      opened.push(() => page.close());
      pageUrl = page.url;
    }
    return { host, uri, pageUrl, close };
  } catch (error) {
    await close().catch(() => undefined); // the first error says what went wrong
    throw error;
  }
}

/** What went wrong at the end, in one sentence, whatever each part of it was wrapped in. */
function closeError(errors: readonly unknown[]): PoolError {
  const sentences = errors.map((error) => (error instanceof Error ? error.message : String(error)));
  return new PoolError('ERR_CLOSE', `not everything could be committed at the end: ${sentences.join('; ')}`, {
    cause: errors[0],
  });
}
