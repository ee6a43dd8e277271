import { MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { crashImages, FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CloneImage, expectSound, SB } from '../../../test/clone-image.js';
import {
  commit,
  expectSameBytes,
  fixtureBytes,
  newClone,
  REGION_SIZE,
  TWO_BLOCKS,
  thrownBy,
} from '../../../test/clones.js';
import { checked, finish, runCheck, verdictOf } from '../../../test/runs.js';
import { freeCloneLeaks } from './free-leaks.js';

/** Two array blocks, some bits, no open writer. */
function image(nrBlocks = 64): CloneImage {
  const { device, metadata } = newClone({ nrBlocks, ...TWO_BLOCKS });
  metadata.setRangeHydrated(32_000, 33_000);
  metadata.setHydrated(0);
  commit(metadata);
  metadata.close();
  return new CloneImage(device.bytes);
}

const [FIRST, SECOND] = image().bitset().arrayBlocks as [number, number];
const [INDEX] = image().bitset().nodes as [number];

describe('a check', () => {
  it("finds nothing in what a kernel made, and counts its status line's regions", () => {
    const { findings, summary } = checked(new CloneImage(fixtureBytes()));
    expect(findings).toEqual([]);
    expect(summary).toEqual({
      clean: true,
      fatal: 0,
      shape: 0,
      leaks: { metadata: 0 },
      findingsLeftOut: 0,
      notices: [],
      countsVerified: true,
      regionSize: 8,
      targetSize: 32_768,
      nrRegions: 4096,
      nrHydrated: 224,
      nrUnreadable: 0,
      metadataFreeBlocks: 1018,
    });
  });

  it('reads each block in use once, and writes nothing', () => {
    const { bytes } = image();
    const recording = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes }), { reads: true });
    expect(verdictOf(runCheck(recording))).toBe('clean');
    const { reachable } = { reachable: new CloneImage(bytes).reachable() };
    // What lies between two wanted blocks is read along.
    expect(recording.nrBlocksOf('read')).toBeLessThanOrEqual(reachable.length + 8);
    expect(recording.nrOf('write')).toBe(0);
  });

  it('tells its progress, and stops when asked to', () => {
    const stages: string[] = [];
    runCheck(image().device(), { onProgress: ({ stage }) => stages.push(stage) });
    expect([...new Set(stages)]).toEqual(['superblock', 'hydration bitset', 'metadata space map']);
    const reason = new Error('enough');
    expect(thrownBy(() => runCheck(image().device(), { signal: AbortSignal.abort(reason) }))).toBe(reason);
  });

  it('looks at the superblock alone when asked to', () => {
    const damaged = image();
    damaged.block(FIRST).fill(0);
    expect(verdictOf(checked(damaged, { superblockOnly: true }))).toBe('clean');
    expect(verdictOf(checked(damaged))).toBe('fatal');
  });

  it('compares the sizes it is told', () => {
    const { regionSize, targetSize } = TWO_BLOCKS;
    expect(verdictOf(checked(image(), { regionSize, targetSize }))).toBe('clean');
    const { findings, summary } = checked(image(), { regionSize: 16, targetSize: 1 });
    expect(findings.map(({ message }) => message)).toEqual([
      'the region size is 8 sectors, but 16 were asked for',
      'the target size is 327683 sectors, but 1 were asked for',
    ]);
    expect(summary.nrHydrated).toBe(1001);
  });

  it('tells of how many regions it knows nothing, and calls none of them not hydrated', () => {
    const half = image();
    half.block(FIRST).fill(0);
    expect(checked(half).summary).toMatchObject({
      nrRegions: 40_961,
      nrUnreadable: 32_576,
      nrHydrated: expect.any(Number),
    });
    half.block(SECOND).fill(0);
    const none = checked(half).summary;
    expect(none).toMatchObject({ nrRegions: 40_961, nrUnreadable: 40_961 });
    expect(none).not.toHaveProperty('nrHydrated');
  });

  it('can look at another bitset', () => {
    const twice = image();
    const fresh = twice.copy();
    // The bitset as formatted is still there: its blocks are free, and have not been written since.
    const { findings, summary } = checked(fresh, { bitsetRoot: 4 });
    expect(summary.nrHydrated).toBe(0);
    expect(findings.every(({ structure }) => structure === 'metadata space map')).toBe(true);
    const outside = checked(fresh, { bitsetRoot: 4000 });
    expect(outside.findings[0]?.message).toBe(
      'the root given for it is block 4000, but the metadata has only 64 blocks',
    );
  });

  it('tells so many findings, and counts the others', () => {
    const damaged = image();
    for (let nr = 40; nr < 60; nr += 2) damaged.setCount(nr, 2);
    const { findings, summary } = checked(damaged, { maxFindings: 3 });
    expect([findings.length, summary.fatal, summary.findingsLeftOut]).toEqual([3, 10, 7]);
  });
});

describe('damage', () => {
  it.each<[string, (image: CloneImage) => unknown, 'fatal' | 'shape' | 'leak' | 'clean', RegExp]>([
    ['a superblock of zeros', (i) => i.block(0).fill(0), 'fatal', /block 0 is all zero/],
    ['a torn superblock', (i) => i.put32(0, 2000, 1), 'fatal', /checksum is 0x/],
    ['another magic', (i) => i.superblock64(SB.magic, 27022010), 'fatal', /magic is 27022010/],
    ['a version 2', (i) => i.superblock32(SB.version, 2), 'fatal', /the version is 2, expected 1/],
    ['a region size of 24', (i) => i.superblock64(SB.regionSize, 24), 'fatal', /region size is 24 sectors/],
    ['a region size of 4', (i) => i.superblock64(SB.regionSize, 4), 'fatal', /region size is 4 sectors/],
    ['a target of no sectors', (i) => i.superblock64(SB.targetSize, 0), 'fatal', /target size is 0 sectors/],
    ['2^32 regions', (i) => i.superblock64(SB.targetSize, 2 ** 35), 'fatal', /at most 2147483648 regions/],
    ['2^31 regions', (i) => i.superblock64(SB.targetSize, 2 ** 34), 'fatal', /but 65923 are needed/],
    ['one array block too few', (i) => i.superblock64(SB.targetSize, 8 * 65_153), 'fatal', /2 array blocks, but 3 are/],
    ['one word too few', (i) => i.superblock64(SB.targetSize, 8 * 41_025), 'fatal', /nrEntries is 132, expected 133/],
    ['one word too many', (i) => i.superblock64(SB.targetSize, 8 * 40_960), 'shape', /132, of which only 131 belong/],
    ['an array block too many', (i) => i.superblock64(SB.targetSize, 8 * 32_576), 'shape', /1 array block too many/],
    ['more metadata blocks than the device', (i) => i.superblock64(SB.spaceMap, 65), 'fatal', /has 65 blocks/],
    ['more metadata blocks than any', (i) => i.superblock64(SB.spaceMap, 5_000_000), 'fatal', /more than the 4161600/],
    ['a root outside the device', (i) => i.superblock64(SB.bitsetRoot, 64), 'fatal', /block 64, but the metadata has/],
    ['a root that is the superblock', (i) => i.superblock64(SB.bitsetRoot, 0), 'fatal', /block 0, which is the/],
    ['a root that is a bitmap', (i) => i.superblock64(SB.bitsetRoot, i.bitmaps[0] as number), 'fatal', /btree node/],
    ['a root that is an array block', (i) => i.superblock64(SB.bitsetRoot, FIRST), 'fatal', /btree node in block/],
    ['a zeroed array block', (i) => i.block(FIRST).fill(0), 'fatal', /array block in block \d+: blockNr is 0/],
    ['an array block elsewhere', (i) => i.block(FIRST).set(i.block(SECOND)), 'fatal', /blockNr is/],
    ['an array block of 4-byte values', (i) => arrayOf4(i, FIRST), 'fatal', /valueSize is 4, expected 8/],
    ['maxEntries of 508', (i) => i.put32(FIRST, 4, 508).seal(FIRST, 'array'), 'fatal', /maxEntries is 508/],
    ['nrEntries of 510', (i) => i.put32(FIRST, 8, 510).seal(FIRST, 'array'), 'fatal', /nrEntries is 510/],
    ['nrEntries of 508', (i) => i.put32(FIRST, 8, 508).seal(FIRST, 'array'), 'fatal', /nrEntries is 508, expected 509/],
    ['an index in a circle', (i) => circle(i), 'fatal', /as a node of the bitset index|something else points to/],
    ['one array block twice', (i) => point(i, 1, FIRST), 'fatal', /array block of the bitset that something else/],
    ['a key out of order', (i) => i.put64(INDEX, 32, 7).seal(INDEX, 'node'), 'fatal', /key/],
    ['a gap in the keys', (i) => i.put64(INDEX, 40, 2).seal(INDEX, 'node'), 'fatal', /lists 1 array block, but 2/],
    ['a freed array block', (i) => i.setCount(FIRST, 0), 'fatal', /expected 1, but the space map says 0/],
    ['a count of 2', (i) => i.setCount(SECOND, 2), 'fatal', /expected 1, but the space map says 2/],
    ['a leaked block', (i) => i.leak(50), 'leak', /metadata block 50 is allocated, but nothing refers to it/],
    ['leaked blocks', (i) => i.leak(50, 51), 'leak', /metadata blocks 50\.\.51 are allocated/],
    ['a block counted twice that is free', (i) => i.setCount(50, 2), 'fatal', /expected 0, but the space map says 2/],
    ['an unreadable index of bitmaps', (i) => i.block(i.spaceMap.indexBlock).fill(1), 'fatal', /index in block/],
  ])('%s', (_, damage, verdict, message) => {
    const damaged = image();
    damage(damaged);
    const run = checked(damaged);
    expect(run.findings.map((finding) => finding.message).join('\n')).toMatch(message);
    expect(verdictOf(run)).toBe(verdict);
    for (const { effect, nextStep, structure } of run.findings) {
      expect(effect).toMatch(/^[A-Z].*\.$/s);
      expect(nextStep).toMatch(/^[A-Z].*\.$/s);
      expect(structure).not.toBe('');
    }
  });

  it('that harms nobody is a notice', () => {
    const odd = image();
    odd
      .put32(0, 4, 7)
      .put32(0, 2000, 1)
      .superblock64(SB.targetSize, 8 * 40_961); // flags, a stray byte, a multiple
    odd.put64(SECOND, 24 + 8 * 131, 2n ** 64n - 1n).seal(SECOND, 'array');
    const { findings, summary } = checked(odd);
    expect(findings).toEqual([]);
    expect(summary.clean).toBe(true);
    expect(summary.notices.map(({ message }) => message)).toEqual([
      '2 bytes that no version uses are not zero, the first at 4',
      '63 bits behind the last of 40961 regions are set',
    ]);
  });

  it('of the medium is a finding too, wherever it is', () => {
    const { bytes } = image();
    for (const blockNr of new CloneImage(bytes).reachable()) {
      const device = new FaultyMetadataDevice(new MemoryMetadataDevice({ bytes }), { operation: 'read', blockNr });
      const run = runCheck(device);
      expect(verdictOf(run), `block ${blockNr}`).toBe('fatal');
      expect(run.findings[0]?.message).toContain('injected fault');
    }
  });

  it('behind which references are hidden leaves the counts alone', () => {
    const damaged = image();
    damaged.block(INDEX).fill(0);
    damaged.leak(50);
    const { summary } = checked(damaged);
    expect([summary.countsVerified, summary.leaks.metadata]).toEqual([false, 0]);
    expect(summary.notices[0]?.message).toContain('the reference counts were not compared');
  });
});

describe('freeing leaks', () => {
  const leaky = (nrBlocks = 64): CloneImage => {
    const damaged = image(nrBlocks);
    return damaged.leak(...Array.from({ length: nrBlocks - 40 }, (_, i) => 40 + i));
  };

  it('frees them, and nothing else', () => {
    const damaged = leaky();
    const { yielded, summary } = finish(freeCloneLeaks(damaged.device()));
    expect([yielded.length, summary.freed, summary.leaks.metadata]).toEqual([1, 24, 24]);
    expect(expectSound(damaged).hydrated()).toHaveLength(1001);
  });

  it('also works on a device that is full of leaks', () => {
    const damaged = image(16);
    const reachable = new Set(damaged.reachable());
    for (let nr = 0; nr < 16; nr++) if (!reachable.has(nr)) damaged.leak(nr);
    expect(finish(freeCloneLeaks(damaged.device())).summary.freed).toBe(16 - reachable.size);
    expect(expectSound(damaged).hydrated()).toHaveLength(1001);
  });

  it('writes nothing when something is worse, or when nothing leaks', () => {
    for (const damaged of [leaky().setCount(SECOND, 2), image()]) {
      const before = damaged.bytes.slice();
      expect(finish(freeCloneLeaks(damaged.device())).summary.freed).toBe(0);
      expectSameBytes(damaged.bytes, before);
    }
    const readOnly = leaky().device({ readOnly: true });
    expect(thrownBy(() => finish(freeCloneLeaks(readOnly)))).toBeInstanceOf(ReadOnlyError);
  });

  it('leaves the metadata leaky or repaired, wherever it is interrupted', () => {
    const damaged = leaky();
    const initial = damaged.bytes.slice();
    const recording = new RecordingMetadataDevice(damaged.device());
    finish(freeCloneLeaks(recording));
    for (const { bytes, description } of crashImages({ initial, operations: recording.operations, seed: 4 })) {
      const run = runCheck(new MemoryMetadataDevice({ bytes }));
      expect(['leak', 'clean'], description).toContain(verdictOf(run));
      expect(run.summary.nrHydrated, description).toBe(1001);
    }
  });
});

it('a clone of eight million regions is checked through two levels of index', () => {
  const regions = 253 * 32_576;
  const { device, metadata } = newClone({ nrBlocks: 600, targetSize: regions * REGION_SIZE });
  metadata.setRangeHydrated(regions - 12, regions);
  commit(metadata);
  expect(expectSound(device).bitset().nodes).toHaveLength(3);
});

function arrayOf4(image: CloneImage, blockNr: number): void {
  image.put32(blockNr, 4, 1018).put32(blockNr, 12, 4).seal(blockNr, 'array');
}

/** Entry `entry` of the index points to `blockNr`. */
function point(image: CloneImage, entry: number, blockNr: number): void {
  image.put64(INDEX, 32 + 8 * 252 + 8 * entry, blockNr).seal(INDEX, 'node');
}

/** The index is an internal node that points to itself. */
function circle(image: CloneImage): void {
  image.put32(INDEX, 4, 1);
  point(image, 0, INDEX);
}
