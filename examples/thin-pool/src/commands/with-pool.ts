/**
 * A pool for a command: by way of the process that serves it, if there is one; otherwise opened here.
 *
 * Another command may have it open for a moment, or `serve` may be just starting or ending: then this waits a little.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connectToHost } from '../control/remote-host.js';
import { LocalPoolHost } from '../pool/local-host.js';
import { formatOf } from '../pool/pool-directory.js';
import type { PoolHost } from '../pool-host.js';
import { PoolError } from '../words/pool-error.js';

const PATIENCE_MS = 10_000;

export async function openHost(directory: string): Promise<PoolHost> {
  formatOf(directory);
  return await onceFree(async () => {
    const remote = await connectToHost(directory);
    // A command does not wait for space: nobody would grow the pool meanwhile, because it holds it.
    return remote ?? (await LocalPoolHost.open(directory, { errorIfNoSpace: true }));
  });
}

/** Tries again for a while when a pool is busy. */
export async function onceFree<T>(attempt: () => Promise<T>): Promise<T> {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const isBusy = error instanceof PoolError && error.code === 'ERR_POOL_BUSY';
      if (!isBusy || Date.now() > until) throw error;
      await sleep(100);
    }
  }
}

/** Opens the pool, uses it, and closes it in any case: what was done is committed. */
export async function withPool<T>(directory: string, use: (host: PoolHost) => Promise<T>): Promise<T> {
  const host = await openHost(directory);
  let result: T;
  try {
    result = await use(host);
  } catch (error) {
    await host.close().catch(() => undefined); // the first error says what went wrong
    throw error;
  }
  await host.close();
  return result;
}
