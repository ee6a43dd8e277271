/**
 * Opens an environment, and a pool if one is named, says "opened" or the error's code and message, and waits to be killed.
 *
 *   node open.mjs ENVIRONMENT MODE [POOL]
 */
import { LmdbEnvironment } from '@pdata/lmdb';

const [path, mode, poolName] = process.argv.slice(2);
try {
  const environment = LmdbEnvironment.open(path, { mode });
  if (poolName !== undefined) environment.openPool(poolName, { mode });
  process.stdout.write('opened\n');
  setInterval(() => {}, 1000);
} catch (error) {
  process.stdout.write(`${error.code} ${error.message}\n`);
}
