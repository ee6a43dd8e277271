import { expect, it } from 'vitest';
import { thrownBy } from '../../test/pool.js';
import { checkDataBlockSize, metadataReserve, refuseThinId } from './limits.js';

it.each([128, 256, 384, 2 ** 21])('takes data blocks of %d sectors', (sectors) => {
  expect(checkDataBlockSize(sectors)).toBeUndefined();
});

it.each([0, 1, 64, 127, 129, 192, 2 ** 21 + 128, 128.5, -128, Number.NaN])(
  'refuses data blocks of %d sectors',
  (sectors) => {
    expect(checkDataBlockSize(sectors)).toBe('a multiple of 128 sectors from 128 to 2097152');
  },
);

it('keeps back a tenth of the metadata, and 4096 blocks at most', () => {
  expect([8, 12, 2048, 40960, 4161600].map(metadataReserve)).toEqual([0, 1, 204, 4096, 4096]);
});

it('takes thin ids of 24 bits', () => {
  for (const thinId of [0, 1, 2 ** 24 - 1]) refuseThinId(thinId);
  for (const thinId of [-1, 2 ** 24, 0.5, Number.NaN]) {
    expect(thrownBy(() => refuseThinId(thinId)).message).toBe(
      `a thin id is a whole number from 0 to 16777215, not ${thinId}`,
    );
  }
});
