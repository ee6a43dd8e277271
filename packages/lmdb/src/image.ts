/**
 * Converting between a pool and a raw image, the kernel's form of the same blocks: conversion is copying.
 *
 * The superblock goes last, after everything else is durable, so that a copy that was interrupted is no metadata at all
 * rather than half of it.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import type { LmdbEnvironment } from './environment.js';
import type { LmdbMetadataDevice } from './lmdb-metadata-device.js';

/** Blocks moved at once, 1 MiB; and between two flushes, 16 MiB. */
const RUN = 256;
const FLUSH = 4096;

export interface CopyOptions {
  /** Called now and then with the number of blocks done. */
  readonly onProgress?: (nrBlocks: number) => void;
  /** Ends the copy with the signal's reason. What is there by then has no superblock. */
  readonly signal?: AbortSignal;
}

/**
 * Makes a pool of what a metadata device contains, block by block.
 *
 * @param from a raw image, a block device, or a pool of another environment; it is not written
 * @returns the new pool, open for writing
 * @throws as `createPool`, and what reading and committing throw; there is no pool then
 */
export async function importImage(
  from: MetadataDevice,
  environment: LmdbEnvironment,
  poolName: string,
  options: CopyOptions = {},
): Promise<LmdbMetadataDevice> {
  const pool = environment.createPool(poolName, { nrBlocks: from.nrBlocks });
  try {
    await copyBlocks(from, pool, options);
  } catch (error) {
    pool.close();
    environment.deletePool(poolName);
    throw error;
  }
  return pool;
}

/**
 * Writes what a pool contains to a metadata device, say an image file that the kernel is to use: afterwards each of the pool's
 * blocks reads the same on both. For a pool that is being written, open a reader and export that: it shows one commit.
 *
 * @param to grown when it is smaller than the pool; blocks behind the pool's size are left alone
 */
export async function exportImage(from: MetadataDevice, to: MetadataDevice, options: CopyOptions = {}): Promise<void> {
  if (to.nrBlocks < from.nrBlocks) to.grow(from.nrBlocks);
  await copyBlocks(from, to, options);
}

/** Blocks that are the same already are not written: zeroes to a file that is a hole there stay a hole. */
async function copyBlocks(
  from: MetadataDevice,
  to: MetadataDevice,
  { onProgress, signal }: CopyOptions,
): Promise<void> {
  const source = Buffer.alloc(RUN * BLOCK_SIZE);
  const target = Buffer.alloc(RUN * BLOCK_SIZE);
  const superblock = Buffer.alloc(BLOCK_SIZE);
  to.read(0, superblock);
  if (superblock.some((byte) => byte !== 0)) {
    to.write(0, new Uint8Array(BLOCK_SIZE));
    await to.flushAsync();
  }
  from.read(0, superblock);
  let nrUnflushed = 0;
  for (let first = 1; first < from.nrBlocks; first += RUN) {
    signal?.throwIfAborted();
    const nr = Math.min(RUN, from.nrBlocks - first);
    const length = nr * BLOCK_SIZE;
    from.read(first, source.subarray(0, length));
    to.read(first, target.subarray(0, length));
    if (source.compare(target, 0, length, 0, length) !== 0) {
      to.write(first, source.subarray(0, length));
      nrUnflushed += nr;
    }
    if (nrUnflushed >= FLUSH) {
      await to.flushAsync();
      nrUnflushed = 0;
      onProgress?.(first + nr);
    }
  }
  await to.flushAsync();
  to.write(0, superblock);
  await to.flushAsync();
  onProgress?.(from.nrBlocks);
}
