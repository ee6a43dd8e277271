import { describe, expect, it } from 'vitest';
import { checkRegionSize, MAX_REGIONS, nrRegionsOf } from './limits.js';
import { LOG_MAGIC, logSize, nrBytesOfBits, readLogHeader, writeLogHeader } from './log-layout.js';
import { RegionBits } from './region-bits.js';

describe('limits', () => {
  it.each([2, 4, 128, 2 ** 31])('accept a region of %i sectors', (sectors) => {
    expect(checkRegionSize(sectors)).toBeUndefined();
  });

  it.each([0, 1, 3, 100, 2 ** 32, 2.5, Number.NaN, -2])('refuse a region of %d sectors', (sectors) => {
    expect(checkRegionSize(sectors)).toBe('a power of two from 2 to 2147483648 sectors');
    expect(() => nrRegionsOf(65536, sectors)).toThrow(
      `region size of ${sectors} sectors: expected a power of two from 2 to 2147483648 sectors`,
    );
  });

  it('count a short last region, take a region as long as the mirror, and refuse a longer one', () => {
    expect(nrRegionsOf(65536, 128)).toBe(512);
    expect(nrRegionsOf(65537, 128)).toBe(513);
    expect(nrRegionsOf(128, 128)).toBe(1);
    expect(() => nrRegionsOf(127, 128)).toThrow(
      'mirror of 127 sectors: expected a whole number, at least the region size',
    );
  });

  it('refuse more regions than a log can number', () => {
    expect(nrRegionsOf(2 * MAX_REGIONS, 2)).toBe(MAX_REGIONS);
    expect(() => nrRegionsOf(2 * MAX_REGIONS + 1, 2)).toThrow(
      'that makes 4294967296 regions, and 4294967295 are the most',
    );
  });
});

describe('the layout of a log', () => {
  it('rounds bits up to words of 64, and the request up to the logical block size', () => {
    expect([1, 64, 65, 512].map(nrBytesOfBits)).toEqual([8, 8, 16, 64]);
    expect(logSize(512)).toBe(1536);
    expect(logSize(512, 4096)).toBe(4096);
    expect(logSize(4096)).toBe(1536); // 1024 + 512, to the byte
    expect(logSize(4097)).toBe(2048);
  });

  it('reads what it wrote, and sees all 64 bits of the number of regions', () => {
    const bytes = new Uint8Array(32).fill(0xee);
    writeLogHeader(bytes, 0xfedcba98);
    expect(readLogHeader(bytes)).toEqual({ magic: LOG_MAGIC, version: 2, nrRegions: 0xfedcba98 });
    expect(bytes.subarray(16).every((byte) => byte === 0xee)).toBe(true);
    bytes[13] = 1;
    expect(readLogHeader(bytes).nrRegions).toBe(0xfedcba98 + 2 ** 40);
  });
});

describe('region bits', () => {
  it('are stored least significant first', () => {
    const bits = new RegionBits(20);
    bits.set(0, true);
    bits.set(9, true);
    bits.set(19, true);
    expect([...bits.bytes]).toEqual([0b1, 0b10, 0b1000]);
    expect(bits.set(9, true)).toBe(false);
    expect(bits.set(9, false)).toBe(true);
    expect([bits.has(9), bits.has(19)]).toEqual([false, true]);
  });

  it('set ranges, count and search as a plain array does, at every border of a byte', () => {
    for (const nrRegions of [1, 7, 8, 9, 40, 61]) {
      for (let begin = 0; begin <= nrRegions; begin += 3) {
        for (let end = begin; end <= nrRegions; end += 5) {
          const bits = new RegionBits(nrRegions);
          bits.setRange(begin, end, true);
          const model = Array.from({ length: nrRegions }, (_, nr) => nr >= begin && nr < end);
          expect(model.map((_, nr) => bits.has(nr))).toEqual(model);
          expect(bits.count()).toBe(end - begin);
          expect(bits.next(true, 0)).toBe(end > begin ? begin : nrRegions);
          const gap = model.indexOf(false, begin);
          expect(bits.next(false, begin)).toBe(gap === -1 ? nrRegions : gap);
          bits.setRange(begin, end, false);
          expect(bits.count()).toBe(0);
        }
      }
    }
  });

  it('come in runs that cover all regions', () => {
    const bits = new RegionBits(40);
    bits.setRange(3, 20, true);
    bits.set(39, true);
    expect([...bits.runs()]).toEqual([
      { begin: 0, end: 3, value: false },
      { begin: 3, end: 20, value: true },
      { begin: 20, end: 39, value: false },
      { begin: 39, end: 40, value: true },
    ]);
  });

  it('leave alone what lies behind the last region', () => {
    const bits = new RegionBits(4, Uint8Array.of(0xf0, 0xff));
    bits.fill(true);
    bits.fill(false);
    expect([...bits.bytes]).toEqual([0xf0, 0xff]);
    expect(bits.next(true, 0)).toBe(4);
  });
});
