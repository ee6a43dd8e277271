import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { ENTRIES_PER_BITMAP } from '@pdata/persistent-data';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  DATA_BLOCK_SIZE,
  expectSound,
  isAbortRequired,
  newPool,
  patchSuperblock,
  shownBy,
  thrownBy,
  write,
  writeRange,
} from '../../test/pool.js';
import { readPoolImage } from '../../test/pool-image.js';
import { ResizeError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

describe('growing the data device', () => {
  it('adds blocks that can be had after the commit, and not before', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 10 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 10);
    metadata.resizeData(30);
    expect(metadata.nrDataBlocks).toBe(30);
    expect(metadata.nrFreeDataBlocks).toBe(0);
    expect(thrownBy(() => metadata.allocateDataBlock())).toMatchObject({ of: 'data' });
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(20);
    writeRange(metadata, 0, 10, 30);
    metadata.commit();
    expect(expectSound(device).dataSpaceMap).toMatchObject({ nrBlocks: 30, nrAllocated: 30 });
  });

  it('crosses the borders of bitmaps, one block at a time or many bitmaps at once', () => {
    const { device, metadata } = newPool({ nrDataBlocks: ENTRIES_PER_BITMAP - 2 });
    for (const more of [1, 1, 1, 1, ENTRIES_PER_BITMAP, 5 * ENTRIES_PER_BITMAP + 3]) {
      const nrDataBlocks = metadata.nrDataBlocks + more;
      metadata.resizeData(nrDataBlocks);
      metadata.commit();
      expect(metadata.nrFreeDataBlocks).toBe(nrDataBlocks);
      expect(expectSound(device).dataSpaceMap.nrBlocks).toBe(nrDataBlocks);
    }
  });

  it('uses every block of every bitmap', () => {
    const nrDataBlocks = 2 * ENTRIES_PER_BITMAP + 7;
    const { device, metadata } = newPool({ nrDataBlocks, nrMetadataBlocks: 2048, cacheBlocks: 32 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, nrDataBlocks);
    expect(thrownBy(() => metadata.allocateDataBlock())).toMatchObject({ of: 'data' });
    metadata.commit();
    expect(expectSound(device).dataSpaceMap.nrAllocated).toBe(nrDataBlocks);
  });

  it('to the size it has does nothing', () => {
    const { metadata } = newPool({ nrDataBlocks: 10 });
    metadata.resizeData(10);
    metadata.resizeMetadata(metadata.nrMetadataBlocks);
    expect(metadata.commit()).toBe(false);
  });

  it('never makes it smaller', () => {
    const { metadata } = newPool({ nrDataBlocks: 10 });
    const refusal = thrownBy(() => metadata.resizeData(9));
    expect(refusal).toBeInstanceOf(ResizeError);
    expect(refusal.message).toBe('the data device cannot shrink: it has 10 blocks, not 9');
    expect(thrownBy(() => metadata.resizeData(2 ** 40 + 1))).toBeInstanceOf(RangeError);
  });

  it('beyond what the metadata can describe is refused before it is begun', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 16, nrDataBlocks: 0 });
    const refusal = thrownBy(() => metadata.resizeData(2 ** 33));
    expect(refusal).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
    expect(refusal.message).toContain('grow the metadata first');
    expect(metadata.commit()).toBe(false);
    metadata.resizeData(1000);
    metadata.commit();
    expectSound(device);
  });
});

describe('growing the metadata', () => {
  it('puts new bitmaps, a copied one and the index where the kernel does', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 15360, nrDataBlocks: 0 });
    metadata.resizeMetadata(51200);
    metadata.commit();
    const { roles, metadataSpaceMap } = expectSound(device);
    expect([...roles].filter(([nr]) => nr >= 15360).sort(([a], [b]) => a - b)).toEqual([
      [15360, 'metadata bitmap'],
      [15361, 'metadata bitmap'],
      [15362, 'metadata bitmap'],
      [15363, 'metadata bitmap'], // bitmap 0, copied
      [15364, 'metadata index'],
    ]);
    expect(metadataSpaceMap).toMatchObject({ nrBlocks: 51200, nrAllocated: 11 });
    expect(new DataView(device.bytes.buffer).getBigUint64(344, true)).toBe(15360n); // the size when formatted: left alone
  });

  it('loses no block at any step, nor when it crosses the border of a bitmap (6096d91a)', () => {
    const start = ENTRIES_PER_BITMAP - 12;
    const base = newPool({ nrMetadataBlocks: start, nrDataBlocks: 50000 });
    base.metadata.createThin(0);
    writeRange(base.metadata, 0, 0, 1000);
    base.metadata.createSnapshot(1, 0);
    writeRange(base.metadata, 1, 0, 1000, 100);
    base.metadata.commit();
    const steps = [1, 2, 11, 12, 13, 14, 15, 16, 17, ENTRIES_PER_BITMAP, 2 * ENTRIES_PER_BITMAP + 5];
    for (const more of steps) {
      const device = new MemoryMetadataDevice({ nrBlocks: start + Math.max(more, 20) });
      device.write(0, base.device.bytes.subarray(0, 200 * BLOCK_SIZE)); // all that is in use
      const metadata = ThinMetadata.open(device);
      if (more % 2 === 0) write(metadata, 1, 5); // with bitmaps copied in this transaction already, or not
      try {
        metadata.resizeMetadata(start + more);
      } catch (error) {
        // One to two blocks behind the border cannot hold the bitmap that describes them, its index and a copied bitmap.
        expect(error, `by ${more}`).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
        expect([13, 14]).toContain(more);
        if (isAbortRequired(metadata)) metadata.abort();
        expect(metadata.nrMetadataBlocks).toBe(start);
        metadata.commit();
        expectSound(device, `refused, by ${more}`);
        metadata.resizeMetadata(start + 20);
        metadata.commit();
        expectSound(device, `by ${more}, then by 20`);
        continue;
      }
      expect(metadata.nrMetadataBlocks).toBe(start + more);
      metadata.commit();
      expect(expectSound(device, `by ${more}`).metadataSpaceMap.nrBlocks).toBe(start + more);
    }
  });

  it('one block after the other, without a commit in between or with', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 20, nrDataBlocks: 100 });
    metadata.createThin(0);
    for (let nr = 21; nr <= 60; nr++) {
      metadata.resizeMetadata(nr);
      if (nr % 3 === 0) metadata.commit();
      write(metadata, 0, nr);
    }
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrBlocks).toBe(60);
  });

  it('makes room in metadata that is full', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 40, nrDataBlocks: 60000 });
    metadata.createThin(0);
    let next = 0;
    const fill = (): void => {
      for (;;) write(metadata, 0, next++ * 1000);
    };
    expect(thrownBy(fill)).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
    if (isAbortRequired(metadata)) metadata.abort();
    metadata.commit();
    metadata.resizeMetadata(120);
    metadata.commit();
    const before = metadata.details(0)?.mappedBlocks ?? 0;
    expect(thrownBy(fill)).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
    if (isAbortRequired(metadata)) metadata.abort();
    metadata.commit();
    expect(metadata.details(0)?.mappedBlocks).toBeGreaterThan(2 * before);
    expectSound(device);
  });

  it('enlarges the device if it is not that large yet, and takes notice if it is', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 30 });
    metadata.resizeMetadata(40);
    expect(device.nrBlocks).toBe(40);
    metadata.commit();
    device.grow(50);
    metadata.resizeMetadata(45);
    metadata.commit();
    expect([device.nrBlocks, metadata.nrMetadataBlocks]).toEqual([50, 45]);
    expectSound(device);
  });

  it('is undone by an abort', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 30 });
    metadata.resizeMetadata(40);
    metadata.resizeData(2000);
    metadata.abort();
    expect([metadata.nrMetadataBlocks, metadata.nrDataBlocks]).toEqual([30, 1000]);
    metadata.resizeMetadata(35);
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrBlocks).toBe(35);
  });

  it('never makes it smaller', () => {
    const { metadata } = newPool({ nrMetadataBlocks: 30 });
    const refusal = thrownBy(() => metadata.resizeMetadata(29));
    expect(refusal).toBeInstanceOf(ResizeError);
    expect(refusal.message).toBe('the metadata device cannot shrink: it has 30 blocks, not 29');
    for (const nr of [-1, 30.5, Number.NaN])
      expect(thrownBy(() => metadata.resizeMetadata(nr))).toBeInstanceOf(RangeError);
  });

  it('leaves everything as it was when the device cannot grow', () => {
    const device = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 30 }), { operation: 'grow', nth: 1 });
    const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 100 });
    metadata.createThin(0);
    const shown = shownBy(metadata);
    expect(thrownBy(() => metadata.resizeMetadata(40))).toBeInstanceOf(DeviceError);
    expect(shownBy(metadata)).toEqual(shown);
    write(metadata, 0, 0);
    metadata.commit();
    metadata.resizeMetadata(40); // the fault was for once
    metadata.commit();
    expect(metadata.nrMetadataBlocks).toBe(40);
  });
});

describe('a pool that is to be checked', () => {
  it('says so, keeps saying so, and does not grow', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 64 });
    expect(metadata.needsCheck).toBe(false);
    metadata.setNeedsCheck();
    metadata.commit();
    expect(readPoolImage(device.bytes).flags).toBe(1);
    metadata.close();
    const again = ThinMetadata.open(device);
    expect(again.needsCheck).toBe(true);
    for (const grow of [() => again.resizeData(2000), () => again.resizeMetadata(100)]) {
      const refusal = thrownBy(grow);
      expect(refusal).toBeInstanceOf(ResizeError);
      expect(refusal.message).toContain('cannot grow until the metadata has been checked: needs_check is set');
    }
    again.createThin(1);
    again.commit();
    expect(readPoolImage(device.bytes).flags).toBe(1);
  });

  it('keeps the other flags', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 64 });
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setUint32(4, 0x8000_0080, true));
    const flagged = ThinMetadata.open(device);
    expect(flagged.needsCheck).toBe(false);
    flagged.setNeedsCheck();
    flagged.commit();
    expect(flagged.needsCheck).toBe(true);
    expect(new DataView(device.bytes.buffer, 0, BLOCK_SIZE).getUint32(4, true)).toBe(0x8000_0081);
  });
});
