/**
 * `npm run bench` (or `pnpm bench`) at the root: our figures beside those of the peers, in one run on one machine.
 *
 *   core      btree lookup, insert, walk and one-key commits beside lmdb            core/core-suite.ts
 *   store     the embedded store beside lmdb, better-sqlite3 and classic-level      store/store-suite.ts
 *   tools     thin_check, thin_dump, thin_restore beside the real 1.1.0 and 0.9.0   pools/pools-suite.ts
 *   memory    the largest memory of those, for pools of several sizes               pools/pools-suite.ts
 *   nbd       a thin volume over NBD beside qemu-nbd on qcow2                       nbd/nbd-suite.ts
 *   snapshot  a snapshot of a volume of 1 TiB, and of 1 GiB                         nbd/snapshot-suite.ts
 *   clone     hydration from file to file beside qemu-img convert                  clone/clone-suite.ts
 *   mirror    writes to a mirror of two files beside writing both directly          mirror/mirror-suite.ts
 *
 * A contender that is missing is named and left out. Every figure comes with a hash of what was computed.
 * Non-goals: figures to compare across machines, or taken on a machine that has something else to do.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cloneTable, measureClones } from './clone/clone-suite.js';
import { benchmarkCore } from './core/core-suite.js';
import { measureMirror, mirrorTable } from './mirror/mirror-suite.js';
import { pdataServer, qemuServer, servePool } from './nbd/disk-servers.js';
import { fullCacheTable, measureFullCache } from './nbd/full-cache.js';
import { measureNbd, missingForNbd, nbdTable } from './nbd/nbd-suite.js';
import { measureSnapshots, snapshotTable } from './nbd/snapshot-suite.js';
import { measureMemory, measureTimes, memoryTable, type PoolsSuiteOptions, timesTable } from './pools/pools-suite.js';
import { randomPool } from './pools/random-pools.js';
import { cacheDirectory, ourPrograms, realPrograms } from './pools/thin-tools.js';
import { heading } from './report.js';
import { benchmarkStore } from './store/store-suite.js';

const USAGE = `usage: pnpm bench [OPTIONS]
  --only core,store,tools,memory,nbd,snapshot,clone,mirror   only these (default: all)
  --runs N                    runs of each work and contender (default 5; memory 3 at most)
  --keys N                    keys of the core operations and of the store (default 1000000)
  --mappings N                mappings of the pool that is timed (default 4000000)
  --memory-mappings N,N,…     pools whose memory is measured (default 1000000,4000000,8000000)
  --disk MIB                  disk that is served over NBD (default 4096)
  --seconds N                 of each work over NBD that goes on for a time (default 5)
  --volume GIB,GIB,…          full volumes that are snapshotted (default 1,1024)
  --image MIB                 image that is cloned (default 4096)
  --legs MIB                  legs of the mirror (default 512)
  --seed N                    default 1
  --cache DIR                 where the pools lie (default: pdata/bench in the user's cache directory)
  --work DIR                  where stores and outputs are written (default: the same); on another kind of disk, or none
  --without NAME              leave a contender out: 0.9.0 or 1.1.0; may be repeated`;

const SUITES = ['core', 'store', 'tools', 'memory', 'nbd', 'snapshot', 'clone', 'mirror'];

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: process.argv.slice(2).filter((argument) => argument !== '--'),
    options: {
      only: { type: 'string', default: SUITES.join() },
      runs: { type: 'string', default: '5' },
      keys: { type: 'string', default: '1000000' },
      mappings: { type: 'string', default: '4000000' },
      'memory-mappings': { type: 'string', default: '1000000,4000000,8000000' },
      disk: { type: 'string', default: '4096' },
      seconds: { type: 'string', default: '5' },
      volume: { type: 'string', default: '1,1024' },
      image: { type: 'string', default: '4096' },
      legs: { type: 'string', default: '512' },
      seed: { type: 'string', default: '1' },
      cache: { type: 'string', default: join(cacheDirectory(), 'bench') },
      work: { type: 'string' },
      without: { type: 'string', multiple: true, default: [] },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const suites = values.only.split(',');
  for (const suite of suites) if (!SUITES.includes(suite)) throw new UsageError(`--only ${suite}: no such suite`);
  const [runs, seed] = [count('--runs', values.runs), count('--seed', values.seed)];

  mkdirSync(values.cache, { recursive: true });
  const directory = mkdtempSync(join(values.work ?? values.cache, 'pdata-work-'));
  removeAtEnd(directory);
  const progress = (text: string): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  };
  const show = (text: string): void => {
    progress('');
    console.log(`\n${text}`);
  };
  console.log(heading(['pnpm bench', ...process.argv.slice(2)].join(' '), runs, seed));
  if (suites.includes('core')) {
    show(benchmarkCore({ nrKeys: count('--keys', values.keys), nrCommits: 100, runs, seed, directory, progress }));
  }
  if (suites.includes('store')) {
    show(await benchmarkStore({ nrKeys: count('--keys', values.keys), runs, seed, directory, progress }));
  }
  const real = (['1.1.0', '0.9.0'] as const).filter((name) => !values.without.includes(name)).map(realPrograms);
  const contenders = [ourPrograms(), ...real];
  const maker = real.find(({ name, missing }) => name === '1.1.0' && missing === undefined) ?? ourPrograms();
  const pool = (nrMappings: number): ReturnType<typeof randomPool> => {
    progress(`making a pool of ${nrMappings} mappings`);
    return randomPool(values.cache, nrMappings, seed, maker);
  };
  const options: PoolsSuiteOptions = { contenders, runs, directory, progress };
  if (suites.includes('tools')) {
    const timed = await pool(count('--mappings', values.mappings));
    show(timesTable(timed, await measureTimes(timed, options), options));
  }
  if (suites.includes('memory')) {
    const pools = [];
    for (const size of values['memory-mappings'].split(',')) pools.push(await pool(count('--memory-mappings', size)));
    const fewer = { ...options, runs: Math.min(runs, 3) };
    show(memoryTable(await measureMemory(pools, fewer), fewer));
  }
  if (suites.includes('nbd')) {
    const missing = missingForNbd();
    if (missing !== undefined) show(`nbd: n/a: ${missing}`);
    else {
      const served = {
        contenders: [pdataServer(directory), qemuServer(directory)],
        runs: Math.min(runs, 5),
        seed,
        size: count('--disk', values.disk) * 1024 ** 2,
        seconds: count('--seconds', values.seconds),
        progress,
      };
      show(nbdTable(await measureNbd(served), served));
    }
  }
  if (suites.includes('snapshot')) {
    progress('making full volumes');
    const sizes = values.volume.split(',').map((size) => count('--volume', size) * 1024 ** 3);
    show(snapshotTable(await measureSnapshots(sizes, 20, values.cache)));
    const missing = missingForNbd();
    const seconds = 2 * count('--seconds', values.seconds);
    const full = { size: Math.max(...sizes), cache: values.cache, directory, seconds, serve: servePool };
    show(missing === undefined ? fullCacheTable(await measureFullCache(full)) : `memory: n/a: ${missing}`);
  }
  if (suites.includes('clone')) {
    const cloned = { size: count('--image', values.image) * 1024 ** 2, runs, seed, directory, progress };
    show(cloneTable(measureClones(cloned), cloned));
  }
  if (suites.includes('mirror')) {
    const mirrored = { directory, size: count('--legs', values.legs) * 1024 ** 2, runs, seed, progress };
    show(mirrorTable(await measureMirror([64 * 1024, 1024 ** 2], mirrored), mirrored));
  }
}

/** Whatever ends this process, but a kill: images of gigabytes in memory would stay there. */
function removeAtEnd(directory: string): void {
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
}

class UsageError extends Error {}

function count(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new UsageError(`${option} takes a whole number from 1 on, not ${text}`);
  return value;
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  console.error(isUsage ? `${(error as Error).message}\n\n${USAGE}` : error);
  process.exitCode = isUsage ? 2 : 1;
}
