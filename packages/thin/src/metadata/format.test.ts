import { BLOCK_SIZE, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { SparseMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { DATA_BLOCK_SIZE, expectSameBytes, expectSound, newPool, thrownBy } from '../../test/pool.js';
import { type PoolImage, readPoolImage } from '../../test/pool-image.js';
import { ThinMetadata } from './thin-metadata.js';

const rolesOf = ({ roles }: PoolImage): object => [...roles].sort(([a], [b]) => a - b);

/** docs/format/thin.md, section 3; `b` is the number of metadata bitmaps. */
const kernelLayout = (b: number): object => [
  [0, 'superblock'],
  [1, 'metadata index'],
  [2, 'metadata overflow root'],
  ...Array.from({ length: b }, (_, i) => [3 + i, 'metadata bitmap']),
  [3 + b, 'data index root'],
  [4 + b, 'data overflow root'],
  [5 + b, 'mapping root'],
  [6 + b, 'details root'],
];

describe('formatting', () => {
  it.each([
    { nrBlocks: 8, b: 1 },
    { nrBlocks: 2048, b: 1 },
    { nrBlocks: 16320, b: 1 },
    { nrBlocks: 16321, b: 2 },
    { nrBlocks: 51200, b: 4 },
  ])('lays out a device of $nrBlocks blocks as the kernel does', ({ nrBlocks, b }) => {
    const { device } = newPool({ nrMetadataBlocks: nrBlocks, nrDataBlocks: 0 });
    const image = expectSound(device);
    expect(rolesOf(image)).toEqual(kernelLayout(b));
    expect(new Set(image.metadataReferences.values())).toEqual(new Set([1]));
    expect(image.metadataSpaceMap).toMatchObject({ nrBlocks, nrAllocated: 7 + b });
    expect(image.dataSpaceMap).toMatchObject({ nrBlocks: 0, nrAllocated: 0 });
    expect(image).toMatchObject({ time: 0, transactionId: 0n, heldRoot: 0, flags: 0, dataBlockSize: DATA_BLOCK_SIZE });
  });

  it.each([4_161_600, 4_456_448])('lays out a device of %d blocks, of which 4161600 are used', (nrBlocks) => {
    const device = new SparseMetadataDevice(nrBlocks);
    const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE });
    expect(metadata.nrMetadataBlocks).toBe(4_161_600);
    const image = readPoolImage(device.bytes);
    expect(image.problems).toEqual([]);
    expect(rolesOf(image)).toEqual(kernelLayout(255));
    expect(image.metadataSpaceMap).toMatchObject({ nrBlocks: 4_161_600, nrAllocated: 262 });
    expect(new DataView(device.bytes.buffer).getBigUint64(344, true)).toBe(4_161_600n); // its size when formatted
  });

  it('puts the first 1024 data blocks where the kernel does when it first resumes a pool', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048, nrDataBlocks: 0 });
    metadata.resizeData(1024);
    expect(metadata.nrFreeDataBlocks).toBe(0); // not before the commit
    expect(metadata.commit()).toBe(true);
    const image = expectSound(device);
    expect(rolesOf(image)).toEqual([
      [0, 'superblock'],
      [2, 'metadata overflow root'],
      [5, 'data overflow root'],
      [6, 'mapping root'],
      [7, 'details root'],
      [8, 'data bitmap'],
      [9, 'metadata bitmap'],
      [10, 'data index root'],
      [11, 'metadata index'],
    ]);
    expect(image.metadataSpaceMap.nrAllocated).toBe(9);
    expect(metadata.nrFreeDataBlocks).toBe(1024);
  });

  it('does the same at once when it is told the number of data blocks', () => {
    const [atOnce, afterwards] = [newPool({ nrDataBlocks: 500 }), newPool({ nrDataBlocks: 0 })];
    afterwards.metadata.resizeData(500);
    afterwards.metadata.commit();
    expectSameBytes(atOnce.device.bytes, afterwards.device.bytes);
  });

  it('needs 8 blocks: of 7 nothing is written', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 7 });
    const refusal = thrownBy(() => ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE }));
    expect(refusal).toBeInstanceOf(NoSpaceError);
    expect(refusal.message).toContain('7 blocks');
    expect(device.bytes.every((byte) => byte === 0)).toBe(true);
    expectSound(newPool({ nrMetadataBlocks: 8, nrDataBlocks: 0 }).device);
  });

  it.each([8, 9, 10, 11])('refuses data blocks on a device of %d blocks, which 12 can describe', (nrBlocks) => {
    const device = new MemoryMetadataDevice({ nrBlocks });
    const options = { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 1 };
    expect(thrownBy(() => ThinMetadata.format(device, options))).toBeInstanceOf(NoSpaceError);
    const metadata = ThinMetadata.open(device); // formatted all the same, and not claimed by anybody
    expect(metadata.nrDataBlocks).toBe(0);
    expectSound(device);
    expectSound(newPool({ nrMetadataBlocks: 12, nrDataBlocks: 1024 }).device);
  });

  it('forgets what the device held before', () => {
    const device = new MemoryMetadataDevice({ bytes: new Uint8Array(64 * BLOCK_SIZE).fill(0xff) });
    const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 10 });
    metadata.createThin(1);
    metadata.commit();
    expect([...expectSound(device).devices.keys()]).toEqual([1]);
  });

  it.each([0, 64, 192, 2 ** 22])('refuses data blocks of %d sectors, saying which there are', (dataBlockSize) => {
    const device = new MemoryMetadataDevice({ nrBlocks: 64 });
    const refusal = thrownBy(() => ThinMetadata.format(device, { dataBlockSize }));
    expect(refusal).toBeInstanceOf(RangeError);
    expect(refusal.message).toBe(
      `the data block size is a multiple of 128 sectors from 128 to 2097152, not ${dataBlockSize}`,
    );
    expect(device.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it.each([128, 2 ** 21])('takes data blocks of %d sectors', (dataBlockSize) => {
    const { device, metadata } = newPool({ dataBlockSize });
    expect(metadata.dataBlockSize).toBe(dataBlockSize);
    expect(expectSound(device).dataBlockSize).toBe(dataBlockSize);
  });

  it.each([-1, 1.5, 2 ** 40 + 1, Number.NaN])('refuses %d data blocks', (nrDataBlocks) => {
    expect(thrownBy(() => newPool({ nrDataBlocks })).message).toBe(
      `a pool has 0 to ${2 ** 40} data blocks, not ${nrDataBlocks}`,
    );
  });

  it('is refused by a device that is open for reading', () => {
    const device = new MemoryMetadataDevice({ bytes: new Uint8Array(64 * BLOCK_SIZE), readOnly: true, name: 'image' });
    const refusal = thrownBy(() => ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE }));
    expect(refusal).toBeInstanceOf(ReadOnlyError);
    expect(refusal.message).toContain('image is open for reading only');
  });
});
