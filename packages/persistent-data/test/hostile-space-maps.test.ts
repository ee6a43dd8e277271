/**
 * Space maps that somebody has damaged on purpose, every checksum right: whatever is asked of them ends, soon, with a result or
 * with a typed error. The figures that are only hints may lie as they like.
 */
import { MemoryMetadataDevice, StoreError } from '@pdata/device';
import {
  BlockManager,
  bitmapValidator,
  DataSpaceMap,
  indexBlockValidator,
  NoSpaceError,
  nodeValidator,
  openTransactionManagerOn,
  type SpaceMap,
  type SpaceMapRoot,
  setU64At,
} from '@pdata/persistent-data';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import type { MetadataSpaceMap } from '../src/space-map/metadata-space-map.js';
import { rewrite } from './nodes.js';
import { SmallTarget } from './small-target.js';

const NR_BLOCKS = 300;

/** A committed device with counts of every kind in both maps. */
function committed(): { bytes: Uint8Array; metadata: SpaceMapRoot; data: SpaceMapRoot } {
  const device = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const target = SmallTarget.format(device, { dataBlocks: 40_000 });
  const data = target.data as DataSpaceMap;
  for (const map of [target.tm.spaceMap, data]) {
    for (let i = 0; i < 60; i++) map.setCount(map.newBlock(), 1 + (i % 6));
  }
  target.commit();
  return { bytes: device.bytes, metadata: target.tm.spaceMap.root, data: data.root };
}
const base = committed();

/** Opens both maps from the given roots; what cannot be opened is told as the other errors are. */
function attempt(bytes: Uint8Array, metadata: SpaceMapRoot, data: SpaceMapRoot): unknown[] {
  const outcomes: unknown[] = [];
  const start = performance.now();
  const actions: ((map: SpaceMap) => unknown)[] = [
    (map) => map.newBlock(),
    (map) => Array.from({ length: 20 }, () => map.newBlock()),
    (map) => map.inc(5, 70),
    (map) => {
      for (let nr = 5; nr < 70; nr++) if (map.count(nr) > 0) map.dec(nr);
    },
    (map) => map.count(10),
    (map) => Array.from({ length: 80 }, (_, nr) => map.isShared(nr)),
    (map) => map.setCount(12, 9),
    (map) => map.setCount(12, 0),
    (map) => map.extend(0),
    (map) => [map.nrFree, map.nrAllocated],
  ];
  for (const action of actions) {
    for (const which of ['metadata', 'data'] as const) {
      try {
        const blocks = new BlockManager(new MemoryMetadataDevice({ bytes: bytes.slice() }), { cacheBlocks: 32 });
        const tm = openTransactionManagerOn(blocks, metadata);
        const map = which === 'metadata' ? tm.spaceMap : DataSpaceMap.open(tm, data);
        outcomes.push(action(map));
        if (map instanceof DataSpaceMap) map.settle();
        tm.preCommit();
      } catch (error) {
        if (!(error instanceof StoreError || error instanceof RangeError)) {
          throw new Error(`no typed error of ${action} on the ${which} map`, { cause: error });
        }
        outcomes.push(error instanceof StoreError ? error.code : 'RangeError');
      }
    }
  }
  expect(performance.now() - start).toBeLessThan(5000);
  return outcomes;
}

it('work when nothing is damaged', () => {
  expect(attempt(base.bytes, base.metadata, base.data).filter((outcome) => typeof outcome === 'string')).toEqual([]);
});

describe('hints', () => {
  it.each([
    ['no entry free', 0, 0],
    ['more free than there are', 2 ** 32 - 1, 0],
    ['the first free entry behind the end', 16_000, 2 ** 32 - 1],
    ['all of it', 0, 2 ** 32 - 1],
  ])('may lie (%s): free blocks are found, and no other', (_, nrFree, noneFreeBefore) => {
    const device = new MemoryMetadataDevice({ bytes: base.bytes.slice() });
    rewrite(
      device,
      base.metadata.bitmapRoot,
      (view) => {
        view.setUint32(16 + 8, nrFree, true);
        view.setUint32(16 + 12, noneFreeBefore, true);
      },
      indexBlockValidator,
    );
    const target = SmallTarget.open(device);
    const { spaceMap } = target.tm;
    const counts = Array.from({ length: NR_BLOCKS }, (_, nr) => spaceMap.count(nr));
    const found = new Set<number>();
    try {
      for (;;) {
        const nr = spaceMap.newBlock();
        expect(counts[nr]).toBe(0);
        expect(found.has(nr)).toBe(false);
        found.add(nr);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(NoSpaceError);
    }
    expect(found.size).toBeGreaterThanOrEqual(counts.filter((count) => count === 0).length - 2);
  });
});

describe('roots', () => {
  const lies = [0, 1, 2, 3, 5, 100, NR_BLOCKS - 1, NR_BLOCKS, 16_321, 2 ** 32, 2 ** 53, 1.8e19];

  it.each(['nrBlocks', 'nrAllocated', 'bitmapRoot', 'refCountRoot'] as const)('may claim any %s', (field) => {
    for (const lie of lies) {
      attempt(base.bytes, { ...base.metadata, [field]: lie }, base.data);
      attempt(base.bytes, base.metadata, { ...base.data, [field]: lie });
    }
  });
});

it('no field of an index, a bitmap or a reference-count tree makes anything but a typed error', () => {
  const random = seededRandom(20);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const tally = new Map<unknown, number>();
  for (let round = 0; round < 60; round++) {
    const device = new MemoryMetadataDevice({ bytes: base.bytes.slice() });
    const [victim, validator] = pick([
      [base.metadata.bitmapRoot, indexBlockValidator],
      [base.metadata.refCountRoot, nodeValidator],
      [base.data.bitmapRoot, nodeValidator],
      [base.data.refCountRoot, nodeValidator],
      [(SmallTarget.open(device).tm.spaceMap as MetadataSpaceMap).bitmaps[0]?.blockNr as number, bitmapValidator],
    ] as const);
    rewrite(
      device,
      victim,
      (view) => {
        const at = pick([4, 16, 20, 24, 28, 32, 40, 48, 1376, 1384, 2720, 2724]);
        const value = pick([0, 1, 2, 3, 7, 60, 168, 336, victim, NR_BLOCKS, 2 ** 31, 2 ** 32 - 1]);
        if (random() < 0.5) view.setUint32(at, value, true);
        else setU64At(view, at, value);
      },
      validator,
    );
    for (const outcome of attempt(device.bytes, base.metadata, base.data)) {
      const kind = typeof outcome === 'string' ? outcome : 'a result';
      tally.set(kind, (tally.get(kind) ?? 0) + 1);
    }
  }
  expect([...tally.keys()]).toEqual(expect.arrayContaining(['a result', 'ERR_CORRUPT_BLOCK']));
});
