/**
 * What the kernel accepts for a mirror and its log.
 *
 * Format: docs/format/mirror-log.md, sections 2 and 10.
 */

export const MIN_LEGS = 2;
export const MAX_LEGS = 9;

/** Sectors. Region sizes are powers of two. */
export const MIN_REGION_SIZE = 2;
/** Sectors: 1 TiB, the largest power of two in 32 bits. */
export const MAX_REGION_SIZE = 2 ** 31;
export const MAX_REGIONS = 2 ** 32 - 1;

/** What a region size in sectors has to be, when it is not; undefined when it is fine. */
export function checkRegionSize(sectors: number): string | undefined {
  const fine =
    Number.isInteger(sectors) &&
    sectors >= MIN_REGION_SIZE &&
    sectors <= MAX_REGION_SIZE &&
    Number.isInteger(Math.log2(sectors));
  return fine ? undefined : `a power of two from ${MIN_REGION_SIZE} to ${MAX_REGION_SIZE} sectors`;
}

/**
 * Regions of a mirror; the last may be short.
 *
 * @param length of the mirror, in sectors
 * @param regionSize in sectors
 * @throws {RangeError} when the kernel would not have them
 */
export function nrRegionsOf(length: number, regionSize: number): number {
  const expected = checkRegionSize(regionSize);
  if (expected !== undefined) throw new RangeError(`region size of ${regionSize} sectors: expected ${expected}`);
  if (!Number.isSafeInteger(length) || length < regionSize) {
    throw new RangeError(
      `mirror of ${length} sectors: expected a whole number, at least the region size of ${regionSize} sectors`,
    );
  }
  const nrRegions = Math.ceil(length / regionSize);
  if (nrRegions > MAX_REGIONS) {
    throw new RangeError(
      `mirror of ${length} sectors in regions of ${regionSize}: that makes ${nrRegions} regions, and ${MAX_REGIONS} are the most`,
    );
  }
  return nrRegions;
}
