import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import { expect, it } from 'vitest';
import { estimateMetadataBlocks } from './metadata-size.js';

const KIB = 1024n;
const TIB = 1024n ** 4n;

// Printed by thin_metadata_size 1.1.0, in sectors.
it.each([
  { poolBytes: TIB, dataBlockBytes: 64n * KIB, maxThins: 1000n, sectors: 1_073_232 },
  { poolBytes: TIB, dataBlockBytes: 64n * KIB, maxThins: 0n, sectors: 1_065_232 },
  { poolBytes: TIB, dataBlockBytes: 192n * KIB, maxThins: 1n, sectors: 355_096 },
  { poolBytes: TIB, dataBlockBytes: 1024n ** 3n, maxThins: 1n, sectors: 88 },
  { poolBytes: 64n * KIB, dataBlockBytes: 64n * KIB, maxThins: 1n, sectors: 24 },
  { poolBytes: 8065n * KIB, dataBlockBytes: 64n * KIB, maxThins: 1n, sectors: 24 },
  { poolBytes: 63n * 1024n ** 3n, dataBlockBytes: 64n * KIB, maxThins: 5n, sectors: 65_584 },
])(
  'estimates $sectors sectors for $poolBytes bytes in blocks of $dataBlockBytes, $maxThins thins',
  ({ sectors, ...shape }) => {
    expect(estimateMetadataBlocks(shape) * 8).toBe(sectors);
  },
);

it('never asks for more than the kernel can use', () => {
  expect(MAX_METADATA_BLOCKS * 8).toBe(33_292_800);
  expect(estimateMetadataBlocks({ poolBytes: 16n * 1024n * TIB, dataBlockBytes: 64n * KIB, maxThins: 1n })).toBe(
    MAX_METADATA_BLOCKS,
  );
  expect(estimateMetadataBlocks({ poolBytes: TIB, dataBlockBytes: 64n * KIB, maxThins: 2n ** 64n - 1n })).toBe(
    MAX_METADATA_BLOCKS,
  );
});

it('refuses a data block of no bytes', () => {
  expect(() => estimateMetadataBlocks({ poolBytes: TIB, dataBlockBytes: 0n, maxThins: 1n })).toThrow(RangeError);
});
