/**
 * Limits of a pool.
 *
 * Format: docs/format/thin.md, section 13; docs/format/conventions.md, section 4.
 */

/** Thin ids have 24 bits. */
export const MAX_THIN_ID = 2 ** 24 - 1;
/** Sectors: 64 KiB. Data block sizes are multiples of it. */
export const MIN_DATA_BLOCK_SIZE = 128;
/** Sectors: 1 GiB. */
export const MAX_DATA_BLOCK_SIZE = 2097152;
/** Blocks of 4096 bytes below which a device cannot be formatted. */
export const MIN_METADATA_BLOCKS = 8;
/** The most blocks kept back for commits: 16 MiB. */
const MAX_RESERVE = 4096;

/** What a data block size in sectors has to be, when it is not; undefined when it is fine. */
export function checkDataBlockSize(sectors: number): string | undefined {
  const fine =
    Number.isInteger(sectors) &&
    sectors >= MIN_DATA_BLOCK_SIZE &&
    sectors <= MAX_DATA_BLOCK_SIZE &&
    sectors % MIN_DATA_BLOCK_SIZE === 0;
  return fine
    ? undefined
    : `a multiple of ${MIN_DATA_BLOCK_SIZE} sectors from ${MIN_DATA_BLOCK_SIZE} to ${MAX_DATA_BLOCK_SIZE}`;
}

/** Metadata blocks that are kept back, so that a transaction can always be committed. */
export const metadataReserve = (nrBlocks: number): number => Math.min(MAX_RESERVE, Math.floor(nrBlocks / 10));

export function refuseThinId(thinId: number): void {
  if (!Number.isInteger(thinId) || thinId < 0 || thinId > MAX_THIN_ID) {
    throw new RangeError(`a thin id is a whole number from 0 to ${MAX_THIN_ID}, not ${thinId}`);
  }
}
