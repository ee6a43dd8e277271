import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CoveredRanges } from './covered-ranges.js';

it('knows what a plain array of booleans would', () => {
  const range = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 8 }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 60 }), fc.tuple(fc.nat(60), fc.nat(12)), (ranges, [begin, length]) => {
      const covered = new CoveredRanges();
      const model = new Array<boolean>(80).fill(false);
      for (const [at, nr] of ranges) {
        const isTaken = model.slice(at, at + nr).includes(true);
        expect(covered.add(at, at + nr)).toBe(isTaken ? 'answered twice' : undefined);
        if (!isTaken) model.fill(true, at, at + nr);
      }
      const missing = model.indexOf(false, begin);
      expect(covered.firstMissing(begin, begin + length)).toBe(missing < begin + length ? missing : undefined);
    }),
    { seed: 20261120, numRuns: 2000 },
  );
});

it('bounds how many separate pieces it keeps', () => {
  const covered = new CoveredRanges();
  for (let nr = 0; nr < 4096; nr++) expect(covered.add(2 * nr, 2 * nr + 1)).toBeUndefined();
  expect(covered.add(8192, 8193)).toBe('answered in too many separate pieces');
  expect(covered.add(1, 2)).toBeUndefined();
});
