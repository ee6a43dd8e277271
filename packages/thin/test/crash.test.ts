/**
 * Loss of power at every flush of a workload that uses every operation: whatever part of the writes in doubt reached the
 * medium, the pool found afterwards is the one before the commit or the one after it, whole, with every reference counted.
 */
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { crashImages, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { ThinMetadata } from '../src/index.js';
import { DATA_BLOCK_SIZE, expectSound, shownByImage, write, writeRange } from './pool.js';
import { readPoolImage } from './pool-image.js';

const NR_BLOCKS = 160;
const SEED = 20;

interface Recorded {
  readonly device: RecordingMetadataDevice;
  /** What the pool was after each promise. */
  readonly states: ReadonlyMap<string, string>;
}

const inWords = (shown: object): string =>
  JSON.stringify(shown, (_, value) => (typeof value === 'bigint' ? `${value}n` : value));

/** Formats a pool and changes it in all ways there are, a promise after each commit. */
function record(cacheBlocks: number): Recorded {
  const memory = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const device = new RecordingMetadataDevice(memory);
  const states = new Map<string, string>();
  const promise = (label: string): void => {
    device.promise(label);
    const image = readPoolImage(memory.bytes);
    expect(image.problems, label).toEqual([]);
    states.set(label, inWords(shownByImage(image)));
  };
  const metadata = ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, cacheBlocks });
  promise('format');
  const step = (label: string, change: () => void): void => {
    change();
    metadata.commit();
    promise(label);
  };
  const random = seededRandom(SEED);
  const somewhere = (): number => Math.floor(random() * 3000);
  step('resize data', () => metadata.resizeData(4000));
  step('create', () => metadata.createThin(0));
  step('write', () => writeRange(metadata, 0, 0, 600));
  step('snapshot', () => metadata.createSnapshot(1, 0));
  step('break sharing', () => writeRange(metadata, 1, 0, 600, 40));
  step('reserve', () => metadata.reserveMetadataSnapshot());
  step('discard under a metadata snapshot', () => metadata.removeRange(0, 100, 400));
  step('snapshot of a snapshot', () => metadata.createSnapshot(2, 1));
  step('grow metadata', () => metadata.resizeMetadata(NR_BLOCKS + 40));
  for (let round = 0; round < 6; round++) {
    step(`round ${round}`, () => {
      for (let i = 0; i < 40; i++) write(metadata, round % 3, somewhere());
      const begin = somewhere();
      metadata.removeRange((round + 1) % 3, begin, begin + 200);
    });
  }
  step('delete', () => metadata.deleteDevice(1));
  step('release', () => metadata.releaseMetadataSnapshot());
  step('delete and create', () => {
    metadata.deleteDevice(0);
    metadata.createThin(1);
    writeRange(metadata, 1, 0, 50);
    metadata.setTransactionId(0n, 1n);
  });
  step('aborted before', () => {
    metadata.deleteDevice(2);
    writeRange(metadata, 1, 1000, 1900);
    metadata.abort();
    write(metadata, 1, 77_000);
  });
  step('needs check', () => metadata.setNeedsCheck());
  metadata.close();
  expectSound(memory);
  return { device, states };
}

describe.each([
  { cache: 'a cache that holds everything', cacheBlocks: 16384 },
  { cache: 'a cache that writes early', cacheBlocks: 32 },
])('a pool that lost power, with $cache', ({ cacheBlocks }) => {
  it('is the one before or after the commit, whole', () => {
    const { device, states } = record(cacheBlocks);
    const initial = new Uint8Array(NR_BLOCKS * BLOCK_SIZE);
    let [nrImages, nrBefore, nrAfter] = [0, 0, 0];
    for (const crash of crashImages({ initial, operations: device.operations, seed: SEED, imagesPerInterval: 9 })) {
      nrImages++;
      const { bytes, description, lastPromise, nextPromise } = crash;
      if (lastPromise === undefined && bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0)) continue; // unformatted
      const image = readPoolImage(bytes);
      expect(image.problems, description).toEqual([]);
      const found = inWords(shownByImage(image));
      const [before, after] = [states.get(lastPromise ?? ''), states.get(nextPromise ?? '')];
      if (found === before) nrBefore++;
      else if (found === after) nrAfter++;
      else throw new Error(`neither ${lastPromise} nor ${nextPromise}: ${description}`);
      if (nrImages % 10 === 0) expectUsable(bytes, description);
    }
    expect(nrImages).toBeGreaterThan(300);
    expect(Math.min(nrBefore, nrAfter)).toBeGreaterThan(50);
  });

  it('was never written where the last commit was still needed, and each commit has two flushes', () => {
    const { device } = record(cacheBlocks);
    const medium = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS + 40 });
    let needed: ReadonlyMap<number, number> = new Map();
    let nrFlushes = 0;
    let superblockWritten = false;
    for (const operation of device.operations) {
      if (operation.op === 'write') {
        const { firstBlockNr, nrBlocks, bytes } = operation;
        if (bytes === undefined) throw new Error('recorded without bytes');
        for (let nr = firstBlockNr; nr < firstBlockNr + nrBlocks; nr++) {
          if (nr === 0) {
            expect([nrBlocks, nrFlushes], 'the superblock, alone, after one flush').toEqual([1, 1]);
            superblockWritten = true;
          } else {
            expect(needed.has(nr), `block ${nr} was written while the last commit needed it`).toBe(false);
            expect(superblockWritten, `block ${nr} was written behind the superblock`).toBe(false);
          }
        }
        medium.write(firstBlockNr, bytes);
      } else if (operation.op === 'flush') {
        nrFlushes++;
      } else if (operation.op === 'promise') {
        expect([superblockWritten, nrFlushes], operation.label).toEqual([true, 2]);
        needed = readPoolImage(medium.bytes).metadataReferences;
        superblockWritten = false;
        nrFlushes = 0;
      }
    }
  });
});

/** Opens what a crash left, writes to it, and audits it again. */
function expectUsable(bytes: Uint8Array, description: string): void {
  const device = new MemoryMetadataDevice({ bytes });
  const metadata = ThinMetadata.open(device, { cacheBlocks: 32 });
  if (metadata.nrFreeDataBlocks > 300) {
    metadata.createThin(1000);
    writeRange(metadata, 1000, 0, 300);
    for (const { thinId } of [...metadata.devices()].slice(0, 1)) metadata.deleteDevice(thinId);
    metadata.commit();
  }
  expectSound(device, description);
}

it('formatted over an old pool, is the new one or none when power is lost: never the old one in part', () => {
  const old = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const metadata = ThinMetadata.format(old, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 1000 });
  metadata.createThin(7);
  writeRange(metadata, 7, 0, 700);
  metadata.commit();
  const initial = old.bytes.slice();
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes: old.bytes }));
  ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: 2000 });
  const found = { old: 0, none: 0, new: 0 };
  for (const { bytes, description } of crashImages({ initial, operations: device.operations, seed: SEED })) {
    if (bytes.subarray(0, 512).every((byte) => byte === 0)) {
      found.none++;
      continue;
    }
    const image = readPoolImage(bytes);
    expect(image.problems, description).toEqual([]);
    found[image.devices.size === 1 ? 'old' : 'new']++;
  }
  expect(Math.min(...Object.values(found))).toBeGreaterThan(0);
});
