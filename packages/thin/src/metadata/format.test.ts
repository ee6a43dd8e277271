import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import { DATA_BLOCK_SIZE, expectSound, newPool, thrownBy } from '../../test/pool.js';
import { ThinMetadata } from './thin-metadata.js';

describe('formatting', () => {
  it.each([
    { nrBlocks: 2048, nrBitmaps: 1 },
    { nrBlocks: 51200, nrBitmaps: 4 },
  ])('lays out a device of $nrBlocks blocks as the kernel does', ({ nrBlocks, nrBitmaps: b }) => {
    const { device } = newPool({ nrMetadataBlocks: nrBlocks, nrDataBlocks: 0 });
    const image = expectSound(device);
    const bitmaps = Array.from({ length: b }, (_, i) => [3 + i, 'metadata bitmap']);
    expect([...image.roles].sort(([a], [b]) => a - b)).toEqual([
      [0, 'superblock'],
      [1, 'metadata index'],
      [2, 'metadata overflow root'],
      ...bitmaps,
      [3 + b, 'data index root'],
      [4 + b, 'data overflow root'],
      [5 + b, 'mapping root'],
      [6 + b, 'details root'],
    ]);
    expect(new Set(image.metadataReferences.values())).toEqual(new Set([1]));
    expect(image.metadataSpaceMap).toMatchObject({ nrBlocks, nrAllocated: 7 + b });
    expect(image.dataSpaceMap).toMatchObject({ nrBlocks: 0, nrAllocated: 0 });
    expect(image).toMatchObject({ time: 0, transactionId: 0n, heldRoot: 0, flags: 0, dataBlockSize: DATA_BLOCK_SIZE });
  });
});
