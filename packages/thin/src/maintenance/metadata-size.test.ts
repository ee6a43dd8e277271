import { expect, it } from 'vitest';
import { estimateMetadataBlocks, MAX_METADATA_BLOCKS } from './metadata-size.js';

const KIB = 1024n;
const TIB = 1024n ** 4n;

// Printed by thin_metadata_size 1.1.0, in sectors.
it.each([
  { poolSize: TIB, dataBlockSize: 64n * KIB, maxThins: 1000n, sectors: 1_073_232 },
  { poolSize: TIB, dataBlockSize: 64n * KIB, maxThins: 0n, sectors: 1_065_232 },
  { poolSize: TIB, dataBlockSize: 192n * KIB, maxThins: 1n, sectors: 355_096 },
  { poolSize: TIB, dataBlockSize: 1024n ** 3n, maxThins: 1n, sectors: 88 },
  { poolSize: 64n * KIB, dataBlockSize: 64n * KIB, maxThins: 1n, sectors: 24 },
  { poolSize: 8065n * KIB, dataBlockSize: 64n * KIB, maxThins: 1n, sectors: 24 },
  { poolSize: 63n * 1024n ** 3n, dataBlockSize: 64n * KIB, maxThins: 5n, sectors: 65_584 },
])(
  'estimates $sectors sectors for $poolSize bytes in blocks of $dataBlockSize, $maxThins thins',
  ({ sectors, ...shape }) => {
    expect(estimateMetadataBlocks(shape) * 8).toBe(sectors);
  },
);

it('never asks for more than the kernel can use', () => {
  expect(MAX_METADATA_BLOCKS * 8).toBe(33_292_800);
  expect(estimateMetadataBlocks({ poolSize: 16n * 1024n * TIB, dataBlockSize: 64n * KIB, maxThins: 1n })).toBe(
    MAX_METADATA_BLOCKS,
  );
  expect(estimateMetadataBlocks({ poolSize: TIB, dataBlockSize: 64n * KIB, maxThins: 2n ** 64n - 1n })).toBe(
    MAX_METADATA_BLOCKS,
  );
});

it('refuses a data block of no bytes', () => {
  expect(() => estimateMetadataBlocks({ poolSize: TIB, dataBlockSize: 0n, maxThins: 1n })).toThrow(RangeError);
});
