import { MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { DATA_BLOCK_SIZE, expectSound, newPool, thrownBy, write, writeRange } from '../../test/pool.js';
import { CommitError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

describe('the low water mark of data', () => {
  it('is told when it is reached, once, and again only after there was more', () => {
    const { metadata } = newPool({ nrDataBlocks: 20 });
    const told: number[] = [];
    metadata.onDataLow(5, () => told.push(metadata.nrFreeDataBlocks));
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 14);
    expect(told).toEqual([]);
    writeRange(metadata, 0, 14, 18);
    expect(told).toEqual([5]);
    metadata.commit();
    metadata.removeRange(0, 0, 1);
    metadata.commit();
    write(metadata, 0, 0);
    expect(told).toEqual([5]); // 3 free was still too little
    metadata.removeRange(0, 0, 10);
    metadata.commit();
    writeRange(metadata, 0, 0, 9);
    expect(told).toEqual([5, 5]);
  });

  it('is told of growth, too: after it there is more', () => {
    const { metadata } = newPool({ nrDataBlocks: 10 });
    let told = 0;
    metadata.onDataLow(2, () => told++);
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 8);
    metadata.resizeData(20);
    metadata.commit();
    writeRange(metadata, 0, 8, 17);
    expect(told).toBe(1);
    write(metadata, 0, 17);
    expect(told).toBe(2);
  });

  it('is told again after an abort has brought the blocks back, and only then', () => {
    const { metadata } = newPool({ nrDataBlocks: 20 });
    let told = 0;
    metadata.onDataLow(5, () => told++);
    metadata.createThin(0);
    metadata.commit();
    writeRange(metadata, 0, 0, 16);
    metadata.abort();
    writeRange(metadata, 0, 0, 16);
    expect(told).toBe(2);
    metadata.commit();
    write(metadata, 0, 16);
    metadata.abort();
    write(metadata, 0, 16);
    expect(told).toBe(2);
  });
});

describe('the low water mark of metadata', () => {
  it('is told when it is reached, reserve included, once, and again only after there was more', () => {
    const { metadata } = newPool({ nrMetadataBlocks: 100, nrDataBlocks: 10000 });
    const told: number[] = [];
    const mark = 60;
    metadata.onMetadataLow(mark, () => told.push(metadata.nrFreeMetadataBlocks));
    let nr = 0;
    while (told.length === 0) metadata.createThin(nr++);
    expect(told[0]).toBeLessThanOrEqual(mark);
    expect(told[0]).toBeGreaterThan(mark - 5);
    for (const more of [1, 2, 3]) metadata.createThin(1000 + more);
    expect(told).toHaveLength(1);
    while (metadata.nrFreeMetadataBlocks > mark - 10) metadata.createThin(nr++);
    metadata.commit(); // gives back the blocks that it copied, too few to rise above the mark
    expect(metadata.nrFreeMetadataBlocks).toBeLessThanOrEqual(mark);
    metadata.createThin(nr++);
    expect(told).toHaveLength(1);
    while (nr > 10) metadata.deleteDevice(--nr);
    metadata.commit();
    expect(metadata.nrFreeMetadataBlocks).toBeGreaterThan(mark);
    while (told.length === 1 && nr < 100) metadata.createThin(nr++);
    expect(told).toHaveLength(2);
  });

  it('may be answered by growing, in the middle of anything', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 60, nrDataBlocks: 20000 });
    metadata.onMetadataLow(20, () => {
      metadata.resizeMetadata(metadata.nrMetadataBlocks + 100);
      metadata.commit();
    });
    metadata.createThin(0);
    for (let i = 0; i < 6000; i++) write(metadata, 0, i * 1000);
    metadata.createSnapshot(1, 0);
    writeRange(metadata, 1, 0, 6_000_000, 300_000);
    metadata.commit();
    expect(metadata.nrMetadataBlocks).toBeGreaterThan(150);
    expect(expectSound(device).devices.get(1)?.mappedBlocks).toBe(6000);
  });

  it('does not make a change fail that is complete when whoever is told throws', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 60, nrDataBlocks: 100 });
    metadata.onMetadataLow(59, () => {
      throw new Error('the pager is broken');
    });
    expect(thrownBy(() => metadata.createThin(0)).message).toBe('the pager is broken');
    expect(metadata.details(0)?.mappedBlocks).toBe(0);
    metadata.createThin(1);
    metadata.commit();
    expect([...expectSound(device).devices.keys()]).toEqual([0, 1]);
  });

  it('is not told by metadata that has failed (CVE-2022-50092)', () => {
    const device = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 64 }));
    const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 100 });
    let told = 0;
    device.inject({ operation: 'write', nth: device.nrDone('write') + 1, andLater: true });
    metadata.createThin(0);
    expect(thrownBy(() => metadata.commit())).toBeInstanceOf(CommitError);
    metadata.onMetadataLow(64, () => told++);
    metadata.onDataLow(100, () => told++);
    expect(thrownBy(() => metadata.createThin(1))).toMatchObject({ code: 'ERR_READ_ONLY' });
    metadata.abort();
    expect(told).toBe(0);
    device.inject({ operation: 'read', nth: device.nrDone('read') + 1, andLater: true });
    expect(thrownBy(() => metadata.abort())).toMatchObject({ code: 'ERR_DEVICE' });
    metadata.onMetadataLow(64, () => told++); // harmless, although there is nothing to watch
    expect(thrownBy(() => metadata.createThin(1))).toMatchObject({ code: 'ERR_ABORT_REQUIRED' });
    metadata.close();
    metadata.onDataLow(100, () => told++);
    expect(told).toBe(0);
  });
});
