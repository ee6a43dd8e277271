/** Bits of a half word: 32 of them, in a number of either sign. */

/** Position of the lowest set bit; there has to be one. */
export const lowestBit = (half: number): number => 31 - Math.clz32(half & -half);

/** How many bits are set. */
export function popCount(half: number): number {
  const pairs = half - ((half >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
