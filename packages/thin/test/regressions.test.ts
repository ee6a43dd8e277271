/**
 * Bugs that dm-thin had, by the commit that mended them: what others lost data to must not be found here. Each test fails
 * on the behaviour it is named for.
 *
 * Named elsewhere, where their subject is: 9b1cc9f2 (open.test.ts), 49e99fc7 and 0d200aef (metadata-snapshot.test.ts), 6096d91a
 * (resize.test.ts), CVE-2022-50092 (low-water-mark.test.ts). Those of trees and space maps alone: the tests of
 * persistent-data.
 */
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { AbortRequiredError, Block, bitmapEntry, bitmapValidator, NoSpaceError } from '@pdata/persistent-data';
import { type Fault, FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CommitError, ThinMetadata } from '../src/index.js';
import {
  expectSound,
  isAbortRequired,
  mappingsOf,
  newPool,
  shownBy,
  shownByImage,
  thrownBy,
  write,
  writeRange,
} from './pool.js';
import { readPoolImage } from './pool-image.js';

/** The medium of a pool of two volumes that share most of their blocks. */
function sharedPool(how: { held?: boolean } = {}): Uint8Array {
  const { device, metadata } = newPool({ nrMetadataBlocks: 200, nrDataBlocks: 4000 });
  metadata.createThin(0);
  writeRange(metadata, 0, 0, 600);
  metadata.createSnapshot(1, 0);
  writeRange(metadata, 1, 0, 600, 50);
  if (how.held) metadata.reserveMetadataSnapshot();
  metadata.commit();
  if (how.held) {
    write(metadata, 0, 3);
    metadata.commit();
  }
  metadata.close();
  return device.bytes;
}

/** What a pool is asked to do when something goes wrong. */
const changes: [string, { held?: boolean }, (metadata: ThinMetadata) => void][] = [
  ['createThin', {}, (metadata) => metadata.createThin(7)],
  ['createSnapshot', {}, (metadata) => metadata.createSnapshot(7, 1)],
  ['a write to a shared block', {}, (metadata) => void write(metadata, 1, 301)],
  ['a write under a metadata snapshot', { held: true }, (metadata) => void write(metadata, 1, 301)],
  ['a discard', {}, (metadata) => void metadata.removeRange(1, 100, 450)],
  ['deleteDevice', {}, (metadata) => metadata.deleteDevice(0)],
  ['resizeData', {}, (metadata) => metadata.resizeData(40000)],
  ['reserveMetadataSnapshot', {}, (metadata) => void metadata.reserveMetadataSnapshot()],
  ['releaseMetadataSnapshot', { held: true }, (metadata) => metadata.releaseMetadataSnapshot()],
];

describe('3ab91828: running out of metadata space must not cost what was there', () => {
  it.each(changes)('when no block is left in the middle of %s, the last commit stays', (_name, how, change) => {
    const healthy = sharedPool(how);
    const before = shownByImage(expectSound({ bytes: healthy }));
    let nrHalfDone = 0;
    for (let nrFree = 0; ; nrFree++) {
      expect(nrFree).toBeLessThan(60);
      const { bytes, giveBack } = withFewFree(healthy, nrFree);
      const metadata = ThinMetadata.open(new MemoryMetadataDevice({ bytes }));
      const shown = shownBy(metadata);
      let done = true;
      try {
        change(metadata);
        metadata.commit();
      } catch (error) {
        done = false;
        expect(error instanceof CommitError ? error.cause : error).toBeInstanceOf(NoSpaceError);
        if (isAbortRequired(metadata)) {
          nrHalfDone++;
          expect(thrownBy(() => metadata.commit())).toBeInstanceOf(AbortRequiredError);
          metadata.abort();
        }
        expect(shownBy(metadata)).toEqual(shown);
        expect(metadata.commit()).toBe(false);
      }
      metadata.close();
      if (done) break;
      giveBack();
      expect(shownByImage(expectSound({ bytes }, `with ${nrFree} free blocks`))).toEqual(before);
    }
    expect(nrHalfDone).toBeGreaterThan(0);
  });

  it.each([12, 13, 16, 24, 34, 60, 100, 300])(
    'a pool of %d blocks refuses to grow, and commits',
    (nrMetadataBlocks) => {
      const { device, metadata } = newPool({ nrMetadataBlocks, nrDataBlocks: nrMetadataBlocks < 20 ? 1000 : 40000 });
      let next = 0;
      const fill = (): void => {
        for (const first = next; ; next++) {
          metadata.createThin(next);
          // Far apart, so that a leaf of mappings spans few: many blocks for few mappings.
          for (let i = 0; i < 300; i++) write(metadata, next, i * 1000);
          if (next > first) metadata.createSnapshot(1000 + next, next - 1);
          if (next > first) for (let i = 0; i < 300; i += 90) write(metadata, next - 1, i * 1000);
        }
      };
      // Again and again: the space that a commit gives back is used too.
      for (let round = 0; round < 6; round++) {
        expect(thrownBy(fill)).toMatchObject({ code: 'ERR_NO_SPACE', of: 'metadata' });
        if (isAbortRequired(metadata)) metadata.abort();
        metadata.commit();
        next += 10;
        expectSound(device, `round ${round}`);
      }
    },
  );

  it('a pool that is full can still delete, and has its space back after the commit', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 200, nrDataBlocks: 40000 });
    let nr = 0;
    const fill = (): void => {
      for (;;) metadata.createThin(nr++);
    };
    expect(thrownBy(fill)).toMatchObject({ of: 'metadata' });
    metadata.commit();
    for (let thinId = 0; thinId < nr - 1; thinId += 2) {
      metadata.deleteDevice(thinId);
      metadata.commit();
    }
    expect(metadata.nrFreeMetadataBlocks).toBeGreaterThan(80);
    expectSound(device);
  });
});

describe('5bcd4d30 (CVE-2026-72108): a failed commit must not leave its metadata snapshot behind', () => {
  it.each([
    { what: 'reserve', held: false, change: (metadata: ThinMetadata) => void metadata.reserveMetadataSnapshot() },
    { what: 'release', held: true, change: (metadata: ThinMetadata) => metadata.releaseMetadataSnapshot() },
  ])('when any write of $what fails', ({ held, change }) => {
    const medium = sharedPool({ held });
    const before = expectSound({ bytes: medium });
    const work = (metadata: ThinMetadata): void => {
      metadata.setTransactionId(0n, 9n); // so that reserve has something to commit first
      change(metadata);
    };
    for (const fault of faultsOf(medium, work)) {
      const inner = new MemoryMetadataDevice({ bytes: medium.slice() });
      const device = new FaultyMetadataDevice(inner, fault);
      const metadata = ThinMetadata.open(device);
      expect(thrownBy(() => commitAfter(metadata, work))).toBeInstanceOf(CommitError);
      expect(metadata.heldRoot ?? 0).toBe(before.heldRoot);
      metadata.abort(); // what flushed it, once
      expect(metadata.heldRoot ?? 0).toBe(before.heldRoot);
      metadata.close();
      const found = expectSound(inner, JSON.stringify(fault));
      // Before, or after what the superblock write carried: whole in both cases.
      if (found.transactionId === 0n) expect(found).toEqual(before);
      else expect([before.heldRoot, 0].includes(found.heldRoot) || !held).toBe(true);
      device.heal();
      const again = ThinMetadata.open(device);
      if (again.heldRoot === undefined) again.reserveMetadataSnapshot();
      else again.releaseMetadataSnapshot();
      again.commit();
      expectSound(inner, `repeated after ${JSON.stringify(fault)}`);
    }
  });
});

describe('7991dbf: after a failed commit nothing of it may be shown', () => {
  it.each(changes)('whichever write or flush of the commit of %s fails', (_name, how, change) => {
    const medium = sharedPool(how);
    for (const fault of faultsOf(medium, change)) {
      const inner = new MemoryMetadataDevice({ bytes: medium.slice() });
      const device = new FaultyMetadataDevice(inner, fault);
      const metadata = ThinMetadata.open(device);
      const shown = shownBy(metadata);
      const failure = thrownBy(() => commitAfter(metadata, change));
      expect(failure).toBeInstanceOf(CommitError);
      expect(failure.message).toContain('injected fault');
      for (let look = 0; look < 2; look++) {
        expect(shownBy(metadata), `shown after ${JSON.stringify(fault)}`).toEqual(shown);
        expect(metadata.readOnly).toBe(true);
        expect(thrownBy(() => metadata.createThin(100))).toMatchObject({ code: 'ERR_READ_ONLY' });
        expect(metadata.commit()).toBe(false);
        metadata.abort();
      }
      metadata.close();
      device.heal();
      expectSound(inner, `medium after ${JSON.stringify(fault)}`);
      const again = ThinMetadata.open(device);
      again.createThin(101);
      again.commit();
      expectSound(inner);
    }
  });
});

describe('the superblock keeps its one reference when a metadata snapshot cannot be taken', () => {
  it.each([0, 1, 2])('with %d free blocks', (nrFree) => {
    const { bytes, giveBack } = withFewFree(sharedPool(), nrFree);
    const metadata = ThinMetadata.open(new MemoryMetadataDevice({ bytes }));
    expect(thrownBy(() => commitAfter(metadata, () => void metadata.reserveMetadataSnapshot()))).toBeInstanceOf(Error);
    if (isAbortRequired(metadata)) metadata.abort();
    metadata.close();
    giveBack();
    expect(expectSound({ bytes }).metadataReferences.get(0)).toBe(1);
    const again = ThinMetadata.open(new MemoryMetadataDevice({ bytes }));
    again.reserveMetadataSnapshot();
    again.commit();
    expect(expectSound({ bytes }).heldRoot).toBeGreaterThan(0);
  });
});

describe('09a65ad, f046f89a: removing what a snapshot shares must not touch the snapshot', () => {
  it.each([
    { order: 'from the start', next: (_left: number[]) => 0 },
    { order: 'from the end', next: (left: number[]) => left.length - 1 },
    { order: 'from both ends', next: (left: number[]) => (left.length % 2 === 0 ? 0 : left.length - 1) },
    { order: 'in no order', next: (left: number[]) => (left.length * left.length * 37) % (left.length - 1) },
  ])('$order, until the tree’s root collapses', ({ next }) => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 500, nrDataBlocks: 4000 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 600); // three leaves under a root
    metadata.commit();
    const left = Array.from({ length: 600 }, (_, i) => i);
    const snapshots: Map<number, number>[] = [];
    const takeSnapshot = (): void => {
      snapshots.push(mappingsOf(metadata, 0));
      metadata.createSnapshot(snapshots.length, 0);
    };
    while (left.length > 150) {
      // Two leaves join when they hold fewer than 170. The root is left with one child, which a snapshot then shares; and
      // takes the place of that child with the next removal: so there is a snapshot after each of those.
      const nearCollapse = left.length < 180;
      if (nearCollapse || left.length % 60 === 0) takeSnapshot();
      const [virtualBlock] = left.splice(next(left), 1);
      expect(metadata.remove(0, virtualBlock ?? -1)).toBe(true);
      if (nearCollapse || left.length % 20 === 0) {
        metadata.commit();
        expectSound(device, `${left.length} left`); // counts, and nodes a third full
      }
    }
    snapshots.forEach((mappings, i) => {
      expect(mappingsOf(metadata, i + 1)).toEqual(mappings);
    });
    expect([...mappingsOf(metadata, 0).keys()]).toEqual(left);
    for (const { thinId } of metadata.devices()) metadata.deleteDevice(thinId);
    metadata.commit();
    expect(metadata.nrFreeDataBlocks).toBe(4000);
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
  });
});

describe('b0dc3c8b: leaves of the upper level hold roots, which count when they are copied', () => {
  it('for each of many devices under a metadata snapshot', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2000, nrDataBlocks: 4000 });
    for (let thinId = 0; thinId < 400; thinId++) {
      metadata.createThin(thinId);
      write(metadata, thinId, 0);
    }
    metadata.reserveMetadataSnapshot();
    metadata.commit();
    write(metadata, 17, 1); // copies one of the leaves that hold roots
    metadata.commit();
    const image = expectSound(device);
    const shared = [...image.metadataReferences].filter(
      ([nr, count]) => count === 2 && image.roles.get(nr) === 'device root',
    );
    expect(shared.length).toBeGreaterThan(100); // every other device of that leaf
    for (let thinId = 399; thinId >= 0; thinId--) metadata.deleteDevice(thinId);
    metadata.commit();
    expect(expectSound(device).held?.size).toBe(400);
    metadata.releaseMetadataSnapshot();
    metadata.commit();
    expect(expectSound(device).metadataSpaceMap.nrAllocated).toBe(9);
  });
});

describe('4feaef83: what the last commit uses is not handed out, however free it is now', () => {
  it('data blocks, allocated, freed and allocated in one transaction', () => {
    const { device, metadata } = newPool({ nrDataBlocks: 20 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 10);
    metadata.commit();
    const committed = new Set(mappingsOf(metadata, 0).values());
    for (let round = 0; round < 5; round++) {
      metadata.removeRange(0, 0, 10);
      writeRange(metadata, 0, 0, 10);
      expect([...mappingsOf(metadata, 0).values()].filter((dataBlock) => committed.has(dataBlock))).toEqual([]);
    }
    expect(
      [...(expectSound(device).devices.get(0)?.mappings.values() ?? [])].map(({ dataBlock }) => dataBlock),
    ).toEqual([...committed]);
    metadata.commit();
    expectSound(device);
  });

  it('metadata blocks, in a transaction that writes early and is then lost', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 100, nrDataBlocks: 4000, cacheBlocks: 32 });
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 2000);
    metadata.commit();
    const before = expectSound(device);
    for (let round = 0; round < 3; round++) {
      metadata.removeRange(0, 0, 2000);
      writeRange(metadata, 0, 0, 1800);
      expect(expectSound(device, `round ${round}`).devices).toEqual(before.devices); // what a crash now would leave
    }
    metadata.commit();
    expect(expectSound(device).devices.get(0)?.mappedBlocks).toBe(1800);
  });
});

/** A write or flush that fails, for each that `change` and its commit make: not landing at all, or by half. */
function faultsOf(medium: Uint8Array, change: (metadata: ThinMetadata) => void): Fault[] {
  const device = new FaultyMetadataDevice(new MemoryMetadataDevice({ bytes: medium.slice() }));
  const metadata = ThinMetadata.open(device);
  commitAfter(metadata, change);
  const faults: Fault[] = [];
  for (let nth = 1; nth <= device.nrDone('write'); nth++) {
    faults.push({ operation: 'write', nth }, { operation: 'write', nth, landsPartly: true });
  }
  for (let nth = 1; nth <= device.nrDone('flush'); nth++) faults.push({ operation: 'flush', nth });
  return faults;
}

function commitAfter(metadata: ThinMetadata, change: (metadata: ThinMetadata) => void): void {
  change(metadata);
  metadata.commit();
}

/**
 * A copy of a medium on which all free metadata blocks but `nrFree` are counted as used, while the superblock still says
 * that there are plenty: so that an allocation fails where no check before it can tell. `giveBack` undoes that on the medium.
 */
function withFewFree(medium: Uint8Array, nrFree: number): { bytes: Uint8Array; giveBack: () => void } {
  const bytes = medium.slice();
  const { roles, metadataSpaceMap } = readPoolImage(medium);
  const [bitmapNr] = [...roles].find(([, role]) => role === 'metadata bitmap') ?? [];
  if (bitmapNr === undefined) throw new Error('no bitmap');
  const at = bitmapNr * BLOCK_SIZE;
  const bitmap = new Block(bytes.subarray(at, at + BLOCK_SIZE), bitmapNr);
  let left = nrFree;
  for (let nr = 0; nr < metadataSpaceMap.nrBlocks; nr++) {
    if (bitmapEntry(bitmap, nr) !== 0 || left-- > 0) continue;
    const byte = 16 + Math.floor(nr / 4);
    bitmap.bytes[byte] = (bitmap.bytes[byte] as number) | (2 << (2 * (nr % 4)));
  }
  bitmapValidator.prepare(bitmap);
  return { bytes, giveBack: () => bytes.set(medium.subarray(at, at + BLOCK_SIZE), at) };
}
