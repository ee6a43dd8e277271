import { BLOCK_SIZE, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { NoSpaceError, NotFormattedError, UnsupportedMetadataError } from '@pdata/persistent-data';
import { FaultyMetadataDevice, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CloneImage, expectSound, SB } from '../../test/clone-image.js';
import {
  commit,
  expectSameBytes,
  fixtureBytes,
  newClone,
  REGION_SIZE,
  TWO_BLOCKS,
  thrownBy,
} from '../../test/clones.js';
import { dumped, finish, restored } from '../../test/runs.js';
import { GeometryError } from '../metadata/errors.js';
import { GeometryNeededError } from './regions/damage.js';
import { type RepairOptions, type RepairSummary, repairClone } from './repair.js';

const PER_BLOCK = 32_576;
const SIZES = TWO_BLOCKS;

function image(nrBlocks = 64): CloneImage {
  const { device, metadata } = newClone({ nrBlocks, ...SIZES });
  metadata.setRangeHydrated(32_000, 33_000);
  metadata.setHydrated(0);
  commit(metadata);
  metadata.close();
  return new CloneImage(device.bytes);
}

const HYDRATED = [0, ...Array.from({ length: 1000 }, (_, i) => 32_000 + i)];

function repaired(
  damaged: CloneImage,
  options?: RepairOptions,
): { readonly summary: RepairSummary; readonly result: CloneImage } {
  const target = new MemoryMetadataDevice({ nrBlocks: damaged.nrBlocks, name: 'repaired.img' });
  const before = damaged.bytes.slice();
  const { summary } = finish(repairClone(damaged.device({ readOnly: true }), target, options));
  expectSameBytes(damaged.bytes, before); // the input is never written
  const result = expectSound(target);
  expect(result.hydrated()).toHaveLength(summary.nrHydrated);
  return { summary, result };
}

describe('a repair', () => {
  it('of sound metadata keeps every bit', () => {
    const { summary, result } = repaired(image());
    expect(result.hydrated()).toEqual(HYDRATED);
    expect([summary.inDoubt, summary.lost, summary.nrMetadataBlocks]).toEqual([[], [], 7]);
    const kernels = repaired(new CloneImage(fixtureBytes()));
    expect(kernels.result.hydrated()).toEqual(new CloneImage(fixtureBytes()).hydrated());
  });

  it('counts everything anew', () => {
    const damaged = image().leak(50, 51);
    damaged.setCount(damaged.bitsetRoot, 0).block(damaged.spaceMap.overflowRoot).fill(0);
    damaged.block(damaged.spaceMap.indexBlock).fill(7);
    const { summary, result } = repaired(damaged);
    expect([result.hydrated(), summary.lost]).toEqual([HYDRATED, []]);
  });

  it('takes what cannot be read for not hydrated, lists it, and says what that means', () => {
    const damaged = image();
    damaged.block(damaged.bitset().arrayBlocks[0] as number)[100] = 0xff;
    const { summary, result } = repaired(damaged);
    expect(result.hydrated()).toEqual(HYDRATED.filter((regionNr) => regionNr >= PER_BLOCK));
    expect(summary.inDoubt).toEqual([{ begin: 0, end: PER_BLOCK }]);
    expect(summary.lost).toHaveLength(1);
    expect(summary.lost[0]?.regions).toEqual({ begin: 0, end: PER_BLOCK });
    expect(summary.lost[0]?.effect).toBe(
      'whether regions 0 to 32575 are hydrated is not known, and they count as not hydrated: what was written to them since the ' +
        'clone was made is out of sight, and hydration overwrites it from the source',
    );
    expect(summary.lost[0]?.nextStep).toContain('do not activate the clone with hydration enabled');
  });

  it('is a repairing dump, restored', () => {
    const damaged = image();
    damaged.block(damaged.bitset().arrayBlocks[1] as number).fill(0);
    const { text, summary } = dumped(damaged.device(), { repair: true });
    expect(text).toContain('  <in_doubt begin="32576" end="40961"/>\n</superblock>');
    const target = new MemoryMetadataDevice({ nrBlocks: 64 });
    expect(restored(text, target).inDoubt).toEqual(summary.inDoubt);
    expectSameBytes(target.bytes, repaired(damaged).result.bytes);
    expect(JSON.parse(dumped(damaged.device(), { repair: true, format: 'json' }).text)).toMatchObject({
      hydrated: [
        [0, 1],
        [32_000, 32_576],
      ],
      inDoubt: [[32_576, 40_961]],
    });
  });

  it('keeps the words of an array block that was cut short', () => {
    const damaged = image();
    const first = damaged.bitset().arrayBlocks[0] as number;
    damaged.put32(first, 8, 505).seal(first, 'array');
    const { summary, result } = repaired(damaged);
    expect(summary.inDoubt).toEqual([{ begin: 505 * 64, end: PER_BLOCK }]);
    expect(result.hydrated()).toEqual(HYDRATED.filter((nr) => nr < 505 * 64 || nr >= PER_BLOCK));
  });

  it('keeps what an index still leads to when one of its entries is damaged', () => {
    const damaged = image();
    damaged.put64(damaged.bitsetRoot, 32 + 8 * 252, 9999).seal(damaged.bitsetRoot, 'node');
    const { summary, result } = repaired(damaged);
    expect(summary.inDoubt).toEqual([{ begin: 0, end: PER_BLOCK }]);
    expect(result.hydrated()).toEqual(HYDRATED.filter((regionNr) => regionNr >= PER_BLOCK));
  });

  it('goes on where the medium cannot be read', () => {
    const damaged = image();
    const [blockNr] = damaged.bitset().arrayBlocks as [number];
    const source = new FaultyMetadataDevice(damaged.device({ readOnly: true }), { operation: 'read', blockNr });
    const target = new MemoryMetadataDevice({ nrBlocks: 64 });
    const { summary } = finish(repairClone(source, target));
    expect(summary.inDoubt).toEqual([{ begin: 0, end: PER_BLOCK }]);
    expect(String(summary.lost[0]?.cause)).toContain('injected fault');
    expectSound(target);
  });

  it('tells its progress, and stops when asked to', () => {
    const { yielded } = finish(repairClone(image().device(), new MemoryMetadataDevice({ nrBlocks: 64 })));
    expect(yielded.map(({ stage, total }) => `${stage} ${total}`)).toEqual(['regions 2', 'regions 2']);
    const reason = new Error('enough');
    const target = new MemoryMetadataDevice({ nrBlocks: 64 });
    const work = (): unknown => finish(repairClone(image().device(), target, { signal: AbortSignal.abort(reason) }));
    expect(thrownBy(work)).toBe(reason);
  });

  it('refuses targets before it touches them', () => {
    const source = image().device();
    expect(thrownBy(() => finish(repairClone(source, source)))).toBeInstanceOf(RangeError);
    const readOnly = new MemoryMetadataDevice({ bytes: new Uint8Array(64 * BLOCK_SIZE), readOnly: true });
    expect(thrownBy(() => finish(repairClone(source, readOnly)))).toBeInstanceOf(ReadOnlyError);
    const small = new MemoryMetadataDevice({ nrBlocks: 6 });
    small.bytes.fill(1);
    expect(thrownBy(() => finish(repairClone(source, small)))).toBeInstanceOf(NoSpaceError);
    expect(small.bytes.every((byte) => byte === 1)).toBe(true);
  });

  it('refuses sources that are no clone, or another version, or of other sizes, and leaves the target alone', () => {
    const target = new MemoryMetadataDevice({ nrBlocks: 64 });
    target.bytes.fill(1);
    const refuse = (source: CloneImage, options?: RepairOptions): Error =>
      thrownBy(() => finish(repairClone(source.device(), target, options)));
    expect(refuse(new CloneImage(new Uint8Array(64 * BLOCK_SIZE)))).toBeInstanceOf(NotFormattedError);
    expect(refuse(image().superblock32(SB.version, 2))).toBeInstanceOf(UnsupportedMetadataError);
    expect(refuse(image(), { regionSize: 16 })).toBeInstanceOf(GeometryError);
    expect(refuse(image(), { regionSize: 24 })).toBeInstanceOf(RangeError);
    expect(target.bytes.every((byte) => byte === 1)).toBe(true);
  });

  it('that fails leaves no superblock on the target', () => {
    const unharmed = new FaultyMetadataDevice(newClone().device);
    finish(repairClone(image().device(), unharmed));
    for (let nth = 2; nth <= unharmed.nrDone('write'); nth++) {
      const { device } = newClone();
      const faulty = new FaultyMetadataDevice(device, { operation: 'write', nth });
      expect(() => finish(repairClone(image().device(), faulty))).toThrow(/injected fault/);
      expect(device.bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0)).toBe(true);
    }
  });
});

describe('a repair without the superblock', () => {
  const lost = (damaged: CloneImage): CloneImage => {
    damaged.block(0).fill(0xa5);
    return damaged;
  };

  it('has to be told the sizes', () => {
    const target = new MemoryMetadataDevice({ nrBlocks: 64 });
    for (const options of [{}, { regionSize: 8 }, { targetSize: SIZES.targetSize }]) {
      const error = thrownBy(() => finish(repairClone(lost(image()).device(), target, options)));
      expect(error).toBeInstanceOf(GeometryNeededError);
      expect(error.message).toMatch(
        /^the region size and the target size have to be given, because the superblock is damaged \(/,
      );
    }
    const nonsense = image().superblock64(SB.regionSize, 12);
    expect(thrownBy(() => finish(repairClone(nonsense.device(), target)))).toBeInstanceOf(GeometryNeededError);
    expect(repaired(nonsense, SIZES).result.hydrated()).toEqual(HYDRATED);
  });

  it('finds the bitset, and says what it cannot be sure of', () => {
    const { summary, result } = repaired(lost(image()), SIZES);
    expect(result.hydrated()).toEqual(HYDRATED);
    expect([result.regionSize, result.targetSize]).toEqual([8, 327_683]);
    expect(summary.inDoubt).toEqual([]);
    expect(summary.lost.map(({ effect }) => effect)).toEqual([
      'its sizes were taken from the caller; if they are not those of the clone, every region is wrong',
      expect.stringMatching(
        /^the bitset was searched for, .* of block 7 \(1001 hydrated\): .* block 4 \(0 hydrated\)$/,
      ),
    ]);
  });

  it('finds it when the beginning of the device was wiped', () => {
    const damaged = image();
    damaged.bytes.fill(0, 0, 4 * BLOCK_SIZE);
    expect(repaired(damaged, SIZES).result.hydrated()).toEqual(HYDRATED);
  });

  it('takes the newest of several commits, which has the most bits', () => {
    const random = seededRandom(11);
    const { device, metadata } = newClone({ nrBlocks: 200, ...SIZES });
    for (let nr = 0; nr < 30; nr++) {
      for (let i = 0; i < 10; i++) metadata.setHydrated(Math.floor(random() * 40_961));
      commit(metadata);
    }
    const wanted = new CloneImage(device.bytes).hydrated();
    const { summary, result } = repaired(lost(new CloneImage(device.bytes)), SIZES);
    expect(result.hydrated()).toEqual(wanted);
    expect(summary.inDoubt).toEqual([]);
  });

  it('does not believe places that other bitsets contradict', () => {
    // An old index, left over, whose first array block has been reused for another place since.
    const damaged = image();
    const [first, second] = damaged.bitset().arrayBlocks as [number, number];
    const stale = 40;
    damaged.block(stale).set(damaged.block(damaged.bitsetRoot));
    damaged
      .put64(stale, 8, stale)
      .put64(stale, 32 + 8 * 252, 41)
      .seal(stale, 'node');
    damaged.block(41).set(damaged.block(first));
    damaged.block(41).fill(0xff, 24 + 8 * 10, 24 + 8 * 500); // more bits than anywhere, but not all that the newest has
    damaged.block(41)[24] = 0;
    damaged.put64(41, 16, 41).seal(41, 'array');
    expect(second).toBeGreaterThan(0);
    const { summary, result } = repaired(lost(damaged), SIZES);
    expect(summary.inDoubt).toEqual([{ begin: 0, end: PER_BLOCK }]);
    expect(result.hydrated()).toEqual(HYDRATED.filter((regionNr) => regionNr >= PER_BLOCK));
  });

  it('can be given the root of another bitset', () => {
    const { result } = repaired(lost(image()), { ...SIZES, bitsetRoot: 4 });
    expect(result.hydrated()).toEqual([]);
  });

  it('finds the bits of a small clone though its index is lost, too', () => {
    const bytes = fixtureBytes();
    const damaged = new CloneImage(bytes);
    const wanted = damaged.hydrated();
    damaged.block(damaged.bitsetRoot).fill(0);
    const { summary, result } = repaired(damaged);
    expect(result.hydrated()).toEqual(wanted);
    expect(summary.lost[0]?.effect).toContain('the bitset was searched for');
    expect(repaired(lost(damaged), { regionSize: 8, targetSize: 32_768 }).result.hydrated()).toEqual(wanted);
  });

  it('takes all regions for not hydrated when nothing is left', () => {
    const damaged = new CloneImage(new Uint8Array(64 * BLOCK_SIZE).fill(0x5a));
    const { summary, result } = repaired(damaged, SIZES);
    expect(result.hydrated()).toEqual([]);
    expect(summary.inDoubt).toEqual([{ begin: 0, end: 40_961 }]);
    expect(summary.lost.at(-1)?.message).toContain('bitset is found nowhere on the device');
  });

  it('searches in long reads, each block a few times at most', () => {
    const { device, metadata } = newClone({ nrBlocks: 2000, ...SIZES });
    for (let regionNr = 0; regionNr < 500; regionNr++) {
      metadata.setHydrated(regionNr * 80);
      commit(metadata);
    }
    const damaged = lost(new CloneImage(device.bytes));
    const recording = new RecordingMetadataDevice(damaged.device(), { reads: true });
    finish(repairClone(recording, new MemoryMetadataDevice({ nrBlocks: 64 }), SIZES));
    expect(recording.nrBlocksOf('read')).toBeLessThan(3 * 2000);
  });

  it('reads a disk of a clone of 254 array blocks', () => {
    const { device, metadata } = newClone({ nrBlocks: 700, targetSize: 254 * PER_BLOCK * REGION_SIZE });
    metadata.setRangeHydrated(8_000_000, 8_100_000);
    commit(metadata);
    const damaged = lost(new CloneImage(device.bytes));
    const { summary } = repaired(damaged, { regionSize: 8, targetSize: 254 * PER_BLOCK * REGION_SIZE });
    expect([summary.nrHydrated, summary.inDoubt]).toEqual([100_000, []]);
  });
});
