/**
 * What the kernel accepts for a clone.
 *
 * Format: docs/format/clone.md, sections 2 and 8.
 */

/** Sectors per region; a power of two between the two. */
export const MIN_REGION_SIZE = 8;
export const MAX_REGION_SIZE = 2 ** 21;
/** The most regions of a clone. */
export const MAX_REGIONS = 2 ** 31;

/** What a region size in sectors has to be, when it is not; undefined when it is fine. */
export function checkRegionSize(sectors: number): string | undefined {
  const fine =
    Number.isInteger(sectors) &&
    sectors >= MIN_REGION_SIZE &&
    sectors <= MAX_REGION_SIZE &&
    (sectors & (sectors - 1)) === 0;
  return fine ? undefined : `a power of two from ${MIN_REGION_SIZE} to ${MAX_REGION_SIZE} sectors`;
}

/** As {@link checkRegionSize}, for the size of the target with regions of `regionSize`, which is fine. */
export function checkTargetSize(sectors: number, regionSize: number): string | undefined {
  if (!Number.isSafeInteger(sectors) || sectors < 1) return 'a whole number of sectors, at least 1';
  if (nrRegionsFor(sectors, regionSize) <= MAX_REGIONS) return undefined;
  return `at most ${MAX_REGIONS * regionSize} sectors with regions of ${regionSize} (a clone has at most ${MAX_REGIONS} regions)`;
}

/** Regions of a target; the last one may be short. Both in sectors. */
export const nrRegionsFor = (targetSize: number, regionSize: number): number => Math.ceil(targetSize / regionSize);

/**
 * Both at once, for what a caller asks for.
 * @throws RangeError
 */
export function refuseGeometry(regionSize: number, targetSize: number): void {
  const regionProblem = checkRegionSize(regionSize);
  if (regionProblem !== undefined) throw new RangeError(`the region size is ${regionProblem}, not ${regionSize}`);
  const targetProblem = checkTargetSize(targetSize, regionSize);
  if (targetProblem !== undefined) throw new RangeError(`the size of a clone is ${targetProblem}, not ${targetSize}`);
}
