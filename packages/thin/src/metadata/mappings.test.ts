import { CorruptBlockError } from '@pdata/device';
import { CountRangeError } from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import {
  expectSound,
  mappingsOf,
  newPool,
  patchSuperblock,
  shownBy,
  thrownBy,
  write,
  writeRange,
} from '../../test/pool.js';
import { NoSuchDeviceError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

/** A volume with virtual blocks 0..9 on data blocks 0..9, snapshotted as device 1. */
function originAndSnapshot(): ReturnType<typeof newPool> {
  const pool = newPool();
  pool.metadata.createThin(0);
  writeRange(pool.metadata, 0, 0, 10);
  pool.metadata.createSnapshot(1, 0);
  return pool;
}

describe('a mapping', () => {
  it('has the data block, the time it was made, and whether a write must copy', () => {
    const { metadata } = originAndSnapshot();
    expect(metadata.find(0, 4)).toEqual({ dataBlock: 4, time: 0, shared: true });
    expect(metadata.find(1, 4)).toEqual({ dataBlock: 4, time: 0, shared: true });
    expect(metadata.find(0, 10)).toBeUndefined();
    const copy = write(metadata, 0, 4);
    expect(metadata.find(0, 4)).toEqual({ dataBlock: copy, time: 1, shared: false });
  });

  it('is stamped with the pool’s time, not the device’s', () => {
    const { metadata } = originAndSnapshot();
    metadata.createThin(2);
    metadata.createSnapshot(3, 2);
    write(metadata, 0, 50);
    expect(metadata.find(0, 50)?.time).toBe(2);
  });

  it('of a snapshot’s own is not shared until that is snapshotted itself', () => {
    const { metadata } = originAndSnapshot();
    write(metadata, 1, 20);
    expect(metadata.find(1, 20)?.shared).toBe(false);
    metadata.createSnapshot(2, 0); // another device’s snapshot changes nothing
    expect(metadata.find(1, 20)?.shared).toBe(false);
    metadata.createSnapshot(3, 1);
    expect(metadata.find(1, 20)?.shared).toBe(true);
    expect(metadata.find(3, 20)?.shared).toBe(true);
  });

  it('is taken for shared once too often, never too rarely: the test is one-sided', () => {
    const { device, metadata } = originAndSnapshot();
    metadata.commit();
    write(metadata, 0, 4);
    expect(metadata.isDataBlockShared(4)).toBe(false); // the snapshot alone has it now,
    expect(metadata.find(1, 4)?.shared).toBe(true); // and takes it for shared all the same
    expect(metadata.dataBlockCount(4)).toBe(1);
    write(metadata, 1, 4);
    expect(metadata.dataBlockCount(4)).toBe(0);
    metadata.commit();
    expectSound(device);
  });

  it('replaces another, whose data block loses a reference', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    const first = write(metadata, 0, 3);
    const second = metadata.allocateDataBlock();
    expect(metadata.insert(0, 3, second)).toBe(false);
    expect(metadata.details(0)?.mappedBlocks).toBe(1);
    expect([metadata.dataBlockCount(first), metadata.dataBlockCount(second)]).toEqual([0, 1]);
    metadata.commit();
    expectSound(device);
  });

  it('to the data block it had keeps that block’s one reference, and gets the new time', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    const dataBlock = write(metadata, 0, 3);
    metadata.createSnapshot(1, 0);
    metadata.deleteDevice(1);
    expect(metadata.insert(0, 3, dataBlock)).toBe(false);
    expect(metadata.find(0, 3)).toEqual({ dataBlock, time: 1, shared: false });
    metadata.commit();
    expectSound(device);
  });

  it('may have any virtual block below 2^53 - 1', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    for (const virtualBlock of [0, 2 ** 32, 2 ** 48 + 1, 2 ** 53 - 2]) {
      const dataBlock = write(metadata, 0, virtualBlock);
      expect(metadata.find(0, virtualBlock)?.dataBlock).toBe(dataBlock);
    }
    expect(metadata.highestMapped(0)).toBe(2 ** 53 - 2);
    metadata.commit();
    expect([...(expectSound(device).devices.get(0)?.mappings.keys() ?? [])]).toHaveLength(4);
  });
});

describe('what makes no sense', () => {
  const senseless: [string, (metadata: ThinMetadata) => unknown, string][] = [
    ['a virtual block of -1', (metadata) => metadata.insert(0, -1, 0), 'virtual block -1 is not a whole number below'],
    ['half a virtual block', (metadata) => metadata.find(0, 0.5), 'virtual block 0.5 is not'],
    ['a data block outside the pool', (metadata) => metadata.insert(0, 0, 1000), 'data block 1000 is not'],
    ['a range that ends before it begins', (metadata) => metadata.removeRange(0, 5, 4), 'virtual blocks 5 to 4'],
    ['a range without an end', (metadata) => metadata.removeRange(0, 0, Number.NaN), 'virtual blocks 0 to NaN'],
    [
      'an endless range',
      (metadata) => metadata.findRange(0, 0, Number.POSITIVE_INFINITY),
      'virtual blocks 0 to Infinity',
    ],
    ['data blocks outside the pool', (metadata) => metadata.incDataBlocks(999, 1001), 'data blocks 999 to 1001'],
    ['data blocks in reverse', (metadata) => metadata.decDataBlocks(3, 1), 'data blocks 3 to 1'],
  ];
  it.each(senseless)('is refused with nothing changed: %s', (_what, request, says) => {
    const { device, metadata } = originAndSnapshot();
    const shown = shownBy(metadata);
    const refusal = thrownBy(() => request(metadata));
    expect(refusal).toBeInstanceOf(RangeError);
    expect(refusal.message).toContain(says);
    expect(shownBy(metadata)).toEqual(shown);
    metadata.commit();
    expectSound(device);
  });

  it('is to map a data block that nobody has allocated', () => {
    const { device, metadata } = originAndSnapshot();
    const refusal = thrownBy(() => metadata.insert(0, 0, 500));
    expect(refusal).toBeInstanceOf(CountRangeError);
    expect(refusal.message).toBe('data block 500 is free: allocate it, then map it');
    metadata.commit();
    expectSound(device);
  });

  it('is to give up references that are not there: not even those before them are given up', () => {
    const { device, metadata } = originAndSnapshot();
    const refusal = thrownBy(() => metadata.decDataBlocks(8, 12));
    expect(refusal).toBeInstanceOf(CountRangeError);
    expect(refusal.message).toBe('data block 10 has no reference to give up');
    expect(metadata.dataBlockCount(8)).toBe(1); // two devices, one leaf
    metadata.commit();
    expectSound(device);
  });

  it('is to ask for a device that is not there', () => {
    const { metadata } = originAndSnapshot();
    for (const request of [
      () => metadata.find(9, 0),
      () => metadata.findRange(9, 0, 1),
      () => [...metadata.mappedRanges(9)],
      () => metadata.highestMapped(9),
      () => metadata.insert(9, 0, 0),
      () => metadata.removeRange(9, 0, 1),
    ]) {
      expect(thrownBy(request)).toBeInstanceOf(NoSuchDeviceError);
    }
    expect(metadata.details(9)).toBeUndefined(); // a question, not a request
  });
});

describe('ranges of mappings', () => {
  it('end where the virtual or the data blocks stop being neighbours, or sharing changes', () => {
    const { metadata } = originAndSnapshot(); // 0..9 on 0..9, shared
    writeRange(metadata, 0, 10, 13); // 10..12 on 10..12, not shared
    writeRange(metadata, 0, 20, 22); // 20..21 on 13..14
    write(metadata, 0, 24); // 24 on 15
    write(metadata, 0, 23); // 23 on 16
    expect([...metadata.mappedRanges(0)]).toEqual([
      { begin: 0, end: 10, dataBegin: 0, shared: true },
      { begin: 10, end: 13, dataBegin: 10, shared: false },
      { begin: 20, end: 22, dataBegin: 13, shared: false },
      { begin: 23, end: 24, dataBegin: 16, shared: false },
      { begin: 24, end: 25, dataBegin: 15, shared: false },
    ]);
    expect(metadata.findRange(0, 5, 8)).toEqual({ begin: 5, end: 8, dataBegin: 5, shared: true });
    expect(metadata.findRange(0, 13, 20)).toBeUndefined();
    expect(metadata.findRange(0, 13, 21)).toEqual({ begin: 20, end: 21, dataBegin: 13, shared: false });
    expect(metadata.findRange(0, 5, 5)).toBeUndefined();
    expect(metadata.highestMapped(0)).toBe(24);
  });

  it('cross the borders of leaves', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 900);
    expect([...metadata.mappedRanges(0)]).toEqual([{ begin: 0, end: 900, dataBegin: 0, shared: false }]);
  });

  it('of a device without mappings are none', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    expect([...metadata.mappedRanges(0)]).toEqual([]);
    expect(metadata.highestMapped(0)).toBeUndefined();
  });

  it('may be walked while they are removed', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 900, 3);
    for (const { begin, end } of metadata.mappedRanges(0)) metadata.removeRange(0, begin, end);
    expect(metadata.details(0)?.mappedBlocks).toBe(0);
    metadata.commit();
    expect(expectSound(device).dataSpaceMap.nrAllocated).toBe(0);
  });
});

describe('removing mappings', () => {
  it('counts those that were there, and gives back what nobody else has', () => {
    const { device, metadata } = originAndSnapshot();
    expect(metadata.removeRange(0, 5, 100)).toBe(5);
    expect(metadata.remove(0, 0)).toBe(true);
    expect(metadata.remove(0, 0)).toBe(false);
    expect(metadata.details(0)?.mappedBlocks).toBe(4);
    expect(metadata.nrFreeDataBlocks).toBe(990);
    metadata.removeRange(1, 5, 7);
    expect(metadata.nrFreeDataBlocks).toBe(992);
    metadata.commit();
    expectSound(device);
  });

  it('that are not there changes nothing, and needs no commit', () => {
    const { metadata } = originAndSnapshot();
    metadata.commit();
    expect(metadata.removeRange(0, 100, 1000)).toBe(0);
    expect(metadata.remove(0, 100)).toBe(false);
    expect(metadata.commit()).toBe(false);
  });

  it('leaves a pool with nothing but its empty trees', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048, nrDataBlocks: 20000 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 20000);
    metadata.commit();
    expect(metadata.removeRange(0, 0, 2 ** 53 - 1)).toBe(20000);
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(11); // two data bitmaps and the device’s empty leaf
  });
});

describe('data blocks', () => {
  it('are kept from reuse while a discard of them is under way', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 20 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 20);
    metadata.commit();
    metadata.removeRange(0, 0, 5);
    metadata.incDataBlocks(0, 5); // docs/format/thin.md, section 9.1, step 2
    metadata.commit();
    expect(thrownBy(() => metadata.allocateDataBlock())).toMatchObject({ of: 'data' });
    metadata.decDataBlocks(0, 5);
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(5);
    writeRange(metadata, 0, 0, 5);
    metadata.commit();
    expect([...mappingsOf(metadata, 0).values()].slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
    expectSound(device);
  });

  it('run out without harm: the refusal needs no abort', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 3 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 3);
    const refusal = thrownBy(() => metadata.allocateDataBlock());
    expect(refusal).toMatchObject({ code: 'ERR_NO_SPACE', of: 'data' });
    expect(refusal.message).toBe('the pool has no free data block: all 3 are in use; grow it, or discard and commit');
    metadata.remove(0, 1);
    metadata.commit();
    expect(metadata.allocateDataBlock()).toBe(1);
    metadata.decDataBlocks(1, 2);
    metadata.commit();
    expectSound(device);
  });
});

describe('mappings behind the end of the pool, which only damage can make', () => {
  /** Volume 0 maps 0..9 and is snapshotted; then the superblock comes to say that the pool has but 5 data blocks. */
  function shortened(): ThinMetadata {
    const { device, metadata } = originAndSnapshot();
    metadata.commit();
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setBigUint64(64, 5n, true));
    return ThinMetadata.open(device);
  }

  it.each<[string, (metadata: ThinMetadata) => unknown]>([
    ['copying their leaf', (metadata) => metadata.insert(0, 20, 2)],
    ['removing them', (metadata) => metadata.removeRange(0, 0, 10)],
    ['giving up the last volume that has them', (metadata) => [0, 1].map((thinId) => metadata.deleteDevice(thinId))],
  ])('are told as damage by %s, and leave an abort', (_, change) => {
    const metadata = shortened();
    metadata.removeRange(0, 30, 40); // finds nothing, changes nothing
    const refusal = thrownBy(() => change(metadata));
    expect(refusal).toBeInstanceOf(CorruptBlockError);
    expect(refusal.message).toMatch(
      /^mapping tree in block \d+: data block is \d+, expected below 5, the data blocks of the pool$/,
    );
    metadata.abort();
    expect(metadata.details(0)?.mappedBlocks).toBe(10);
  });
});

it('finds a run no longer than asked for', () => {
  const { metadata } = newPool();
  metadata.createThin(0);
  writeRange(metadata, 0, 5, 25);
  expect(metadata.findRange(0, 0, 100, 8)).toEqual({ begin: 5, end: 13, dataBegin: 0, shared: false });
  expect(metadata.findRange(0, 0, 10, 8)).toEqual({ begin: 5, end: 10, dataBegin: 0, shared: false });
  expect(metadata.findRange(0, 0, 100)).toEqual({ begin: 5, end: 25, dataBegin: 0, shared: false });
});
