import { BLOCK_SIZE, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { crashImages, RecordingMetadataDevice, SparseMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CloneImage, expectSound } from '../../test/clone-image.js';
import { expectSameBytes, hydratedOf, newClone, REGION_SIZE, TWO_BLOCKS, thrownBy } from '../../test/clones.js';
import { CloneMetadata } from './clone-metadata.js';

describe('formatting', () => {
  // docs/format/clone.md, section 2: what the kernel was seen to write for this clone.
  it('lays out the blocks of a new clone as the kernel does', () => {
    const { device, metadata } = newClone({ nrBlocks: 1024, ...TWO_BLOCKS });
    const image = expectSound(device);
    expect(image.spaceMap).toEqual({ nrBlocks: 1024, nrAllocated: 7, indexBlock: 1, overflowRoot: 2 });
    expect(image.bitmaps).toEqual([3]);
    expect(image.bitset()).toEqual({ nodes: [4], arrayBlocks: [5, 6] });
    expect(image.hydrated()).toEqual([]);
    expect(metadata.nrMetadataBlocks - metadata.nrFreeMetadataBlocks).toBe(4 + 1 + 2);
    expect([metadata.nrRegions, metadata.nrHydrated, metadata.isComplete]).toEqual([40_961, 0, false]);
  });

  it.each([
    { regions: 1, words: 1, arrayBlocks: 1 },
    { regions: 64, words: 1, arrayBlocks: 1 },
    { regions: 65, words: 2, arrayBlocks: 1 },
    { regions: 32_576, words: 509, arrayBlocks: 1 },
    { regions: 32_577, words: 510, arrayBlocks: 2 },
    { regions: 252 * 32_576 + 1, words: 252 * 509 + 1, arrayBlocks: 253 },
  ])('makes $words words in $arrayBlocks array blocks for $regions regions', ({ regions, arrayBlocks }) => {
    const { device } = newClone({ nrBlocks: 300, targetSize: (regions - 1) * REGION_SIZE + 1 });
    const image = expectSound(device);
    expect(image.nrRegions).toBe(regions);
    expect(image.bitset().arrayBlocks).toHaveLength(arrayBlocks);
  });

  it('uses 15.9 GiB of a larger metadata device, and no more', () => {
    const device = new SparseMetadataDevice(2 ** 22); // 16 GiB
    const metadata = CloneMetadata.format(device, TWO_BLOCKS);
    expect(metadata.nrMetadataBlocks).toBe(255 * 16_320);
    const image = new CloneImage(device.bytes);
    expect(image.bitmaps).toEqual(Array.from({ length: 255 }, (_, i) => 3 + i));
    expect(image.bitset()).toEqual({ nodes: [258], arrayBlocks: [259, 260] });
    metadata.setHydrated(40_960);
    metadata.preCommit();
    metadata.commit();
    metadata.close();
    expect(hydratedOf(CloneMetadata.open(device))).toEqual([40_960]);
  });

  it('forgets what the device held, durably, before it writes anything else', () => {
    const first = newClone();
    first.metadata.setHydrated(7);
    first.metadata.close();
    const recording = new RecordingMetadataDevice(first.device);
    CloneMetadata.format(recording, { regionSize: 16, targetSize: 1000 });
    expect(recording.summary.slice(0, 2)).toEqual(['write block 0', 'flush']);
    expect(expectSound(first.device).regionSize).toBe(16);
  });

  it('leaves a device that a crash interrupts unformatted or formatted, never as a mixture of old and new', () => {
    const { device } = newClone({ targetSize: 5000 });
    const initial = device.bytes.slice();
    const recording = new RecordingMetadataDevice(device);
    CloneMetadata.format(recording, TWO_BLOCKS);
    const seed = 2026;
    const seen = new Set<number>();
    for (const { bytes, description } of crashImages({ initial, operations: recording.operations, seed })) {
      const blank = bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0);
      if (!blank) seen.add(expectSound({ bytes }, description).targetSize);
      else seen.add(0);
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 5000, TWO_BLOCKS.targetSize]);
  });

  it('does the same on the same device, byte for byte', () => {
    expectSameBytes(newClone(TWO_BLOCKS).device.bytes, newClone(TWO_BLOCKS).device.bytes);
  });

  it.each([
    { regionSize: 4, targetSize: 1000, says: 'the region size is a power of two from 8 to 2097152 sectors, not 4' },
    { regionSize: 24, targetSize: 1000, says: 'the region size is a power of two from 8 to 2097152 sectors, not 24' },
    { regionSize: 2 ** 22, targetSize: 1000, says: 'not 4194304' },
    { regionSize: Number.NaN, targetSize: 1000, says: 'not NaN' },
    { regionSize: 8, targetSize: 0, says: 'the size of a clone is a whole number of sectors, at least 1, not 0' },
    { regionSize: 8, targetSize: 1.5, says: 'not 1.5' },
    { regionSize: 8, targetSize: 8 * 2 ** 31 + 1, says: 'a clone has at most 2147483648 regions' },
  ])('refuses regions of $regionSize and a clone of $targetSize sectors', ({ regionSize, targetSize, says }) => {
    const device = new MemoryMetadataDevice({ nrBlocks: 64 });
    for (const open of [CloneMetadata.format, CloneMetadata.openOrFormat]) {
      const error = thrownBy(() => open(device, { regionSize, targetSize }));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toContain(says);
    }
    expect(device.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('refuses a device that is too small, or open for reading', () => {
    for (const nrBlocks of [1, 2, 3, 4, 5, 6]) {
      const device = new MemoryMetadataDevice({ nrBlocks });
      expect(thrownBy(() => CloneMetadata.format(device, TWO_BLOCKS))).toBeInstanceOf(NoSpaceError);
      expect(device.bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0)).toBe(true);
    }
    expect(CloneMetadata.format(new MemoryMetadataDevice({ nrBlocks: 7 }), TWO_BLOCKS).nrFreeMetadataBlocks).toBe(0);
    const readOnly = new MemoryMetadataDevice({ bytes: new Uint8Array(64 * BLOCK_SIZE), readOnly: true });
    expect(thrownBy(() => CloneMetadata.format(readOnly, TWO_BLOCKS))).toBeInstanceOf(ReadOnlyError);
  });
});
