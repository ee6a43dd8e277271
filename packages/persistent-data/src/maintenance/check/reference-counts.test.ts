import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ENTRIES_PER_BITMAP } from '../../space-map/bitmap.js';
import { ReferenceCounts } from './reference-counts.js';

const NR_BITMAPS = 3000;
const NR_BLOCKS = NR_BITMAPS * ENTRIES_PER_BITMAP - 5;

it('counts like a plain map, also past what a byte holds, and behind the blocks in one array', () => {
  const special = [0, 16_319, 16_320, 33_553_919, 33_553_920, 33_553_921, 40_000_000, NR_BLOCKS - 1];
  const step = fc.tuple(fc.constantFrom(...special), fc.constantFrom(1, 1, 2, 3, 253, 254, 255, 256, 600));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const counts = new ReferenceCounts(NR_BLOCKS, NR_BITMAPS);
      const model = new Map<number, number>();
      for (const [blockNr, times] of steps) {
        for (let i = 0; i < times; i++) counts.inc(blockNr);
        model.set(blockNr, (model.get(blockNr) ?? 0) + times);
      }
      for (const blockNr of special) {
        const expected = model.get(blockNr) ?? 0;
        expect(counts.count(blockNr)).toBe(expected);
        const bitmapNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
        const byte = counts.ofBitmap(bitmapNr)?.[blockNr - bitmapNr * ENTRIES_PER_BITMAP] ?? 0;
        expect(byte).toBe(Math.min(expected, 255));
      }
    }),
    { seed: 1, numRuns: 30 },
  );
});

it('keeps its array to the blocks there are', () => {
  const counts = new ReferenceCounts(1000, 1);
  expect(counts.flat).toHaveLength(1000);
  expect(counts.ofBitmap(0)).toHaveLength(ENTRIES_PER_BITMAP);
});

it('takes no memory for what is merely claimed', () => {
  const before = process.memoryUsage();
  const counts = new ReferenceCounts(2 ** 40, 4_000_000);
  counts.inc(60_000_000_000);
  expect(counts.nrBlocks).toBe(4_000_000 * ENTRIES_PER_BITMAP);
  expect(counts.count(60_000_000_000)).toBe(1);
  expect(counts.count(59_000_000_000)).toBe(0);
  expect(process.memoryUsage().rss - before.rss).toBeLessThan(20e6);
});
