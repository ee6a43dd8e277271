/**
 * Requests that are refused before anything changes: what does not fit the device, the format, or its numbers.
 *
 * Format: docs/format/thin.md, sections 1 and 13.
 */
import type { MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { MAX_DATA_BLOCKS } from '../format/block-time.js';
import { MIN_METADATA_BLOCKS } from '../format/limits.js';
import { UnsupportedMetadataError } from './errors.js';
import type { PoolState } from './pool-state.js';

export function refuseTooSmall({ name, nrBlocks }: MetadataDevice): void {
  if (nrBlocks >= MIN_METADATA_BLOCKS) return;
  throw new NoSpaceError(
    'metadata',
    `${nrBlocks} blocks are too few for the metadata device ${name}: it takes ${MIN_METADATA_BLOCKS} to format it, 12 with data blocks`,
  );
}

export function refuseUnsupported(
  device: MetadataDevice,
  { superblock }: PoolState,
  dataBlockSize: number | undefined,
): void {
  const { incompatFlags, compatRoFlags } = superblock;
  const flags = (bits: number): string => `0x${bits.toString(16)}`;
  if (incompatFlags !== 0) {
    throw new UnsupportedMetadataError(
      `${device.name} uses features (${flags(incompatFlags)}) that this version does not know: it cannot be opened`,
    );
  }
  if (compatRoFlags !== 0 && !device.readOnly) {
    throw new UnsupportedMetadataError(
      `${device.name} uses features (${flags(compatRoFlags)}) that this version does not know: it can only be opened for reading`,
    );
  }
  if (dataBlockSize !== undefined && dataBlockSize !== superblock.dataBlockSize) {
    throw new UnsupportedMetadataError(
      `${device.name} has data blocks of ${superblock.dataBlockSize} sectors, not ${dataBlockSize}: the size is fixed when a pool is formatted`,
    );
  }
}

export function refuseNrDataBlocks(nr: number): void {
  if (Number.isSafeInteger(nr) && nr >= 0 && nr <= MAX_DATA_BLOCKS) return;
  throw new RangeError(`a pool has 0 to ${MAX_DATA_BLOCKS} data blocks, not ${nr}`);
}

export function refuseBlock(what: string, nr: number, end: number): void {
  if (Number.isSafeInteger(nr) && nr >= 0 && nr < end) return;
  throw new RangeError(`${what} ${nr} is not a whole number below ${end}`);
}

export function refuseRange(what: string, begin: number, end: number, limit: number): void {
  if (Number.isSafeInteger(begin) && Number.isSafeInteger(end) && begin >= 0 && begin <= end && end <= limit) return;
  throw new RangeError(`${what} ${begin} to ${end} (exclusive): expected whole numbers in order, none above ${limit}`);
}
