/**
 * What the kernel accepts for a clone.
 *
 * Format: docs/format/clone.md, section 8.
 */

/** Sectors per region; a power of two between the two. */
export const MIN_REGION_SIZE = 8;
export const MAX_REGION_SIZE = 2 ** 21;
