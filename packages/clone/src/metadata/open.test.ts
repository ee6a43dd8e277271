import { ClosedError, CorruptBlockError, DeviceBusyError, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { NotFormattedError, UnsupportedMetadataError } from '@pdata/persistent-data';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CloneImage, SB } from '../../test/clone-image.js';
import { commit, fixtureBytes, hydratedOf, newClone, REGION_SIZE, thrownBy } from '../../test/clones.js';
import { CloneMetadata } from './clone-metadata.js';
import { GeometryError } from './errors.js';

/** The medium of a clone that nobody has open. */
function medium(): CloneImage {
  const { device, metadata } = newClone({ targetSize: 40_000 * REGION_SIZE });
  metadata.setRangeHydrated(100, 33_000);
  commit(metadata);
  metadata.close();
  return new CloneImage(device.bytes);
}

const openImage = (image: CloneImage): CloneMetadata => CloneMetadata.open(image.device());

describe('opening', () => {
  // The kernel's own status line of this image: 8 6/1024 8 224/4096.
  it("finds what a kernel's status line says of the image it made", () => {
    const bytes = fixtureBytes();
    const metadata = CloneMetadata.open(new MemoryMetadataDevice({ bytes, readOnly: true }));
    expect([metadata.regionSize, metadata.targetSize, metadata.nrRegions]).toEqual([8, 32_768, 4096]);
    expect(metadata.nrHydrated).toBe(224);
    expect([metadata.nrMetadataBlocks - metadata.nrFreeMetadataBlocks, metadata.nrMetadataBlocks]).toEqual([6, 1024]);
    expect(hydratedOf(metadata)).toEqual(new CloneImage(bytes).hydrated());
  });

  it('finds what was committed, and nothing else', () => {
    const { device, metadata } = newClone();
    metadata.setHydrated(7);
    commit(metadata);
    metadata.setHydrated(8);
    metadata.close();
    expect(hydratedOf(CloneMetadata.open(device))).toEqual([7]);
  });

  it('says so when there is nothing, and what to do', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 64, name: 'meta.img' });
    const error = thrownBy(() => CloneMetadata.open(device));
    expect(error).toBeInstanceOf(NotFormattedError);
    expect(error.message).toBe(
      'meta.img holds no clone metadata: its first block is empty; format it, or restore a dump into it',
    );
  });

  // The kernel: "Region and/or target size don't match the ones in metadata", EINVAL.
  it('refuses metadata of a clone of another size', () => {
    const image = medium();
    const { regionSize, targetSize } = image;
    for (const asked of [{ regionSize: 16 }, { targetSize: targetSize - 1 }, { regionSize: 16, targetSize }]) {
      const error = thrownBy(() => CloneMetadata.open(image.device(), asked));
      expect(error).toBeInstanceOf(GeometryError);
      expect(error.message).toContain('was made for a clone of 320000 sectors in regions of 8, not of ');
    }
    expect(thrownBy(() => CloneMetadata.openOrFormat(image.device(), { regionSize: 16, targetSize }))).toBeInstanceOf(
      GeometryError,
    );
    expect(CloneMetadata.open(image.device(), { regionSize, targetSize }).nrHydrated).toBe(32_900);
  });

  it('formats a blank device, and opens any other, as the kernel activates a clone', () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 64 });
    const sizes = { regionSize: 8, targetSize: 800 };
    const first = CloneMetadata.openOrFormat(device, sizes);
    first.setHydrated(3);
    commit(first);
    first.close();
    expect(hydratedOf(CloneMetadata.openOrFormat(device, sizes))).toEqual([3]);
  });

  it('refuses another version, after the checksum', () => {
    const image = medium().superblock32(SB.version, 2);
    const error = thrownBy(() => openImage(image));
    expect(error).toBeInstanceOf(UnsupportedMetadataError);
    expect(error.message).toContain('version 2');
    image.put32(0, SB.version, 3); // not resealed
    expect(thrownBy(() => openImage(image))).toBeInstanceOf(CorruptBlockError);
  });

  it.each([
    { lie: 'a region size of 12', at: SB.regionSize, value: 12, says: 'region size is 12' },
    {
      lie: 'a region size of 2^63',
      at: SB.regionSize,
      value: 2n ** 63n,
      says: 'region size is about 92233720368547',
    },
    { lie: 'no sectors', at: SB.targetSize, value: 0, says: 'target size is 0' },
    { lie: 'too many regions', at: SB.targetSize, value: 2 ** 40, says: 'target size is 1099511627776' },
    {
      lie: 'more regions than words',
      at: SB.targetSize,
      value: 8 * 100_000,
      says: 'for the array to have 1563 elements',
    },
    { lie: 'a root outside', at: SB.bitsetRoot, value: 99, says: 'block number is 99, expected below 64' },
    { lie: 'a root that is a bitmap', at: SB.bitsetRoot, value: 3, says: 'btree node in block 3' },
    { lie: 'more blocks than the device', at: SB.spaceMap, value: 65, says: 'nrBlocks is 65, expected at most 64' },
  ])('refuses $lie under a good checksum', ({ at, value, says }) => {
    const error = thrownBy(() => openImage(medium().superblock64(at, value)));
    expect(error).toBeInstanceOf(CorruptBlockError);
    expect(error.message).toContain(says);
  });

  it('ignores bits behind the last region', () => {
    const { device, metadata } = newClone({ targetSize: 70 * REGION_SIZE });
    metadata.close();
    const image = new CloneImage(device.bytes);
    const [arrayBlock] = image.bitset().arrayBlocks;
    image.put64(arrayBlock as number, 24 + 8, 2n ** 64n - 1n).seal(arrayBlock as number, 'array');
    const opened = openImage(image);
    expect(opened.nrHydrated).toBe(6);
    expect(opened.nextUnhydrated(64)).toBe(70);
  });

  it('lets one object at a time write to a device, and any number read', () => {
    const { device, metadata } = newClone();
    expect(thrownBy(() => CloneMetadata.open(device))).toBeInstanceOf(DeviceBusyError);
    metadata.close();
    const second = CloneMetadata.open(device);
    second.close();
    const failing = new FaultyMetadataDevice(device, { operation: 'read', blockNr: 0 });
    expect(() => CloneMetadata.open(failing)).toThrow(/cannot read block 0/);
    expect(CloneMetadata.open(device).nrHydrated).toBe(0); // opening that failed holds nothing
  });

  it('reads from a read-only device, and refuses marks and commits there', () => {
    const { bytes } = medium();
    const metadata = CloneMetadata.open(new MemoryMetadataDevice({ bytes, readOnly: true }));
    expect(metadata.readOnly).toBe(true);
    expect(metadata.isHydrated(100)).toBe(true);
    for (const change of [
      () => metadata.setHydrated(1),
      () => metadata.setRangeHydrated(0, 3),
      () => metadata.preCommit(),
      () => metadata.commit(),
    ]) {
      expect(thrownBy(change)).toBeInstanceOf(ReadOnlyError);
    }
    expect(metadata.nrHydrated).toBe(32_900);
  });

  it('refuses everything once it is closed, and closing again', () => {
    const { metadata } = newClone();
    metadata.close();
    metadata.close();
    for (const use of [
      () => metadata.isHydrated(1),
      () => metadata.nextUnhydrated(1),
      () => metadata.setHydrated(1),
      () => metadata.preCommit(),
      () => metadata.abort(),
      () => metadata.nrFreeMetadataBlocks,
    ]) {
      expect(thrownBy(use)).toBeInstanceOf(ClosedError);
    }
  });
});
