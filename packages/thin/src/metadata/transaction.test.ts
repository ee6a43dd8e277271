import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { AbortRequiredError } from '@pdata/persistent-data';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  DATA_BLOCK_SIZE,
  expectSameBytes,
  expectSound,
  newPool,
  patchSuperblock,
  shownBy,
  shownByImage,
  thrownBy,
  write,
  writeRange,
} from '../../test/pool.js';
import { readPoolImage } from '../../test/pool-image.js';
import { CommitError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

/** A pool on a device that remembers its writes, with one volume, committed. */
function recordedPool(options: { preCommit?: () => void; cacheBlocks?: number } = {}): {
  memory: MemoryMetadataDevice;
  device: RecordingMetadataDevice;
  metadata: ThinMetadata;
} {
  const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
  const device = new RecordingMetadataDevice(memory, { keepBytes: false });
  const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 3000, ...options });
  metadata.createThin(0);
  writeRange(metadata, 0, 0, 1000);
  metadata.commit();
  device.clear();
  return { memory, device, metadata };
}

describe('a commit', () => {
  it('writes blocks, flushes, writes the superblock, flushes', () => {
    const { memory, device, metadata } = recordedPool();
    const reachable = readPoolImage(memory.bytes).metadataReferences;
    write(metadata, 0, 5000);
    metadata.createSnapshot(1, 0);
    expect(device.operations).toEqual([]); // the cache is large: nothing before the commit
    metadata.commit();
    const kinds = device.summary.map((line) => line.replace(/ [\d.]+$/, ''));
    expect(kinds.slice(-3)).toEqual(['flush', 'write block', 'flush']);
    expect(device.summary.slice(-3)[1]).toBe('write block 0');
    expect(kinds.slice(0, -3).every((kind) => kind.startsWith('write block'))).toBe(true);
    for (const operation of device.operations.slice(0, -3)) {
      if (operation.op !== 'write') throw new Error(`unexpected ${operation.op}`);
      for (let i = 0; i < operation.nrBlocks; i++) {
        expect(reachable.has(operation.firstBlockNr + i), `block ${operation.firstBlockNr + i} was in use`).toBe(false);
      }
    }
  });

  it('of one mapping in a thousand writes a dozen blocks at most', () => {
    const { device, metadata } = recordedPool();
    write(metadata, 0, 5000);
    metadata.commit();
    // Superblock, both levels of the mappings, record, data bitmap and index, metadata bitmap and index, overflow tree none.
    expect(device.nrBlocksOf('write')).toBeLessThanOrEqual(12);
    expect(device.nrOf('flush')).toBe(2);
  });

  it('of nothing writes nothing, and says so', () => {
    const { device, metadata } = recordedPool();
    expect(metadata.commit()).toBe(false);
    metadata.find(0, 5);
    metadata.abort();
    expect(metadata.commit()).toBe(false);
    expect(device.operations).toEqual([]);
  });

  it('of a transaction larger than the cache leaves what a large cache would', () => {
    const [small, large] = [32, 4096].map((cacheBlocks) => {
      const { memory, metadata } = recordedPool({ cacheBlocks });
      metadata.createSnapshot(1, 0);
      for (let i = 0; i < 1000; i++) write(metadata, i % 2, (i * 617) % 20000);
      metadata.commit();
      return shownByImage(expectSound(memory));
    });
    expect(small).toEqual(large);
  });

  it('first has the data made durable', () => {
    const order: string[] = [];
    const memory = new MemoryMetadataDevice({ nrBlocks: 64 });
    const device = new RecordingMetadataDevice(memory);
    const metadata = ThinMetadata.format(device, {
      dataBlockSize: DATA_BLOCK_SIZE,
      nrDataBlocks: 100,
      preCommit: () => order.push(`data flushed after ${device.operations.length} operations`),
    });
    order.length = 0;
    device.clear();
    metadata.createThin(0);
    metadata.commit();
    expect(order).toEqual(['data flushed after 0 operations']);
    metadata.commit();
    expect(order).toHaveLength(1); // nothing changed, nothing to flush
  });

  it('fails when the data cannot be made durable, and the pool stays at the last one', () => {
    let fail = false;
    const { memory, device, metadata } = recordedPool({
      preCommit: () => {
        if (fail) throw new Error('the data device is gone');
      },
    });
    const [shown, superblock] = [shownBy(metadata), memory.bytes.slice(0, BLOCK_SIZE)];
    fail = true;
    write(metadata, 0, 5000);
    const failure = thrownBy(() => metadata.commit());
    expect(failure).toBeInstanceOf(CommitError);
    expect(failure.message).toContain('the data device is gone');
    expect(failure.message).toContain('open it again');
    expect((failure.cause as Error).message).toBe('the data device is gone');
    expect(shownBy(metadata)).toEqual(shown);
    expect(metadata.readOnly).toBe(true);
    expect(thrownBy(() => metadata.createThin(5))).toMatchObject({ code: 'ERR_READ_ONLY' });
    expect(device.operations).toEqual([]);
    expectSameBytes(memory.bytes.slice(0, BLOCK_SIZE), superblock);
    metadata.close();
    expect(shownBy(ThinMetadata.open(device))).toEqual(shown);
    expectSound(memory);
  });

  it('keeps every byte that it does not know, ten times over', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 64 });
    metadata.close();
    patchSuperblock(device.bytes, (view) => {
      for (let i = 0; i < 16; i++) view.setUint8(16 + i, 0xa0 + i); // uuid
      view.setUint32(4, 0x80, true); // flags, bit 7
      view.setUint32(40, 9, true); // version
      view.setUint32(340, 16, true); // metadata block size
      view.setBigUint64(344, 12345n, true); // metadata blocks when formatted
      view.setUint32(352, 0xc0ffee, true); // compat flags
      for (let at = 364; at < BLOCK_SIZE; at++) view.setUint8(at, (at * 7) & 0xff);
    });
    const before = device.bytes.slice(0, BLOCK_SIZE);
    const pool = ThinMetadata.open(device);
    for (let round = 0; round < 10; round++) {
      pool.createThin(round);
      if (round === 5) pool.reserveMetadataSnapshot();
      pool.commit();
    }
    const after = device.bytes.slice(0, BLOCK_SIZE);
    const changed = [...after.keys()].filter((at) => after[at] !== before[at]);
    // Checksum, held root, the roots of the maps, the roots of the trees; flags, time and transaction id did not change.
    for (const at of changed) {
      expect(at < 4 || (at >= 56 && at < 96) || (at >= 192 && at < 224) || (at >= 320 && at < 336), `byte ${at}`).toBe(
        true,
      );
    }
    expectSound(device);
  });
});

describe('an abort', () => {
  it('brings everything back as the last commit left it', () => {
    const { memory, metadata } = recordedPool();
    metadata.setTransactionId(0n, 5n);
    metadata.createSnapshot(1, 0);
    metadata.commit();
    const [shown, free, freeMetadata] = [shownBy(metadata), metadata.nrFreeDataBlocks, metadata.nrFreeMetadataBlocks];
    metadata.setTransactionId(5n, 6n);
    metadata.createThin(7);
    metadata.deleteDevice(1);
    writeRange(metadata, 0, 0, 2000, 3);
    metadata.removeRange(0, 500, 900);
    metadata.resizeData(5000);
    metadata.setNeedsCheck();
    metadata.abort();
    expect(shownBy(metadata)).toEqual(shown);
    expect([metadata.nrFreeDataBlocks, metadata.nrFreeMetadataBlocks]).toEqual([free, freeMetadata]);
    expect(metadata.commit()).toBe(false);
    write(metadata, 1, 5);
    metadata.commit();
    expectSound(memory);
  });

  it('of a fresh pool leaves a fresh pool', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 300);
    metadata.abort();
    expect([...metadata.devices()]).toEqual([]);
    expectSound(device);
  });

  it('that cannot read the metadata leaves nothing to be seen, until one can', () => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 64 });
    const device = new FaultyMetadataDevice(memory);
    const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 100 });
    metadata.createThin(0);
    metadata.commit();
    const shown = shownBy(metadata);
    metadata.createThin(1);
    device.inject({ operation: 'read', nth: device.nrDone('read') + 1, andLater: true });
    expect(thrownBy(() => metadata.abort())).toMatchObject({ code: 'ERR_DEVICE' });
    for (const request of [
      () => metadata.details(0),
      () => [...metadata.devices()],
      () => metadata.createThin(2),
      () => metadata.commit(),
      () => metadata.nrFreeDataBlocks,
    ]) {
      expect(thrownBy(request)).toBeInstanceOf(AbortRequiredError);
    }
    device.heal();
    metadata.abort();
    expect(shownBy(metadata)).toEqual(shown);
    metadata.createThin(1);
    metadata.commit();
    expectSound(memory);
  });
});

describe('a change that fails half-way', () => {
  it('can only be aborted: nothing of it is shown, or committed', () => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
    const device = new FaultyMetadataDevice(memory);
    const metadata = ThinMetadata.format(device, {
      dataBlockSize: DATA_BLOCK_SIZE,
      nrDataBlocks: 6000,
      cacheBlocks: 32,
    });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 6000);
    metadata.createSnapshot(1, 0);
    metadata.commit();
    const shown = shownBy(metadata);
    let [nrFailed, nrHalfDone] = [0, 0];
    for (let nth = 1; nth < 60; nth += 2) {
      device.inject({ operation: 'read', nth: device.nrDone('read') + nth });
      const failure = outcomeOf(() => metadata.removeRange(1, 100, 5900));
      device.heal();
      if (failure !== undefined) {
        nrFailed++;
        expect(failure).toMatchObject({ code: 'ERR_DEVICE' });
        // A read may fail before anything has changed: then nothing is in the way.
        expect(metadata.abortRequired).toBe(outcomeOf(() => metadata.transactionId) !== undefined);
        if (metadata.abortRequired) {
          nrHalfDone++;
          for (const request of [
            () => metadata.find(1, 0),
            () => [...metadata.devices()],
            () => metadata.createThin(3),
            () => metadata.commit(),
            () => metadata.reserveMetadataSnapshot(),
          ]) {
            const refusal = outcomeOf(request);
            expect(refusal).toBeInstanceOf(AbortRequiredError);
            expect((refusal as AbortRequiredError).cause).toBe(failure);
          }
          metadata.abort();
          expect(metadata.abortRequired).toBe(false);
        }
        expect(metadata.details(1)?.mappedBlocks).toBe(6000);
      }
      metadata.abort();
    }
    expect(shownBy(metadata)).toEqual(shown);
    expect(nrHalfDone).toBeGreaterThan(10);
    expect(nrFailed).toBeGreaterThan(10);
    metadata.removeRange(1, 100, 5900);
    metadata.commit();
    expectSound(memory);
  });
});

function outcomeOf(request: () => unknown): unknown {
  try {
    request();
    return undefined;
  } catch (error) {
    return error;
  }
}
