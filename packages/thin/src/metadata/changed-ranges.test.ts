import { BLOCK_SIZE } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { FIXTURES, fixtureImage } from '../../test/fixture-images.js';
import { expectSound, mappingsOf, newPool, thrownBy, write, writeRange } from '../../test/pool.js';
import type { ChangedRange } from './changed-ranges.js';
import { NoSuchDeviceError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

/** What a comparison of all mappings, one by one, says. */
function comparedOneByOne(
  metadata: ThinMetadata,
  thinId: number,
  baseId: number,
  begin = 0,
  end = Infinity,
): ChangedRange[] {
  const [thin, base] = [mappingsOf(metadata, thinId), mappingsOf(metadata, baseId)];
  const blocks = [...new Set([...thin.keys(), ...base.keys()])].sort((a, b) => a - b);
  const ranges: { begin: number; end: number; mapped: boolean }[] = [];
  for (const block of blocks) {
    if (block < begin || block >= end || thin.get(block) === base.get(block)) continue;
    const last = ranges.at(-1);
    if (last?.end === block && last.mapped === thin.has(block)) last.end++;
    else ranges.push({ begin: block, end: block + 1, mapped: thin.has(block) });
  }
  return ranges;
}

function expectLikeOneByOne(
  metadata: ThinMetadata,
  thinId: number,
  baseId: number,
  begin?: number,
  end?: number,
): void {
  expect(
    [...metadata.changedRanges(thinId, baseId, begin, end)],
    `${thinId} since ${baseId}, ${begin} to ${end}`,
  ).toEqual(comparedOneByOne(metadata, thinId, baseId, begin, end));
}

describe('the ranges in which a device differs from another', () => {
  it('are what was written, or discarded, in either since the snapshot', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 100);
    metadata.createSnapshot(1, 0);
    expect([...metadata.changedRanges(0, 1)]).toEqual([]);
    writeRange(metadata, 0, 10, 13); // breaks sharing
    write(metadata, 0, 200); // new
    metadata.removeRange(0, 50, 60);
    write(metadata, 1, 70); // the snapshot is written to as well
    metadata.removeRange(0, 13, 14);
    expect([...metadata.changedRanges(0, 1)]).toEqual([
      { begin: 10, end: 13, mapped: true },
      { begin: 13, end: 14, mapped: false },
      { begin: 50, end: 60, mapped: false },
      { begin: 70, end: 71, mapped: true },
      { begin: 200, end: 201, mapped: true },
    ]);
    expect([...metadata.changedRanges(1, 0, 12, 55)]).toEqual([
      { begin: 12, end: 14, mapped: true },
      { begin: 50, end: 55, mapped: true },
    ]);
    expect([...metadata.changedRanges(0, 0)]).toEqual([]);
    expect([...metadata.changedRanges(0, 1, 5, 5)]).toEqual([]);
  });

  it('do not hold a block that got a new time and kept its data block', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    const dataBlock = write(metadata, 0, 3);
    metadata.createSnapshot(1, 0);
    metadata.insert(0, 3, dataBlock);
    expect([metadata.find(0, 3)?.time, metadata.find(1, 3)?.time]).toEqual([1, 0]);
    expect([...metadata.changedRanges(0, 1)]).toEqual([]);
  });

  it.each(FIXTURES)('are right for each pair of volumes of a pool that a kernel made: %s', (name) => {
    const metadata = ThinMetadata.open(fixtureImage(name));
    const thinIds = Array.from(metadata.devices(), ({ thinId }) => thinId).slice(0, name === 'thin-large' ? 3 : 8);
    expect(thinIds.length).toBeGreaterThan(0);
    for (const thinId of thinIds) for (const baseId of thinIds) expectLikeOneByOne(metadata, thinId, baseId);
  });

  it('are right after random writes, discards, snapshots and removals, and in any part', () => {
    const { device, metadata } = newPool({ nrMetadataBlocks: 2048, nrDataBlocks: 60_000 });
    const random = seededRandom(3);
    const below = (nr: number): number => Math.floor(random() * nr);
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 3000);
    for (let i = 0; i < 120; i++) {
      const thinIds = Array.from(metadata.devices(), ({ thinId }) => thinId);
      const pick = (): number => thinIds[below(thinIds.length)] as number;
      const what = below(10);
      const begin = below(4000);
      if (what < 5) writeRange(metadata, pick(), begin, begin + below(60));
      else if (what < 7) metadata.removeRange(pick(), begin, begin + below(400));
      else if (what < 9 && thinIds.length < 6) metadata.createSnapshot(i + 1, pick());
      else if (what === 9 && thinIds.length > 3) metadata.deleteDevice(pick());
      else metadata.commit();
      const now = Array.from(metadata.devices(), ({ thinId }) => thinId);
      const one = (): number => now[below(now.length)] as number;
      expectLikeOneByOne(metadata, one(), one());
      const from = below(4000);
      expectLikeOneByOne(metadata, one(), one(), from, from + below(1000));
    }
    metadata.commit();
    expectSound(device);
  });
});

describe('while the pool is changed in between', () => {
  it('each range tells of the pool as it is then', () => {
    const { device, metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 900);
    metadata.createSnapshot(1, 0);
    writeRange(metadata, 0, 0, 60, 3);
    const seen: number[] = [];
    for (const { begin, end } of metadata.changedRanges(0, 1)) {
      seen.push(begin);
      metadata.removeRange(1, begin + 3, end + 3); // the next stays changed
      metadata.removeRange(0, begin + 3, end + 3); // and now it is not: neither has it
      if (begin === 12) write(metadata, 0, 13);
      if (begin === 18) metadata.commit();
    }
    expect(seen).toEqual([0, 6, 12, 13, 18, 24, 30, 36, 42, 48, 54]);
    metadata.commit();
    expectSound(device);
  });

  it('it ends with an error when one of the devices is removed', () => {
    const { metadata } = newPool();
    metadata.createThin(0);
    writeRange(metadata, 0, 0, 9, 2);
    metadata.createSnapshot(1, 0);
    writeRange(metadata, 0, 0, 9, 2);
    const ranges = metadata.changedRanges(0, 1);
    expect(ranges.next().value).toEqual({ begin: 0, end: 1, mapped: true });
    metadata.deleteDevice(1);
    expect(thrownBy(() => ranges.next())).toBeInstanceOf(NoSuchDeviceError);
    expect(thrownBy(() => metadata.changedRanges(0, 1).next())).toBeInstanceOf(NoSuchDeviceError);
    expect(thrownBy(() => metadata.changedRanges(1, 0).next())).toBeInstanceOf(NoSuchDeviceError);
  });

  it.each([
    [-1, 5],
    [0, Number.NaN],
    [5, 4],
    [0.5, 4],
    [2 ** 53, Infinity],
  ])('senseless ranges are refused: %d to %d', (begin, end) => {
    const { metadata } = newPool();
    metadata.createThin(0);
    expect(thrownBy(() => metadata.changedRanges(0, 0, begin, end).next())).toBeInstanceOf(RangeError);
  });
});

it('finding 100 changed blocks of a device of 400 000 reads a few hundred metadata blocks, not all 1600', () => {
  const { device, metadata } = newPool({ nrMetadataBlocks: 8192, nrDataBlocks: 500_000 });
  metadata.createThin(0);
  writeRange(metadata, 0, 0, 400_000);
  metadata.createSnapshot(1, 0);
  for (let block = 0; block < 400_000; block += 4000) write(metadata, 0, block);
  metadata.commit();
  let nrRead = 0;
  const read = device.read.bind(device);
  device.read = (nr, into) => {
    nrRead += into.length / BLOCK_SIZE;
    read(nr, into);
  };
  metadata.close();
  const reopened = ThinMetadata.open(device);
  nrRead = 0;
  expect([...reopened.changedRanges(0, 1)].length).toBe(100);
  expect(nrRead).toBeGreaterThan(200); // a leaf of each tree for each change
  expect(nrRead).toBeLessThan(230);
});
