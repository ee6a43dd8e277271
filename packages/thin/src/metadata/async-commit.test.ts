import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice, PassingMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { DATA_BLOCK_SIZE, expectSameBytes, expectSound, shownBy, write, writeRange } from '../../test/pool.js';
import { CommitError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

/** A device whose asynchronous flushes end when the test lets them. */
class HeldFlushes extends PassingMetadataDevice {
  readonly waiting: { done: () => void }[] = [];
  constructor(
    inner: MetadataDevice,
    readonly flushIsAtomic = false,
  ) {
    super(inner);
  }
  override async flushAsync(): Promise<void> {
    await new Promise<void>((done) => this.waiting.push({ done }));
    await this.inner.flushAsync();
  }
}

function poolOn(device: MetadataDevice): ThinMetadata {
  const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 3000 });
  metadata.createThin(0);
  writeRange(metadata, 0, 0, 1000);
  metadata.commit();
  return metadata;
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe('an asynchronous commit', () => {
  it('leaves the bytes that a synchronous one leaves, in the same order of writes and flushes', async () => {
    const run = async (commit: (metadata: ThinMetadata) => Promise<boolean> | boolean) => {
      const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
      const device = new RecordingMetadataDevice(memory);
      const metadata = poolOn(device);
      for (let round = 0; round < 3; round++) {
        metadata.createSnapshot(10 + round, 0);
        writeRange(metadata, 0, round * 100, round * 100 + 50);
        expect(await commit(metadata)).toBe(true);
        expect(await commit(metadata)).toBe(false);
      }
      return { bytes: memory.bytes, summary: device.summary };
    };
    const [synchronous, asynchronous] = [await run((m) => m.commit()), await run((m) => m.commitAsync())];
    expect(asynchronous.summary).toEqual(synchronous.summary);
    expectSameBytes(asynchronous.bytes, synchronous.bytes);
  });

  it('shows what it commits while it is on its way, and refuses every change until it has ended', async () => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
    const device = new HeldFlushes(memory);
    const metadata = poolOn(device);
    metadata.createSnapshot(1, 0);
    const dataBlock = write(metadata, 1, 5000);
    const spare = metadata.allocateDataBlock();
    metadata.decDataBlocks(spare, spare + 1);
    const commit = metadata.commitAsync();
    for (let flush = 1; flush <= 2; flush++) {
      while (device.waiting.length < flush) await turn();
      expect(metadata.find(1, 5000)?.dataBlock).toBe(dataBlock);
      expect([...metadata.mappedRanges(1)].at(-1)?.end).toBe(5001);
      const refused = { code: 'ERR_COMMIT_RUNNING', message: expect.stringContaining('await it first') };
      for (const change of [
        () => metadata.createThin(7),
        () => metadata.createSnapshot(7, 0),
        () => metadata.deleteDevice(1),
        () => metadata.allocateDataBlock(),
        () => metadata.insert(1, 6, dataBlock),
        () => metadata.removeRange(0, 0, 10),
        () => metadata.setTransactionId(0n, 1n),
        () => metadata.setNeedsCheck(),
        () => metadata.reserveMetadataSnapshot(),
        () => metadata.commit(),
        () => metadata.abort(),
        () => metadata.close(),
      ]) {
        expect(change, String(change)).toThrow(expect.objectContaining(refused));
      }
      await expect(metadata.commitAsync()).rejects.toMatchObject(refused);
      device.waiting[flush - 1]?.done();
    }
    expect(await commit).toBe(true);
    metadata.createThin(7); // nothing is left of the refusals
    metadata.commit();
    expectSound(memory);
    metadata.close();
    expect(ThinMetadata.open(memory).find(1, 5000)?.dataBlock).toBe(dataBlock);
  });

  it.each([1, 2])('whose flush %i fails shows the last commit, read-only, as a synchronous one does', async (nth) => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
    const device = new FaultyMetadataDevice(memory);
    const metadata = poolOn(device);
    const before = shownBy(metadata);
    metadata.createSnapshot(1, 0);
    device.inject({ operation: 'flush', nth: device.nrDone('flush') + nth });
    await expect(metadata.commitAsync()).rejects.toBeInstanceOf(CommitError);
    expect(metadata.readOnly).toBe(true);
    expect(shownBy(metadata)).toEqual(before);
    await expect(metadata.commitAsync()).resolves.toBe(false); // nothing is left to commit
    expect(() => metadata.createThin(5)).toThrow(expect.objectContaining({ code: 'ERR_READ_ONLY' }));
    metadata.close();
    expectSound(memory);
  });

  it.each(['commit', 'commitAsync'] as const)('%s flushes once where a flush is a transaction', async (kind) => {
    const memory = new MemoryMetadataDevice({ nrBlocks: 512 });
    const recording = new RecordingMetadataDevice(memory);
    const device = new HeldFlushes(recording, true);
    const metadata = poolOn(device);
    recording.clear();
    metadata.createSnapshot(1, 0);
    write(metadata, 1, 5000);
    const commit = metadata[kind]();
    if (kind === 'commitAsync') {
      while (device.waiting.length === 0) await turn();
      device.waiting[0]?.done();
    }
    expect(await commit).toBe(true);
    const { summary } = recording;
    expect(summary.filter((line) => line === 'flush')).toHaveLength(1);
    expect(summary.at(-1)).toBe('flush');
    expect(summary.some((line) => line.startsWith('write block 0') || line.startsWith('write blocks 0.'))).toBe(true);
    expectSound(memory);
  });
});
