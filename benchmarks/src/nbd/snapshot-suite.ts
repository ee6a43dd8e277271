/**
 * How long a snapshot takes, of a volume that is full and of one a thousandth its size: `ThinPool.createSnapshot`, its commit
 * included, on metadata in a file. Between two snapshots a block of the origin is written, so that each has work to do.
 *
 * The pool's data lies in memory that was never written: a snapshot does not touch data.
 */
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MemoryDataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata, ThinPool } from '@pdata/thin';
import { limited, table, within } from '../report.js';
import { duration, median } from '../statistics.js';

const GIB = 1024 ** 3;
const BLOCK = 65536;
/** Milliseconds. */
const TARGET = 5;
/** Of the largest volume's time to the smallest's: as much as two medians of the same work differ on a busy machine. */
const CONSTANT_TARGET = 2;

export interface SnapshotTimes {
  /** Bytes of the volume. */
  readonly size: number;
  readonly seconds: number[];
}

/** @param cache keeps the pool from one run to the next: mapping 16 M blocks takes a minute */
export async function measureSnapshots(
  sizes: readonly number[],
  runs: number,
  cache: string,
): Promise<SnapshotTimes[]> {
  const times: SnapshotTimes[] = [];
  for (const size of sizes) {
    const image = fullPool(size, cache);
    const copy = `${image}.work`;
    copyFileSync(image, copy);
    const metadata = openFileMetadataDevice(copy, { mode: 'write' });
    const data = new MemoryDataDevice({ size: 2 * size });
    const pool = await ThinPool.open(metadata, data);
    const volume = await pool.openVolume(0, { size });
    const seconds: number[] = [];
    for (let run = 0; run < runs + 2; run++) {
      await volume.write(run * BLOCK, new Uint8Array(4096));
      await pool.commit();
      const begin = process.hrtime.bigint();
      await pool.createSnapshot(run + 1, 0);
      const taken = Number(process.hrtime.bigint() - begin) / 1e9;
      if (run >= 2) seconds.push(taken); // the first two find a cold cache and cold code
    }
    await volume.close();
    await pool.close();
    metadata.close();
    rmSync(copy);
    times.push({ size, seconds });
  }
  return times;
}

export function snapshotTable(times: readonly SnapshotTimes[]): string {
  const nrTaken = times[0]?.seconds.length ?? 0;
  const rows = [[`snapshot of a full volume, commit included; median of ${nrTaken}`, 'pdata', 'to reach', 'reached']];
  for (const { size, seconds } of times) {
    const { target, met } = limited(median(seconds) * 1000, TARGET, ' ms');
    rows.push([volumeSize(size), duration(seconds), target, met]);
  }
  const [first, last] = [times[0], times.at(-1)];
  if (first !== undefined && last !== undefined && first !== last) {
    const { ratio, target, met } = within(median(last.seconds) / median(first.seconds), CONSTANT_TARGET);
    rows.push([`${volumeSize(last.size)} / ${volumeSize(first.size)}`, ratio, target, met]);
  }
  return table(rows);
}

const volumeSize = (size: number): string => (size >= 1024 * GIB ? `${size / GIB / 1024} TiB` : `${size / GIB} GiB`);

/** The metadata of a pool with a full volume, as a file that is only read. */
export function fullPool(size: number, cache: string): string {
  mkdirSync(cache, { recursive: true });
  const path = join(cache, `full-${size / GIB}gib.img`);
  try {
    openFileMetadataDevice(path, { mode: 'read' }).close();
    return path;
  } catch {
    // not made yet
  }
  const part = `${path}.part`;
  rmSync(part, { force: true });
  const nrMapped = size / BLOCK;
  const nrBlocks = Math.ceil(nrMapped / 50) + 2048; // leaves that were filled in order stay half full: 126 mappings each
  const device = openFileMetadataDevice(part, { mode: 'write', create: { nrBlocks } });
  const pool = ThinMetadata.format(device, { dataBlockSize: BLOCK / 512, nrDataBlocks: 2 * nrMapped });
  pool.createThin(0);
  for (let block = 0; block < nrMapped; block++) {
    pool.insert(0, block, pool.allocateDataBlock());
    if (block % 100_000 === 0) pool.commit();
  }
  pool.commit();
  pool.close();
  device.close();
  renameSync(part, path);
  return path;
}
