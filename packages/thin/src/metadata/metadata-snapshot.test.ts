import { BLOCK_SIZE, CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { expectSound, newPool, patchSuperblock, thrownBy, write, writeRange } from '../../test/pool.js';
import { readPoolImage } from '../../test/pool-image.js';
import { MetadataSnapshotError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

function poolOf(nrDevices: number): ReturnType<typeof newPool> {
  const pool = newPool({ nrMetadataBlocks: 1500, nrDataBlocks: 3000 });
  for (let thinId = 0; thinId < nrDevices; thinId++) {
    pool.metadata.createThin(thinId);
    writeRange(pool.metadata, thinId, 0, 5);
  }
  pool.metadata.commit();
  return pool;
}

describe('a metadata snapshot', () => {
  it('is a copy of the superblock that holds the trees, and nothing else is copied', () => {
    const { device, metadata } = poolOf(3);
    const before = readPoolImage(device.bytes);
    metadata.setTransactionId(0n, 7n);
    metadata.createSnapshot(9, 0);
    const held = metadata.reserveMetadataSnapshot();
    metadata.commit();
    const image = expectSound(device);
    expect(image.heldRoot).toBe(held);
    expect(image.metadataReferences.get(held)).toBe(1);
    expect(image.metadataReferences.get(0)).toBe(1);
    const { view } = { view: new DataView(device.bytes.buffer, held * BLOCK_SIZE, BLOCK_SIZE) };
    expect(view.getBigUint64(8, true)).toBe(BigInt(held)); // its own location
    expect(view.getUint32(44, true)).toBe(1); // time
    expect(view.getBigUint64(48, true)).toBe(7n); // transaction id
    expect(view.getBigUint64(56, true)).toBe(0n); // holds none itself
    for (const root of [view.getBigUint64(320, true), view.getBigUint64(328, true)]) {
      expect(image.metadataReferences.get(Number(root))).toBe(2); // the superblock's and its own
    }
    expect(image.metadataSpaceMap.nrAllocated).toBe(before.metadataSpaceMap.nrAllocated + 1);
  });

  it('shows the pool of the moment it was taken, whatever happens later', () => {
    const { device, metadata } = poolOf(4);
    const taken = readPoolImage(device.bytes).devices;
    metadata.reserveMetadataSnapshot();
    writeRange(metadata, 0, 100, 400);
    metadata.deleteDevice(1);
    metadata.createThin(77);
    metadata.removeRange(2, 0, 3);
    metadata.createSnapshot(78, 3);
    write(metadata, 3, 0);
    metadata.commit();
    const image = expectSound(device);
    expect(image.held).toEqual(taken);
    expect(image.dataSpaceMap.counts.has(taken.get(2)?.mappings.get(0)?.dataBlock ?? -1)).toBe(true); // unmapped, and held
  });

  it('includes what had not been committed when it was taken (49e99fc7, 0d200aef)', () => {
    const { device, metadata } = poolOf(1);
    metadata.createThin(5);
    writeRange(metadata, 5, 0, 300);
    metadata.reserveMetadataSnapshot();
    write(metadata, 5, 1000);
    metadata.commit();
    const image = expectSound(device);
    expect(image.held?.get(5)?.mappedBlocks).toBe(300);
    expect(image.held?.get(5)?.mappings.size).toBe(300);
    expect(image.devices.get(5)?.mappedBlocks).toBe(301);
  });

  it('is real with the next commit, and gone with an abort', () => {
    const { device, metadata } = poolOf(1);
    metadata.reserveMetadataSnapshot();
    expect(expectSound(device).heldRoot).toBe(0);
    metadata.abort();
    expect(metadata.heldRoot).toBeUndefined();
    metadata.commit();
    expectSound(device);
    metadata.reserveMetadataSnapshot();
    expect(metadata.commit()).toBe(true);
    expect(expectSound(device).heldRoot).toBe(metadata.heldRoot);
  });

  it('is one at a time: taken twice or released twice it is refused, and nothing happens', () => {
    const { device, metadata } = poolOf(1);
    const none = thrownBy(() => metadata.releaseMetadataSnapshot());
    expect(none).toBeInstanceOf(MetadataSnapshotError);
    expect(none.message).toBe('no metadata snapshot is held: there is nothing to release');
    const held = metadata.reserveMetadataSnapshot();
    for (let round = 0; round < 2; round++) {
      const second = thrownBy(() => metadata.reserveMetadataSnapshot());
      expect(second).toBeInstanceOf(MetadataSnapshotError);
      expect(second.message).toBe(`a metadata snapshot is held already, at block ${held}: release it first`);
      metadata.commit();
    }
    metadata.releaseMetadataSnapshot();
    expect(thrownBy(() => metadata.releaseMetadataSnapshot())).toBeInstanceOf(MetadataSnapshotError);
    metadata.commit();
    expectSound(device);
  });

  it('gives everything back when it is released, through every order of release and change', () => {
    const { device, metadata } = poolOf(3);
    const before = readPoolImage(device.bytes);
    for (let round = 0; round < 10; round++) {
      metadata.reserveMetadataSnapshot();
      if (round % 2 === 0) metadata.commit();
      write(metadata, 1, 500);
      metadata.remove(1, 500);
      if (round % 3 === 0) metadata.commit();
      metadata.releaseMetadataSnapshot();
      metadata.commit();
      const image = expectSound(device, `round ${round}`);
      expect(image.metadataSpaceMap.nrAllocated).toBe(before.metadataSpaceMap.nrAllocated);
      expect(image.dataSpaceMap.nrAllocated).toBe(before.dataSpaceMap.nrAllocated);
    }
  });

  it('of an empty pool can be held and released, again and again', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 64 });
    for (let round = 0; round < 5; round++) {
      metadata.reserveMetadataSnapshot();
      metadata.commit();
      expect(expectSound(device).held?.size).toBe(0);
      metadata.releaseMetadataSnapshot();
      metadata.commit();
      expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
    }
  });

  it('survives that all devices are deleted, and frees them when it goes', () => {
    const { device, metadata } = poolOf(200); // two leaves of device roots
    metadata.reserveMetadataSnapshot();
    for (let thinId = 0; thinId < 200; thinId++) metadata.deleteDevice(thinId);
    metadata.commit();
    expect(expectSound(device).held?.size).toBe(200);
    expect(metadata.nrFreeDataBlocks).toBe(2000);
    metadata.releaseMetadataSnapshot();
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
    expect(metadata.nrFreeDataBlocks).toBe(3000);
  });

  it('that cannot be read is not released: the transaction has to be aborted, and the pool stays', () => {
    const { device, metadata } = poolOf(2);
    const held = metadata.reserveMetadataSnapshot();
    metadata.commit();
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setUint32(320, 0xffff, true), held); // a mapping root outside the device
    const broken = ThinMetadata.open(device);
    expect(thrownBy(() => broken.releaseMetadataSnapshot())).toBeInstanceOf(CorruptBlockError);
    expect(thrownBy(() => broken.commit())).toMatchObject({ code: 'ERR_ABORT_REQUIRED' });
    broken.abort();
    expect(broken.heldRoot).toBe(held);
    expect(broken.details(1)?.mappedBlocks).toBe(5);
  });

  it('that claims to hold another is refused before it is followed', () => {
    const { device, metadata } = poolOf(1);
    const held = metadata.reserveMetadataSnapshot();
    metadata.commit();
    metadata.close();
    patchSuperblock(device.bytes, (view) => view.setUint32(56, held, true), held);
    const refusal = thrownBy(() => ThinMetadata.open(device).releaseMetadataSnapshot());
    expect(refusal).toBeInstanceOf(CorruptBlockError);
    expect(refusal.message).toBe(`metadata snapshot in block ${held}: held root is ${held}, expected 0`);
  });

  it('can be read while the pool goes on writing', () => {
    const { device, metadata } = poolOf(2);
    metadata.reserveMetadataSnapshot();
    metadata.commit();
    const taken = readPoolImage(device.bytes).held;
    for (let round = 0; round < 20; round++) {
      writeRange(metadata, 0, round * 50, round * 50 + 40);
      metadata.commit();
      const reader = new MemoryMetadataDevice({ bytes: device.bytes, readOnly: true });
      const now = new Uint8Array(reader.nrBlocks * BLOCK_SIZE);
      reader.read(0, now);
      expect(readPoolImage(now).held).toEqual(taken);
    }
  });
});
