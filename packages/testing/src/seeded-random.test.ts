import { expect, it } from 'vitest';
import { seededRandom } from './seeded-random.js';

const firstOf = (seed: number, nr: number): number[] => {
  const random = seededRandom(seed);
  return Array.from({ length: nr }, () => random());
};

it('gives the same numbers for the same seed, others for another', () => {
  expect(firstOf(42, 5)).toEqual(firstOf(42, 5));
  expect(firstOf(42, 5)).not.toEqual(firstOf(43, 5));
});

it('spreads evenly over 0 up to, not including, 1', () => {
  const numbers = firstOf(7, 10_000);
  expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
  const tenths = new Array<number>(10).fill(0);
  for (const number of numbers) tenths[Math.floor(number * 10)]! += 1;
  for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
