/**
 * Chance that can be had again: the same seed, the same numbers, on every platform.
 * The generator is mulberry32 (Tommy Ettinger, public domain); good enough to choose tests, not for anything else.
 */

/** A function like `Math.random`, determined by `seed` (its low 32 bits). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
