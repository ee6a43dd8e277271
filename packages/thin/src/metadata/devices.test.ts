import { BLOCK_SIZE } from '@pdata/device';
import { Block, nodeValidator, setU64At } from '@pdata/persistent-data';
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
import { readThinSuperblock } from '../format/superblock.js';
import { DeviceExistsError, NoSuchDeviceError, PoolTimeError, TransactionIdError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

describe('creating a thin device', () => {
  it('records the transaction id and the time of the pool, and no mappings', () => {
    const { device, metadata } = newPool();
    metadata.setTransactionId(0n, 42n);
    metadata.createThin(0);
    metadata.createSnapshot(1, 0);
    metadata.setTransactionId(42n, 43n);
    metadata.createThin(2);
    expect(metadata.details(2)).toEqual({ mappedBlocks: 0, transactionId: 43n, creationTime: 1, snapshottedTime: 1 });
    metadata.commit();
    expect(expectSound(device).devices.get(2)).toEqual({
      mappedBlocks: 0,
      transactionId: 43n,
      creationTime: 1,
      snapshottedTime: 1,
      mappings: new Map(),
    });
  });

  it('takes ids from 0 to 2^24 - 1', () => {
    const { device, metadata } = newPool();
    for (const thinId of [0, 2 ** 24 - 1]) metadata.createThin(thinId);
    for (const thinId of [-1, 2 ** 24, 1.5, Number.NaN]) {
      const refusal = thrownBy(() => metadata.createThin(thinId));
      expect(refusal).toBeInstanceOf(RangeError);
      expect(refusal.message).toBe(`a thin id is a whole number from 0 to 16777215, not ${thinId}`);
      expect(thrownBy(() => metadata.createSnapshot(thinId, 0))).toBeInstanceOf(RangeError);
      expect(thrownBy(() => metadata.find(thinId, 0))).toBeInstanceOf(RangeError);
    }
    metadata.commit();
    expect([...expectSound(device).devices.keys()]).toEqual([0, 2 ** 24 - 1]);
  });

  it('refuses an id that is in use, by a device or a snapshot, committed or not', () => {
    const { metadata } = newPool();
    metadata.createThin(5);
    metadata.createSnapshot(6, 5);
    for (let round = 0; round < 2; round++) {
      for (const thinId of [5, 6]) {
        const refusal = thrownBy(() => metadata.createThin(thinId));
        expect(refusal).toBeInstanceOf(DeviceExistsError);
        expect(refusal.message).toBe(`thin device ${thinId} exists already: take another id, or delete it first`);
        expect(thrownBy(() => metadata.createSnapshot(thinId, 5))).toBeInstanceOf(DeviceExistsError);
      }
      metadata.commit();
    }
    expect(metadata.time).toBe(1); // refused snapshots take no time
  });

  it('gives an id again once its device is gone', () => {
    const { device, metadata } = newPool();
    metadata.createThin(5);
    write(metadata, 5, 0);
    metadata.commit();
    metadata.deleteDevice(5);
    metadata.createThin(5);
    expect(metadata.details(5)?.mappedBlocks).toBe(0);
    expect(metadata.find(5, 0)).toBeUndefined();
    metadata.commit();
    expectSound(device);
  });

  it('holds a thousand empty devices, and a thousand snapshots of one', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 10);
    for (let thinId = 1; thinId <= 1000; thinId++) metadata.createThin(thinId);
    for (let thinId = 1001; thinId <= 2000; thinId++) metadata.createSnapshot(thinId, 0);
    metadata.commit();
    const { devices } = expectSound(device);
    expect(devices.size).toBe(2001);
    expect(devices.get(1500)).toMatchObject({ mappedBlocks: 10, creationTime: 500, snapshottedTime: 500 });
    for (let thinId = 2000; thinId >= 0; thinId--) metadata.deleteDevice(thinId);
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9); // as after the first resize
    expect(metadata.nrFreeDataBlocks).toBe(1000);
  });
});

describe('taking a snapshot', () => {
  it('takes a unit of the pool’s time, for the snapshot and for its origin', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 3);
    metadata.createSnapshot(1, 0);
    metadata.createSnapshot(2, 0);
    metadata.createSnapshot(3, 1);
    expect(metadata.time).toBe(3);
    const times = [0, 1, 2, 3].map((thinId) => {
      const details = metadata.details(thinId);
      return [details?.creationTime, details?.snapshottedTime, details?.mappedBlocks];
    });
    expect(times).toEqual([
      [0, 2, 3],
      [1, 3, 3],
      [2, 2, 3],
      [3, 3, 3],
    ]);
  });

  it('shows what its origin had, and both go their own ways', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 300);
    metadata.createSnapshot(1, 0);
    const before = mappingsOf(metadata, 0);
    expect(mappingsOf(metadata, 1)).toEqual(before);
    write(metadata, 0, 10);
    write(metadata, 1, 20);
    metadata.removeRange(0, 100, 200);
    write(metadata, 1, 5000);
    expect(metadata.details(0)?.mappedBlocks).toBe(200);
    expect(metadata.details(1)?.mappedBlocks).toBe(301);
    expect(mappingsOf(metadata, 1).get(10)).toBe(before.get(10));
    expect(mappingsOf(metadata, 0).get(20)).toBe(before.get(20));
    expect(mappingsOf(metadata, 1).get(150)).toBe(before.get(150));
    metadata.commit();
    expectSound(device);
  });

  it('costs no data block, and at most the path to the list of devices', () => {
    const { metadata } = newPool({ nrMetadataBlocks: 2048, nrDataBlocks: 20000 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 10000);
    metadata.commit();
    const [freeData, freeMetadata] = [metadata.nrFreeDataBlocks, metadata.nrFreeMetadataBlocks];
    metadata.createSnapshot(1, 0);
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(freeData);
    expect(freeMetadata - metadata.nrFreeMetadataBlocks).toBe(0); // copies replace originals; nothing is added
  });

  it('may be of a snapshot of a snapshot, and so on, and they may go in any order', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048, nrDataBlocks: 4000 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 300);
    for (let thinId = 1; thinId < 200; thinId++) {
      metadata.createSnapshot(thinId, thinId - 1);
      write(metadata, thinId, thinId);
      if (thinId % 50 === 0) metadata.commit();
    }
    metadata.commit();
    const { devices } = expectSound(device);
    for (const [thinId, { mappings }] of devices) {
      // What each has written is seen by those after it, and by none before.
      expect(mappings.get(thinId)).not.toEqual(devices.get(thinId - 1)?.mappings.get(thinId));
      expect(mappings.get(thinId)).toEqual(devices.get(199)?.mappings.get(thinId));
    }
    for (let i = 0; i < 200; i++) {
      metadata.deleteDevice((i * 71) % 200);
      if (i % 40 === 0) {
        metadata.commit();
        expectSound(device, `${i} deleted`);
      }
    }
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
    expect(metadata.nrFreeDataBlocks).toBe(4000);
  });

  it('refuses an origin that does not exist', () => {
    const { metadata } = newPool();
    const refusal = thrownBy(() => metadata.createSnapshot(1, 0));
    expect(refusal).toBeInstanceOf(NoSuchDeviceError);
    expect(refusal.message).toBe('there is no thin device 0 in this pool: create it, or see what there is');
    expect(metadata.commit()).toBe(false);
  });

  it('is refused at the last time that a mapping can carry, and nothing else is', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    metadata.commit();
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setUint32(44, 2 ** 24 - 2, true));
    const late = ThinMetadata.open(device);
    late.createSnapshot(1, 0);
    expect(late.time).toBe(2 ** 24 - 1);
    const refusal = thrownBy(() => late.createSnapshot(2, 0));
    expect(refusal).toBeInstanceOf(PoolTimeError);
    expect(refusal.message).toContain('copy its volumes to a new pool');
    const dataBlock = write(late, 1, 7);
    late.createThin(2);
    late.commit();
    const image = expectSound(device);
    expect(image.devices.get(1)?.mappings.get(7)).toEqual({ dataBlock, time: 2 ** 24 - 1 });
    expect([...image.devices.keys()]).toEqual([0, 1, 2]);
  });

  it('and mapping are refused by a pool whose kernel let the time run past it: they would name other data blocks', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    const kept = write(metadata, 0, 1);
    metadata.commit();
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setUint32(44, 2 ** 24, true));
    const broken = ThinMetadata.open(device);
    expect(broken.find(0, 1)?.dataBlock).toBe(kept);
    expect(thrownBy(() => broken.createSnapshot(1, 0))).toBeInstanceOf(PoolTimeError);
    const dataBlock = broken.allocateDataBlock();
    expect(thrownBy(() => broken.insert(0, 2, dataBlock))).toBeInstanceOf(PoolTimeError);
    expect(broken.find(0, 2)).toBeUndefined();
    expect(broken.remove(0, 1)).toBe(true); // what is there can still be taken away
  });
});

describe('deleting a device', () => {
  it('gives back its blocks as far as nobody shares them, for use after the commit', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 600 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 400);
    metadata.createSnapshot(1, 0);
    writeRange(metadata, 1, 0, 100);
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(100);
    metadata.deleteDevice(0);
    expect(metadata.details(0)).toBeUndefined();
    expect(metadata.nrFreeDataBlocks).toBe(200); // the 100 that the snapshot has made its own
    metadata.commit();
    expect([...expectSound(device).devices.keys()]).toEqual([1]);
    metadata.deleteDevice(1);
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(600);
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
  });

  it('refuses a device that does not exist, deleted or never there', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    metadata.deleteDevice(0);
    for (const thinId of [0, 1]) {
      const refusal = thrownBy(() => metadata.deleteDevice(thinId));
      expect(refusal).toBeInstanceOf(NoSuchDeviceError);
      expect(refusal.message).toBe(`there is no thin device ${thinId} in this pool: create it, or see what there is`);
    }
  });

  it('makes room in a pool whose data space is used up', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 50 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 50);
    metadata.commit();
    expect(thrownBy(() => metadata.allocateDataBlock()).message).toContain('all 50 are in use');
    metadata.deleteDevice(0);
    metadata.createThin(1);
    // Free, but not yet to be had: the last commit still needs them.
    expect(thrownBy(() => metadata.allocateDataBlock())).toMatchObject({ code: 'ERR_NO_SPACE', of: 'data' });
    metadata.commit();
    writeRange(metadata, 1, 0, 50);
    metadata.commit();
    expect(expectSound(device).devices.get(1)?.mappedBlocks).toBe(50);
  });
});

describe('the list of devices', () => {
  it('is in order of ids, with what this transaction has done to them', () => {
    const { metadata } = newPool();
    for (const thinId of [7, 3, 5]) metadata.createThin(thinId);
    metadata.commit();
    metadata.createThin(4);
    metadata.deleteDevice(5);
    write(metadata, 7, 0);
    const listed = [...metadata.devices()].map(({ thinId, details }) => [thinId, details.mappedBlocks]);
    expect(listed).toEqual([
      [3, 0],
      [4, 0],
      [7, 1],
    ]);
  });

  it('may be walked while devices are deleted and created', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048 });
    for (let thinId = 0; thinId < 600; thinId++) metadata.createThin(2 * thinId);
    metadata.commit();
    const seen: number[] = [];
    for (const { thinId } of metadata.devices()) {
      seen.push(thinId);
      if (thinId % 4 === 0) metadata.deleteDevice(thinId);
      else if (thinId % 2 === 0) metadata.createSnapshot(thinId + 1, thinId);
    }
    expect(seen.filter((thinId) => thinId % 2 === 0)).toEqual(Array.from({ length: 600 }, (_, i) => 2 * i));
    metadata.commit();
    expect(expectSound(device).devices.size).toBe(600);
  });

  it('gives records that do not change afterwards', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    const [first] = metadata.devices();
    const details = metadata.details(0);
    write(metadata, 0, 0);
    expect([first?.details.mappedBlocks, details?.mappedBlocks]).toEqual([0, 0]);
  });
});

describe('the transaction id', () => {
  it('is compared and set with all of its 64 bits', () => {
    const { device, metadata } = newPool();
    expect(metadata.transactionId).toBe(0n);
    metadata.setTransactionId(0n, 2n ** 64n - 1n);
    metadata.commit();
    expect(expectSound(device).transactionId).toBe(2n ** 64n - 1n);
    metadata.close();
    expect(ThinMetadata.open(device).transactionId).toBe(2n ** 64n - 1n);
  });

  it('is not set by whoever expects another', () => {
    const { metadata } = newPool();
    metadata.setTransactionId(0n, 7n);
    const shown = shownBy(metadata);
    for (const current of [0n, 8n, 2n ** 64n + 7n]) {
      const refusal = thrownBy(() => metadata.setTransactionId(current, 9n));
      expect(refusal).toBeInstanceOf(TransactionIdError);
      expect(refusal.message).toBe(
        `the transaction id is 7, not ${current}: somebody else has changed the pool; see what it holds now`,
      );
    }
    for (const next of [-1n, 2n ** 64n]) {
      expect(thrownBy(() => metadata.setTransactionId(7n, next))).toBeInstanceOf(RangeError);
    }
    expect(shownBy(metadata)).toEqual(shown);
  });
});

it('a thin id that no device can have is told as damage, not handed out to be refused', () => {
  const { device, metadata } = newPool();
  metadata.createThin(0);
  metadata.createThin(1);
  metadata.commit();
  metadata.close();
  const { detailsRoot } = readThinSuperblock(new Block(device.bytes.subarray(0, BLOCK_SIZE), 0));
  const root = new Block(device.bytes.subarray(detailsRoot * BLOCK_SIZE, (detailsRoot + 1) * BLOCK_SIZE), detailsRoot);
  setU64At(root.view, 40, 2 ** 24);
  nodeValidator.prepare(root);
  expect(() => [...ThinMetadata.open(device).devices()]).toThrow(
    `details tree in block ${detailsRoot}: thin id is 16777216, expected at most 16777215`,
  );
});
