/**
 * What the server takes at most when all of its metadata cache is in use: random requests to a full volume whose metadata is many
 * times larger than the cache, so that each of them reads a leaf and pushes another one out.
 *
 * The data is a file without content, on which reads take nothing and writes of 4 KiB little.
 */
import { copyFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { limited, table } from '../report.js';
import type { PoolFiles, ServedDisk } from './disk-servers.js';
import { runFio } from './fio.js';
import { MEMORY_TARGET } from './nbd-suite.js';
import { fullPool } from './snapshot-suite.js';

export interface FullCacheOptions {
  /** Bytes of the volume. */
  readonly size: number;
  /** Where the full pool is kept. */
  readonly cache: string;
  readonly directory: string;
  /** Of random reads, and of random writes. */
  readonly seconds: number;
  readonly serve: (pool: PoolFiles) => Promise<ServedDisk>;
}

/** @returns bytes */
export async function measureFullCache({ size, cache, directory, seconds, serve }: FullCacheOptions): Promise<number> {
  const [metadata, data, socket] = ['full.meta', 'full.data', 'full.sock'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  copyFileSync(fullPool(size, cache), metadata);
  writeFileSync(data, '');
  truncateSync(data, 2 * size);
  try {
    const disk = await serve({ metadata, data, size, socket });
    try {
      for (const rw of ['randread', 'randwrite'] as const)
        await runFio(disk.uri, { rw, blockSize: 4096, size, depth: 16, seed: 1, seconds });
      return disk.peakMemory();
    } finally {
      await disk.stop();
    }
  } finally {
    for (const file of [metadata, data]) rmSync(file, { force: true });
  }
}

export function fullCacheTable(bytes: number): string {
  const { target, met } = limited(bytes / 1e6, MEMORY_TARGET / 1e6, ' MB');
  return table([
    ['memory at most', 'pdata', 'to reach', 'reached'],
    ['random I/O to the largest of them, metadata cache of 64 MiB full', `${(bytes / 1e6).toFixed(0)} MB`, target, met],
  ]);
}
