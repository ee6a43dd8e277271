/**
 * What the kernel accepts for a mirror.
 *
 * Format: docs/format/mirror-log.md, section 10.
 */

export const MIN_LEGS = 2;
export const MAX_LEGS = 9;
