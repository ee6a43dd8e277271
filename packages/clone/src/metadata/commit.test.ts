import { BLOCK_SIZE, ClosedError, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { AbortRequiredError, CommitError, CommitRunningError } from '@pdata/persistent-data';
import { crashImages, FaultyMetadataDevice, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CloneImage, expectSound } from '../../test/clone-image.js';
import {
  type CloneInMemory,
  commit,
  expectSameBytes,
  hydratedOf,
  newClone,
  REGION_SIZE,
  TWO_BLOCKS,
  thrownBy,
} from '../../test/clones.js';
import { CloneMetadata } from './clone-metadata.js';

/** A clone with something committed, on a device that fails where it is told to. */
function faultyClone(): CloneInMemory & { readonly faulty: FaultyMetadataDevice } {
  const { device, metadata } = newClone(TWO_BLOCKS);
  metadata.setRangeHydrated(100, 200);
  commit(metadata);
  metadata.close();
  const faulty = new FaultyMetadataDevice(device);
  return { device, faulty, metadata: CloneMetadata.open(faulty, { cacheBlocks: 0 }) };
}

const COMMITTED = Array.from({ length: 100 }, (_, i) => 100 + i);

describe('a commit', () => {
  // docs/format/clone.md, section 2: the log of a kernel that commits one region.
  it('writes the array block, the bitmap, the index node, the metadata index, then flushes, then the superblock', () => {
    const { device, metadata } = newClone(TWO_BLOCKS);
    metadata.close();
    const recording = new RecordingMetadataDevice(device);
    const opened = CloneMetadata.open(recording);
    opened.setHydrated(40_960);
    commit(opened);
    const image = expectSound(device);
    const { nodes, arrayBlocks } = image.bitset();
    const written = [arrayBlocks[1], ...image.bitmaps, ...nodes, image.spaceMap.indexBlock] as number[];
    const [writes, flush, superblock, last] = recording.operations.filter(({ op }) => op !== 'read');
    expect(recording.operations).toHaveLength(4);
    expect(writes).toMatchObject({ op: 'write', firstBlockNr: Math.min(...written), nrBlocks: 4 });
    expect(written.sort((a, b) => a - b)).toEqual([7, 8, 9, 10]);
    expect(flush).toMatchObject({ op: 'flush' });
    expect(superblock).toMatchObject({ op: 'write', firstBlockNr: 0, nrBlocks: 1 });
    expect(last).toMatchObject({ op: 'flush' });
  });

  it('writes nothing when no bit has changed', () => {
    const { device, metadata } = newClone();
    metadata.setRangeHydrated(3, 5);
    commit(metadata);
    metadata.close();
    const recording = new RecordingMetadataDevice(device);
    const opened = CloneMetadata.open(recording);
    opened.setRangeHydrated(3, 5);
    expect(commit(opened)).toBe(false);
    opened.preCommit();
    opened.preCommit();
    expect(opened.commit()).toBe(false);
    expect(recording.operations).toEqual([]);
  });

  // 8b3fd1f5: what becomes hydrated while the destination is being flushed is not covered by that flush.
  it('holds what was marked before it began, and nothing that came later', () => {
    const { device, metadata } = newClone(TWO_BLOCKS);
    metadata.setHydrated(1);
    metadata.preCommit();
    metadata.setHydrated(2);
    metadata.setRangeHydrated(32_570, 32_590);
    metadata.commit();
    expect(expectSound(device).hydrated()).toEqual([1]);
    expect([metadata.nrHydrated, metadata.hasChanges]).toEqual([22, true]);
    commit(metadata);
    expect(expectSound(device).hydrated()).toEqual([1, 2, ...Array.from({ length: 20 }, (_, i) => 32_570 + i)]);
    expect(metadata.hasChanges).toBe(false);
  });

  it('without its first step writes nothing, so that no mark can pass the flush by', () => {
    const { device, metadata } = newClone();
    metadata.setHydrated(1);
    expect(metadata.commit()).toBe(false);
    expect([metadata.hasChanges, expectSound(device).hydrated()]).toEqual([true, []]);
  });

  // The kernel's EINVAL: the other map is not clean, an earlier commit has failed.
  it('cannot be begun again before it has ended', () => {
    const { device, metadata } = newClone();
    metadata.setHydrated(1);
    metadata.preCommit();
    metadata.setHydrated(2);
    expect(thrownBy(() => metadata.preCommit())).toBeInstanceOf(AbortRequiredError);
    metadata.abort();
    expect([metadata.nrHydrated, metadata.hasChanges, metadata.hasLostMarks]).toEqual([0, false, true]);
    metadata.setHydrated(3);
    commit(metadata);
    expect(expectSound(device).hydrated()).toEqual([3]);
  });

  it('clears what no field of the superblock holds, as a kernel does', () => {
    const { device, metadata } = newClone();
    metadata.close();
    device.bytes[300] = 7;
    new CloneImage(device.bytes).seal(0, 'superblock');
    const opened = CloneMetadata.open(device);
    opened.setHydrated(0);
    commit(opened);
    expect(expectSound(device).hydrated()).toEqual([0]);
  });

  it('reuses no block that the last commit reaches, however often it runs', () => {
    const { device, metadata } = newClone({ nrBlocks: 14, targetSize: 2000 * REGION_SIZE });
    for (let regionNr = 0; regionNr < 2000; regionNr += 7) {
      const before = new CloneImage(device.bytes.slice());
      metadata.setHydrated(regionNr);
      commit(metadata);
      const after = expectSound(device);
      const overwritten = before
        .reachable()
        .filter((nr) => nr !== 0 && !Buffer.from(before.block(nr)).equals(after.block(nr)));
      expect(overwritten, `commit of region ${regionNr}`).toEqual([]);
    }
  });

  it('fails as a whole when there is no room for the copies', () => {
    const { device, metadata } = newClone({ nrBlocks: 8, ...TWO_BLOCKS });
    const before = device.bytes.slice();
    metadata.setHydrated(1);
    const error = thrownBy(() => commit(metadata));
    expect(error).toBeInstanceOf(CommitError);
    expect(error.message).toMatch(/^the hydrated regions could not be committed to clone metadata \(.* is full/);
    expect([metadata.readOnly, metadata.nrHydrated, metadata.hasLostMarks]).toEqual([true, 0, true]);
    expect(new CloneImage(device.bytes).hydrated()).toEqual([]);
    expectSameBytes(device.bytes.subarray(0, BLOCK_SIZE), before.subarray(0, BLOCK_SIZE));
  });

  it('marks half a million regions at once', () => {
    const { device, metadata } = newClone({ nrBlocks: 128, targetSize: 520_001 * REGION_SIZE });
    metadata.setRangeHydrated(17, 520_001);
    commit(metadata);
    const image = expectSound(device);
    expect(image.hydrated()).toHaveLength(520_001 - 17);
    expect(image.hydrated()[0]).toBe(17);
  });
});

describe('a commit that fails', () => {
  const nrOf = (operation: 'write' | 'flush'): number => {
    const { faulty, metadata } = faultyClone();
    const before = faulty.nrDone(operation);
    metadata.setRangeHydrated(32_000, 33_000);
    commit(metadata);
    return faulty.nrDone(operation) - before;
  };
  const places = (['write', 'flush'] as const).flatMap((operation) =>
    Array.from({ length: nrOf(operation) }, (_, i) => ({ operation, nth: i + 1 })),
  );

  it('has several places to fail at', () => {
    expect(places.map(({ operation, nth }) => `${operation} ${nth}`)).toEqual([
      'write 1',
      'write 2',
      'write 3',
      'write 4',
      'flush 1',
      'flush 2',
    ]);
  });

  // 7991dbf: stale and fresh nodes must not mix in what is shown afterwards.
  it.each(
    places.flatMap((place) => [
      { ...place, landsPartly: false },
      { ...place, landsPartly: true },
    ]),
  )(
    'at $operation $nth (lands partly: $landsPartly) shows the last commit, read-only',
    ({ operation, nth, landsPartly }) => {
      const { device, faulty, metadata } = faultyClone();
      faulty.inject({ operation, nth: faulty.nrDone(operation) + nth, landsPartly });
      metadata.setRangeHydrated(32_000, 33_000);
      metadata.preCommit();
      metadata.setHydrated(5);
      const error = thrownBy(() => metadata.commit());
      expect(error).toBeInstanceOf(CommitError);
      expect(error.message).toContain('what is shown now is the last commit, read-only');
      expect(hydratedOf(metadata)).toEqual(COMMITTED);
      expect([metadata.readOnly, metadata.failed, metadata.hasChanges, metadata.hasLostMarks]).toEqual([
        true,
        false,
        false,
        true,
      ]);
      for (const change of [() => metadata.setHydrated(1), () => metadata.preCommit(), () => metadata.commit()]) {
        expect(thrownBy(change)).toBeInstanceOf(ReadOnlyError);
      }
      metadata.abort();
      expect(hydratedOf(metadata)).toEqual(COMMITTED);
      metadata.close();

      // What is on the device is one commit or the other, whole; and a new activation is writable again.
      const reopened = CloneMetadata.open(device);
      const found = reopened.nrHydrated;
      expect([100, 1100]).toContain(found);
      expect([reopened.readOnly, reopened.hasLostMarks]).toEqual([false, false]);
      reopened.setHydrated(9);
      commit(reopened);
      expect(expectSound(device).hydrated()).toHaveLength(found + 1);
    },
  );

  it('and cannot be undone by reading leaves nothing to be used', () => {
    const { faulty, metadata } = faultyClone();
    metadata.setHydrated(1);
    metadata.preCommit();
    faulty.inject({ operation: 'flush', nth: faulty.nrDone('flush') + 1 });
    faulty.inject({ operation: 'read', nth: faulty.nrDone('read') + 3, andLater: true });
    const error = thrownBy(() => metadata.commit());
    expect(error).toBeInstanceOf(CommitError);
    expect(error.message).toContain('and the last commit cannot be read either');
    expect(metadata.failed).toBe(true);
    for (const use of [() => metadata.isHydrated(0), () => metadata.setHydrated(1), () => metadata.abort()]) {
      const refused = thrownBy(use);
      expect(refused).toBeInstanceOf(ClosedError);
      expect(refused.message).toContain('cannot be read any more');
    }
  });

  // docs/format/clone.md, section 4: seen with a destination whose flush fails after a discard of regions 64 to 127.
  it('because the destination cannot be flushed leaves no bit of it on the disk, nor in memory', () => {
    const { device, metadata } = newClone();
    metadata.setRangeHydrated(0, 10);
    commit(metadata);
    metadata.setRangeHydrated(64, 128);
    metadata.preCommit();
    metadata.setReadOnly();
    metadata.abort();
    expect(hydratedOf(metadata)).toEqual(Array.from({ length: 10 }, (_, i) => i));
    expect([metadata.readOnly, metadata.hasLostMarks]).toEqual([true, true]);
    metadata.close();
    expect(expectSound(device).hydrated()).toHaveLength(10);
    expect(CloneMetadata.open(device).readOnly).toBe(false);
  });
});

describe('an asynchronous commit', () => {
  it('leaves the bytes that a synchronous one leaves, in the same order', async () => {
    const run = async (how: (metadata: CloneMetadata) => Promise<boolean> | boolean) => {
      const { device, metadata } = newClone(TWO_BLOCKS);
      metadata.close();
      const recording = new RecordingMetadataDevice(device);
      const opened = CloneMetadata.open(recording);
      for (const regionNr of [3, 40_000, 70]) {
        opened.setHydrated(regionNr);
        opened.preCommit();
        expect(await how(opened)).toBe(true);
      }
      return { bytes: device.bytes, summary: recording.summary };
    };
    const [one, other] = [await run((metadata) => metadata.commit()), await run((metadata) => metadata.commitAsync())];
    expectSameBytes(other.bytes, one.bytes);
    expect(other.summary).toEqual(one.summary);
  });

  it('lets regions be marked and looked at meanwhile, and refuses all else', async () => {
    const { device, metadata } = newClone();
    metadata.setHydrated(1);
    metadata.preCommit();
    const running = metadata.commitAsync();
    metadata.setHydrated(2);
    expect([metadata.isHydrated(1), metadata.isHydrated(2), metadata.nextUnhydrated(1)]).toEqual([true, true, 3]);
    for (const use of [
      () => metadata.preCommit(),
      () => metadata.commit(),
      () => metadata.abort(),
      () => metadata.close(),
    ]) {
      expect(thrownBy(use)).toBeInstanceOf(CommitRunningError);
    }
    await expect(metadata.commitAsync()).rejects.toBeInstanceOf(CommitRunningError);
    expect(await running).toBe(true);
    expect(expectSound(device).hydrated()).toEqual([1]);
    expect(metadata.hasChanges).toBe(true);
    metadata.preCommit();
    expect(await metadata.commitAsync()).toBe(true);
    expect(await metadata.commitAsync()).toBe(false);
    expect(expectSound(device).hydrated()).toEqual([1, 2]);
  });

  it('that fails drops also what was marked meanwhile', async () => {
    const { faulty, metadata } = faultyClone();
    metadata.setHydrated(1);
    metadata.preCommit();
    faulty.inject({ operation: 'flush', nth: faulty.nrDone('flush') + 1 });
    const running = metadata.commitAsync();
    metadata.setHydrated(2);
    await expect(running).rejects.toBeInstanceOf(CommitError);
    expect(hydratedOf(metadata)).toEqual(COMMITTED);
    expect(metadata.hasLostMarks).toBe(true);
  });
});

describe('a crash', () => {
  it('at any write of a workload leaves a commit, whole: the last one that returned, or the one on its way', () => {
    const seed = 20_261_128;
    const random = seededRandom(seed);
    const { device, metadata } = newClone({ nrBlocks: 24, ...TWO_BLOCKS });
    metadata.close();
    const initial = device.bytes.slice();
    const recording = new RecordingMetadataDevice(device);
    const opened = CloneMetadata.open(recording);
    const states = new Map([['0', [] as number[]]]);
    for (let nr = 1; nr <= 30; nr++) {
      for (let i = 0; i < 4; i++) opened.setHydrated(Math.floor(random() * 40_961));
      opened.preCommit();
      const sealed = hydratedOf(opened);
      opened.setHydrated(Math.floor(random() * 40_961)); // during the destination's flush
      opened.commit();
      states.set(`${nr}`, sealed);
      recording.promise(`${nr}`);
    }
    let nrImages = 0;
    for (const image of crashImages({ initial, operations: recording.operations, seed, imagesPerInterval: 6 })) {
      const { bytes, description, lastPromise = '0', nextPromise = lastPromise } = image;
      const found = expectSound({ bytes }, description).hydrated();
      const allowed = [lastPromise, nextPromise].map((label) => String(states.get(label)));
      expect(allowed, description).toContain(String(found));
      nrImages++;
    }
    expect(nrImages).toBeGreaterThan(300);
  });
});

it('refuses a clone of 2^31 regions on a device without room for their bits', () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 64 });
  expect(() => CloneMetadata.format(device, { regionSize: 8, targetSize: 8 * 2 ** 31 })).toThrow(/is full/);
});
