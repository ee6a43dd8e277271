/** A seeded part of the fuzzer for every run of the tests; the rest is `npm run faultlab -- fuzz --long`. */
import { describe, expect, it } from 'vitest';
import { fuzzPool } from '../src/fault-lab/fuzz-images.js';

describe('every reader of a pool, on images whose fields were changed under right checksums', () => {
  it.each([1, 2, 10, 20])('does its work or refuses it in words (seed %i)', (seed) => {
    const { nrImages, outcomes, failures, slowest } = fuzzPool(seed);
    console.log(`seed ${seed}: ${nrImages} images, slowest run ${Math.round(slowest)} ms, ${JSON.stringify(outcomes)}`);
    expect(failures).toEqual([]);
    let nrRefused = 0;
    for (const [reader, { done, refused }] of Object.entries(outcomes)) {
      expect(done + refused, reader).toBe(nrImages);
      nrRefused += refused;
    }
    expect(nrRefused).toBeGreaterThan(0);
  });
});
