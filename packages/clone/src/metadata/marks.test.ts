import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectSound } from '../../test/clone-image.js';
import { commit, hydratedOf, newClone, REGION_SIZE, TWO_BLOCKS, thrownBy } from '../../test/clones.js';
import { CloneMetadata } from './clone-metadata.js';

describe('marking regions', () => {
  // docs/format/clone.md: where words, array blocks and the clone begin and end.
  const places = [0, 1, 5, 63, 64, 130, 700, 32_575, 32_576, 40_959, 40_960];

  it('sets exactly their bits on the disk', () => {
    const { device, metadata } = newClone(TWO_BLOCKS);
    for (const regionNr of places) metadata.setHydrated(regionNr);
    commit(metadata);
    expect(expectSound(device).hydrated()).toEqual(places);
    expect(metadata.nrHydrated).toBe(places.length);
  });

  it('is seen at once, and costs no I/O', () => {
    const { device, metadata } = newClone(TWO_BLOCKS);
    const before = device.bytes.slice();
    metadata.setHydrated(5);
    metadata.setRangeHydrated(32_570, 32_580);
    expect([4, 5, 6].map((regionNr) => metadata.isHydrated(regionNr))).toEqual([false, true, false]);
    expect(metadata.isRangeHydrated(32_570, 32_580)).toBe(true);
    expect(metadata.isRangeHydrated(32_570, 32_581)).toBe(false);
    expect(metadata.nextUnhydrated(32_570)).toBe(32_580);
    expect(metadata.nextUnhydrated(5)).toBe(6);
    expect(Buffer.from(device.bytes).equals(before)).toBe(true);
  });

  it('touches, of a range, only what is not hydrated', () => {
    const { metadata } = newClone();
    metadata.setRangeHydrated(10, 20);
    commit(metadata);
    metadata.setRangeHydrated(5, 25);
    expect(metadata.nrHydrated).toBe(20);
    metadata.setRangeHydrated(30, 30);
    metadata.setHydrated(12);
    expect(metadata.nrHydrated).toBe(20);
  });

  it('makes no change of a region that is hydrated', () => {
    const { metadata } = newClone();
    metadata.setHydrated(12);
    commit(metadata);
    metadata.setHydrated(12);
    metadata.setRangeHydrated(12, 13);
    expect(metadata.hasChanges).toBe(false);
    expect(commit(metadata)).toBe(false);
  });

  it.each([-1, 1000, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses region %d of 1000', (regionNr) => {
    const { metadata } = newClone();
    for (const use of [
      () => metadata.setHydrated(regionNr),
      () => metadata.isHydrated(regionNr),
      () => metadata.setRangeHydrated(regionNr, 1001),
      () => metadata.setRangeHydrated(0, regionNr === 1000 ? 1001 : regionNr),
    ]) {
      expect(thrownBy(use)).toBeInstanceOf(RangeError);
    }
    expect(metadata.nrHydrated).toBe(0);
  });

  it('knows the end of the clone', () => {
    const { metadata } = newClone({ targetSize: 65 * REGION_SIZE });
    metadata.setRangeHydrated(0, 65);
    expect(metadata.nextUnhydrated(0)).toBe(65);
    expect(metadata.nextUnhydrated(65)).toBe(65);
    expect(metadata.isRangeHydrated(65, 65)).toBe(true);
  });

  it('is complete when everything is hydrated on the disk, not before', () => {
    const { device, metadata } = newClone({ targetSize: 100 * REGION_SIZE });
    metadata.setRangeHydrated(0, 99);
    metadata.preCommit();
    metadata.setHydrated(99);
    metadata.commit();
    expect([metadata.nrHydrated, metadata.isComplete]).toEqual([100, false]); // the last mark is not in that commit
    commit(metadata);
    expect(metadata.isComplete).toBe(true);
    metadata.close();
    expect(CloneMetadata.open(device).isComplete).toBe(true);
  });

  it('behaves like a set of numbers under any sequence of marks, commits and aborts', () => {
    const nrRegions = 33_000;
    const bound = fc.oneof(
      fc.nat(nrRegions),
      fc.constantFrom(0, 31, 32, 63, 64, 65, 32_575, 32_576, 32_577, nrRegions),
    );
    const step = fc.oneof(
      fc.record({ op: fc.constant('mark' as const), at: bound, length: fc.nat(200) }),
      fc.record({ op: fc.constantFrom('preCommit' as const, 'commit' as const, 'abort' as const, 'reopen' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const { device, metadata: formatted } = newClone({ targetSize: nrRegions * REGION_SIZE });
        let metadata = formatted;
        let shown = new Set<number>();
        let onDisk = new Set<number>();
        let sealed: Set<number> | undefined;
        for (const { op, ...how } of steps) {
          if (op === 'mark') {
            const { at, length } = how as { at: number; length: number };
            const end = Math.min(at + length, nrRegions);
            if (at < end && length === 1) metadata.setHydrated(at);
            else metadata.setRangeHydrated(at, end);
            for (let regionNr = at; regionNr < end; regionNr++) shown.add(regionNr);
          } else if (op === 'preCommit') {
            if (sealed !== undefined && sealed.size > onDisk.size) continue; // would ask for an abort
            metadata.preCommit();
            sealed = new Set(shown);
          } else if (op === 'commit') {
            expect(metadata.commit()).toBe(sealed !== undefined && sealed.size > onDisk.size);
            onDisk = sealed ?? onDisk;
            sealed = undefined;
          } else {
            if (op === 'abort') metadata.abort();
            else {
              metadata.close();
              metadata = CloneMetadata.open(device);
            }
            shown = new Set(onDisk);
            sealed = undefined;
          }
          expect(metadata.nrHydrated).toBe(shown.size);
          expect(metadata.hasChanges).toBe(shown.size > onDisk.size);
        }
        const ascending = (set: Set<number>): number[] => [...set].sort((a, b) => a - b);
        expect(hydratedOf(metadata)).toEqual(ascending(shown));
        expect(expectSound(device).hydrated()).toEqual(ascending(onDisk));
      }),
      { seed: 20_261_128, numRuns: 60 },
    );
  });
});
