import fc from 'fast-check';
import { expect, it } from 'vitest';
import { allocationOf } from './allocation.js';

const STATES = ['data', 'data', 'zero', 'hole'] as const; // by flags: 1 is HOLE, 2 is ZERO

it('gives each sector the state that all of its bytes have, and calls a mixed one data', () => {
  const descriptor = fc.record({
    length: fc.oneof(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 6 }).map((nr) => nr * 512),
      fc.nat(2000).map((n) => n + 1),
    ),
    flags: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(descriptor, { maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (descriptors, nrSectors) => {
      const [offset, end] = [1024, 1024 + nrSectors * 512];
      const bytes = descriptors.flatMap(({ length, flags }) => new Array<string>(length).fill(STATES[flags]!));
      const expected: string[] = [];
      for (let at = 0; at + 512 <= Math.min(bytes.length, end - offset); at += 512) {
        const sector = new Set(bytes.slice(at, at + 512));
        expected.push(sector.size === 1 ? [...sector][0]! : 'data');
      }
      const extents = allocationOf(offset, end, descriptors);
      expect(extents.flatMap(({ length, state }) => new Array<string>(length / 512).fill(state))).toEqual(expected);
      let at = offset;
      for (const [nr, extent] of extents.entries()) {
        expect(extent.offset).toBe(at);
        expect(extent.state).not.toBe(extents[nr - 1]?.state);
        at += extent.length;
      }
    }),
    { seed: 20261120, numRuns: 500 },
  );
});
