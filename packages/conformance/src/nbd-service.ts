/** Our NBD server in this process, for real clients to judge: `await using service = await serveExports(…)`. */
import { join } from 'node:path';
import { formatNbdUri, type NbdExport, NbdServer, type NbdServerOptions } from '@pdata/nbd';
import { openScratch } from './scratch.js';

export interface NbdService extends AsyncDisposable {
  readonly server: NbdServer;
  readonly socketPath: string;
  /** What the server told of clients and requests that failed. */
  readonly logged: readonly string[];
  uri(exportName?: string): string;
}

/** Serves exports by name, on a Unix socket; each may be used by many clients and is not released but with the server. */
export async function serveExports(
  exports: Readonly<Record<string, NbdExport>>,
  { tls, limits }: Partial<Pick<NbdServerOptions, 'tls' | 'limits'>> = {},
): Promise<NbdService> {
  const scratch = openScratch();
  const socketPath = join(scratch.directory, 'nbd.sock');
  const logged: string[] = [];
  const server = await NbdServer.listen({
    listen: { socketPath },
    exports: {
      list: async () =>
        Object.entries(exports).map(([name, { description }]) =>
          description === undefined ? { name } : { name, description },
        ),
      open: async (name) => exports[name],
    },
    log: (line) => logged.push(line),
    ...(tls && { tls }),
    ...(limits && { limits }),
  });
  return {
    server,
    socketPath,
    logged,
    uri: (exportName = '') => formatNbdUri({ target: { socketPath }, exportName, tls: tls !== undefined }),
    [Symbol.asyncDispose]: async () => {
      await server.close();
      scratch[Symbol.dispose]();
    },
  };
}
