/** A seeded part of the fuzzer for every run of the tests; the rest is `npm run faultlab -- fuzz --long`. */
import { describe, expect, it } from 'vitest';
import { FUZZ_TARGETS } from '../src/fault-lab/fuzz-registry.js';
import { fuzzTarget } from '../src/fault-lab/fuzz-targets.js';

describe.each(FUZZ_TARGETS.map((target) => ({ ...target })))(
  'every reader of $name, on images whose fields were changed under right checksums',
  (target) => {
    it.each([1, 2, 10])('does its work or refuses it in words (seed %i)', async (seed) => {
      const { nrImages, outcomes, failures, slowest } = await fuzzTarget(target, seed);
      console.log(
        `${target.name}, seed ${seed}: ${nrImages} images, slowest run ${Math.round(slowest)} ms, ${JSON.stringify(outcomes)}`,
      );
      expect(failures).toEqual([]);
      let nrRefused = 0;
      for (const [reader, { done, refused }] of Object.entries(outcomes)) {
        expect(done + refused, reader).toBe(nrImages);
        nrRefused += refused;
      }
      expect(nrRefused).toBeGreaterThan(0);
    });
  },
);
