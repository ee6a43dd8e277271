/** Pools with an engine, in memory, for tests. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';

export { quiet, rejection } from '@pdata/testing';

import { ThinPool, type ThinPoolOptions, type ThinVolume } from '../src/index.js';
import { expectSound } from './pool.js';

export const KIB = 1024;
export const MIB = 1024 * KIB;
/** Bytes of a data block: 64 KiB, the smallest. */
export const BLOCK = 64 * KIB;

export interface EnginePool {
  readonly metadata: MemoryMetadataDevice;
  readonly data: MemoryDataDevice;
  readonly pool: ThinPool;
}

/** A new pool of `nrDataBlocks` blocks of 64 KiB. Nothing is committed on time unless told. */
export async function newEnginePool({
  nrMetadataBlocks = 256,
  nrDataBlocks = 64,
  fill = 0,
  ...options
}: {
  nrMetadataBlocks?: number;
  nrDataBlocks?: number;
  fill?: number;
} & Partial<ThinPoolOptions> = {}): Promise<EnginePool> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: nrMetadataBlocks });
  const data = new MemoryDataDevice({ bytes: new Uint8Array(nrDataBlocks * BLOCK).fill(fill) });
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0, ...options });
  return { metadata, data, pool };
}

/** `length` bytes of one value. */
export const bytesOf = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);

export async function readFrom(volume: ThinVolume, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee); // so that what is left alone shows
  await volume.read(offset, into);
  return into;
}

/** What a volume holds, as runs of equal bytes: `[value, length]`. Reads well in a failing test. */
export async function shown(
  volume: ThinVolume,
  offset = 0,
  length = volume.size - offset,
): Promise<[number, number][]> {
  const runs: [number, number][] = [];
  for (const value of await readFrom(volume, offset, length)) {
    const last = runs.at(-1);
    if (last?.[0] === value) last[1]++;
    else runs.push([value, 1]);
  }
  return runs;
}

/** Closes the pool; its metadata must be sound and without leaks. */
export async function closeSound({ pool, metadata }: EnginePool): Promise<void> {
  await pool.close();
  expectSound(metadata);
}
