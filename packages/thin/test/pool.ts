/** Pools in memory for tests, and the few steps that every test takes with them. */
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { AbortRequiredError, Block, NoSpaceError } from '@pdata/persistent-data';
import { differentBlocks } from '@pdata/testing';
import { expect } from 'vitest';
import { thinSuperblockValidator } from '../src/format/superblock.js';
import { checkThin } from '../src/maintenance/check/thin-check.js';
import { type FormatThinMetadataOptions, ThinMetadata } from '../src/metadata/thin-metadata.js';
import { type PoolImage, readPoolImage } from './pool-image.js';

/** Sectors: 64 KiB. */
export const DATA_BLOCK_SIZE = 128;

export interface PoolInMemory {
  readonly device: MemoryMetadataDevice;
  readonly metadata: ThinMetadata;
}

export function newPool({
  nrMetadataBlocks = 1024,
  nrDataBlocks = 1000,
  ...options
}: { nrMetadataBlocks?: number } & Partial<FormatThinMetadataOptions> = {}): PoolInMemory {
  const device = new MemoryMetadataDevice({ nrBlocks: nrMetadataBlocks });
  const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks, ...options });
  return { device, metadata };
}

/** What a write to a block of a thin volume does to the metadata: provision it, or break sharing. Its data block. */
export function write(metadata: ThinMetadata, thinId: number, virtualBlock: number): number {
  const mapping = metadata.find(thinId, virtualBlock);
  if (mapping !== undefined && !mapping.shared) return mapping.dataBlock;
  const dataBlock = metadata.allocateDataBlock();
  try {
    metadata.insert(thinId, virtualBlock, dataBlock);
  } catch (error) {
    // Refused: the block is not wanted then. After a change that failed half-way the abort sees to it.
    if (error instanceof NoSpaceError && !isAbortRequired(metadata)) metadata.decDataBlocks(dataBlock, dataBlock + 1);
    throw error;
  }
  return dataBlock;
}

/** Whether a change failed half-way, so that nothing but an abort is possible. */
export function isAbortRequired(metadata: ThinMetadata): boolean {
  try {
    return metadata.time < 0;
  } catch (error) {
    if (error instanceof AbortRequiredError) return true;
    throw error;
  }
}

export function writeRange(metadata: ThinMetadata, thinId: number, begin: number, end: number, step = 1): void {
  for (let virtualBlock = begin; virtualBlock < end; virtualBlock += step) write(metadata, thinId, virtualBlock);
}

/** All of a device's mappings, as the open metadata shows them: virtual block → data block. */
export function mappingsOf(metadata: ThinMetadata, thinId: number): Map<number, number> {
  const mappings = new Map<number, number>();
  for (const { begin, end, dataBegin } of metadata.mappedRanges(thinId)) {
    for (let i = 0; begin + i < end; i++) mappings.set(begin + i, dataBegin + i);
  }
  return mappings;
}

/** Everything a user can see of a pool, for comparing: what the open metadata shows. */
export function shownBy(metadata: ThinMetadata): object {
  const devices = [...metadata.devices()].map(({ thinId, details }) => ({
    thinId,
    ...details,
    mappings: [...mappingsOf(metadata, thinId)],
  }));
  return {
    transactionId: metadata.transactionId,
    time: metadata.time,
    nrDataBlocks: metadata.nrDataBlocks,
    nrMetadataBlocks: metadata.nrMetadataBlocks,
    needsCheck: metadata.needsCheck,
    heldRoot: metadata.heldRoot,
    devices,
  };
}

/** The same, of a medium: what a user would find there, metadata snapshot included. */
export function shownByImage({ devices, held, ...image }: PoolImage): object {
  const list = (of: PoolImage['devices']): object[] =>
    [...of].map(([thinId, { mappings, ...details }]) => ({
      thinId,
      ...details,
      mappings: [...mappings].map(([virtualBlock, { dataBlock, time }]) => [virtualBlock, dataBlock, time]),
    }));
  return {
    transactionId: image.transactionId,
    time: image.time,
    flags: image.flags,
    nrDataBlocks: image.dataSpaceMap.nrBlocks,
    nrMetadataBlocks: image.metadataSpaceMap.nrBlocks,
    devices: list(devices),
    held: held === undefined ? undefined : list(held),
  };
}

/**
 * Audits the committed state on a medium: every count recomputed by walking, every record compared; and has our own check
 * look at it too. Fails the test when anything is wrong.
 */
export function expectSound(medium: { readonly bytes: Uint8Array }, about = 'audit'): PoolImage {
  const image = readPoolImage(medium.bytes);
  expect(image.problems, about).toEqual([]);
  const findings = [...checkThin(new MemoryMetadataDevice({ bytes: medium.bytes, readOnly: true }))];
  expect(findings, `${about}: what checkThin says`).toEqual([]);
  return image;
}

/** Changes block `nr` of a medium by hand and makes its superblock checksum fit again. */
export function patchSuperblock(bytes: Uint8Array, patch: (view: DataView) => void, nr = 0): void {
  const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
  patch(new DataView(block.buffer, block.byteOffset, BLOCK_SIZE));
  thinSuperblockValidator.prepare(new Block(block, nr));
}

/** For whole media, which `toEqual` would compare byte by byte. */
export function expectSameBytes(found: Uint8Array, expected: Uint8Array): void {
  expect(differentBlocks(found, expected), 'blocks that differ').toEqual([]);
}

export { thrownBy } from '@pdata/testing';
