import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CHUNK_SIZE, Phrase, putNumber, TextBuffer } from './text-buffer.js';

const buffer = new TextBuffer();
const decimal = (n: number): string => {
  return Buffer.from(buffer.bytes.subarray(0, putNumber(buffer.view, 0, n))).toString();
};

it('writes every safe integer as String does', () => {
  for (let digits = 0; digits <= 15; digits++) {
    const power = 10 ** digits;
    for (const n of [power - 1, power, power + 1, 2 * power, 5 * power - 1]) expect(decimal(n)).toBe(String(n));
  }
  for (let n = 0; n <= 30_000; n++) expect(decimal(n)).toBe(String(n));
  expect(decimal(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991');
  fc.assert(
    fc.property(fc.maxSafeNat(), (n) => decimal(n) === String(n)),
    { seed: 11, numRuns: 5000 },
  );
});

it('writes phrases of any length, and says where they end', () => {
  const text = '    <single_mapping origin_block="';
  for (let length = 1; length <= text.length; length++) {
    const end = new Phrase(text.slice(0, length)).put(buffer.view, 3);
    expect(Buffer.from(buffer.bytes.subarray(3, end)).toString()).toBe(text.slice(0, length));
  }
});

it('hands out what was written and begins anew', () => {
  buffer.text('first');
  expect(Buffer.from(buffer.take()).toString()).toBe('first');
  buffer.text('2nd');
  expect(Buffer.from(buffer.take()).toString()).toBe('2nd');
  expect(buffer.isFull).toBe(false);
  while (!buffer.isFull) buffer.text('x'.repeat(100));
  expect(buffer.take().length).toBeGreaterThanOrEqual(CHUNK_SIZE);
});
