import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ReferenceCounts } from './reference-counts.js';

it('counts like a plain map, also past what a byte holds', () => {
  const block = fc.oneof(fc.constantFrom(0, 16_319, 16_320, 99_999), fc.nat(99_999));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(block, fc.constantFrom(1, 1, 2, 3, 253, 254, 255, 256, 600)), { maxLength: 40 }),
      (steps) => {
        const counts = new ReferenceCounts(100_000, 7);
        const model = new Map<number, number>();
        for (const [blockNr, times] of steps) {
          for (let i = 0; i < times; i++) counts.inc(blockNr);
          model.set(blockNr, (model.get(blockNr) ?? 0) + times);
        }
        for (const [blockNr, expected] of model) expect(counts.count(blockNr)).toBe(expected);
        expect(counts.count(50_000)).toBe(model.get(50_000) ?? 0);
      },
    ),
    { seed: 1 },
  );
});

it('makes chunks only where blocks are counted', () => {
  const counts = new ReferenceCounts(2 ** 40, 1000);
  expect(counts.nrBlocks).toBe(1000 * 16_320);
  counts.inc(999 * 16_320);
  expect(counts.chunks.filter((chunk) => chunk !== undefined)).toHaveLength(1);
  expect(counts.count(0)).toBe(0);
});
