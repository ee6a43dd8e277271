import { CorruptBlockError, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { NotFormattedError } from '@pdata/persistent-data';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CloneImage, SB } from '../../../test/clone-image.js';
import { commit, fixtureBytes, newClone, REGION_SIZE, TWO_BLOCKS, thrownBy } from '../../../test/clones.js';
import { dumped } from '../../../test/runs.js';
import { GeometryError } from '../../metadata/errors.js';
import { CloneDamageError } from '../regions/damage.js';
import { dumpClone } from './dump.js';

function image(...ranges: readonly (readonly [number, number])[]): CloneImage {
  const { device, metadata } = newClone(TWO_BLOCKS);
  for (const [begin, end] of ranges) metadata.setRangeHydrated(begin, end);
  commit(metadata);
  metadata.close();
  return new CloneImage(device.bytes);
}

describe('a dump', () => {
  it('is the clone as XML: sizes, and ranges whose ends are exclusive', () => {
    const { text, summary } = dumped(image([0, 17], [63, 65], [32_570, 32_600], [40_960, 40_961]).device());
    expect(text).toBe(
      '<superblock version="1" region_size="8" target_size="327683" nr_regions="40961">\n' +
        '  <hydrated begin="0" end="17"/>\n' +
        '  <hydrated begin="63" end="65"/>\n' +
        '  <hydrated begin="32570" end="32600"/>\n' +
        '  <hydrated begin="40960" end="40961"/>\n' +
        '</superblock>\n',
    );
    expect(summary).toEqual({
      regionSize: 8,
      targetSize: 327_683,
      nrRegions: 40_961,
      nrHydrated: 50,
      inDoubt: [],
      lost: [],
    });
  });

  it('or as JSON', () => {
    const { text } = dumped(image([0, 17], [63, 65]).device(), { format: 'json' });
    expect(JSON.parse(text)).toEqual({
      superblock: { version: 1, regionSize: 8, targetSize: 327_683, nrRegions: 40_961 },
      hydrated: [
        [0, 17],
        [63, 65],
      ],
      inDoubt: [],
    });
    expect(JSON.parse(dumped(image().device(), { format: 'json' }).text)).toMatchObject({ hydrated: [] });
  });

  it("counts in a kernel's image what its status line says", () => {
    const bytes = fixtureBytes();
    const { text, summary } = dumped(new MemoryMetadataDevice({ bytes, readOnly: true }));
    expect(summary.nrHydrated).toBe(224);
    const ranges = Array.from(text.matchAll(/begin="(\d+)" end="(\d+)"/g), ([, begin, end]) => [+begin!, +end!]);
    const regions = ranges.flatMap(([begin, end]) => Array.from({ length: end! - begin! }, (_, i) => begin! + i));
    expect(regions).toEqual(new CloneImage(bytes).hydrated());
  });

  it('prints any set as its longest ranges', () => {
    const nrRegions = 33_000;
    const spans = fc.array(fc.tuple(fc.nat(nrRegions - 1), fc.integer({ min: 1, max: 300 })), { maxLength: 20 });
    fc.assert(
      fc.property(spans, (ranges) => {
        const { device, metadata } = newClone({ targetSize: nrRegions * REGION_SIZE });
        const model = new Uint8Array(nrRegions + 1);
        for (const [begin, length] of ranges) {
          const end = Math.min(nrRegions, begin + length);
          metadata.setRangeHydrated(begin, end);
          model.fill(1, begin, end);
        }
        commit(metadata);
        const expected: string[] = [];
        for (let begin = model.indexOf(1); begin >= 0; ) {
          const end = model.indexOf(0, begin);
          expected.push(`  <hydrated begin="${begin}" end="${end}"/>`);
          begin = model.indexOf(1, end);
        }
        expect(dumped(device).text.split('\n').slice(1, -2)).toEqual(expected);
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  it('leaves out bits behind the last region', () => {
    const odd = image([40_960, 40_961]);
    const last = odd.bitset().arrayBlocks[1] as number;
    odd.put64(last, 24 + 8 * 131, 2n ** 64n - 1n).seal(last, 'array');
    expect(dumped(odd.device()).text).toContain('<hydrated begin="40960" end="40961"/>\n</superblock>');
    odd.put64(last, 24 + 8 * 131, 2n ** 60n).seal(last, 'array');
    expect(dumped(odd.device()).text).not.toContain('hydrated');
  });

  it('hands out megabytes in pieces', () => {
    const { device, metadata } = newClone({ nrBlocks: 64, targetSize: 100_000 * REGION_SIZE });
    for (let regionNr = 0; regionNr < 100_000; regionNr += 2) metadata.setHydrated(regionNr);
    commit(metadata);
    let nrPieces = 0;
    for (const piece of dumpClone(device)) {
      expect(piece.length).toBeLessThan(2 ** 19);
      nrPieces++;
    }
    expect(nrPieces).toBeGreaterThan(5);
    expect(dumped(device).text.match(/<hydrated/g)).toHaveLength(50_000);
  });

  it('only reads, tells how far it is, and stops when asked to', () => {
    const recording = new RecordingMetadataDevice(image([0, 40_961]).device(), { reads: true });
    const told: number[] = [];
    dumped(recording, { onProgress: ({ done }) => told.push(done) });
    expect(told).toEqual([0, 1]);
    expect(recording.nrOf('write') + recording.nrOf('flush')).toBe(0);
    const reason = new Error('enough');
    expect(thrownBy(() => dumped(recording, { signal: AbortSignal.abort(reason) }))).toBe(reason);
  });
});

describe('a dump that meets damage', () => {
  it('ends, and says which regions cannot be read and what to do', () => {
    const damaged = image([0, 40_961]);
    const second = damaged.bitset().arrayBlocks[1] as number;
    damaged.block(second).fill(0);
    const error = thrownBy(() => dumped(damaged.device()));
    expect(error).toBeInstanceOf(CloneDamageError);
    expect((error as CloneDamageError).regions).toEqual({ begin: 32_576, end: 40_961 });
    expect(error.message).toBe(
      `array block in block ${second}: blockNr is 0, expected ${second}: whether regions 32576 to 40960 are hydrated cannot be ` +
        'read, and the dump is incomplete; run clone_check to see the whole damage, or dump with --repair to save the rest',
    );
  });

  it('leaves XML incomplete, and JSON valid', () => {
    const damaged = image([0, 100], [32_570, 32_600]);
    damaged.block(damaged.bitset().arrayBlocks[1] as number).fill(0);
    for (const format of ['xml', 'json'] as const) {
      let text = '';
      const error = thrownBy(() => {
        for (const piece of dumpClone(damaged.device(), { format })) text += new TextDecoder().decode(piece);
      });
      expect(error).toBeInstanceOf(CloneDamageError);
      if (format === 'xml') expect(text).not.toContain('</superblock>');
      else expect(JSON.parse(text)).toMatchObject({ hydrated: [[0, 100]] });
    }
  });

  it('of the superblock is the error of that', () => {
    const blank = new MemoryMetadataDevice({ nrBlocks: 64 });
    expect(thrownBy(() => dumped(blank))).toBeInstanceOf(NotFormattedError);
    expect(thrownBy(() => dumped(image().put32(0, 2000, 1).device()))).toBeInstanceOf(CorruptBlockError);
    expect(thrownBy(() => dumped(image().superblock64(SB.regionSize, 12).device())).message).toContain(
      'region size is 12',
    );
    expect(thrownBy(() => dumped(image().device(), { regionSize: 16 }))).toBeInstanceOf(GeometryError);
  });

  it('of the medium is a failing device, not a corrupt block', () => {
    const good = image([0, 10]);
    for (const blockNr of [0, good.bitsetRoot, good.bitset().arrayBlocks[0] as number]) {
      const device = new FaultyMetadataDevice(good.device(), { operation: 'read', blockNr });
      expect(thrownBy(() => dumped(device))).toBeInstanceOf(DeviceError);
    }
  });
});
