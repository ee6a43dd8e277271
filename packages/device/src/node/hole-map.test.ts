import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HoleMap, UNIT_SIZE } from './hole-map.js';

const LEAF = 4096 * 8; // units

/** "hhhdd": the state of each unit, as isHole tells it. */
const unitsOf = (map: HoleMap, nr: number): string =>
  Array.from({ length: nr }, (_, unit) => (map.isHole(unit) ? 'h' : 'd')).join('');

/** The same as the extents tell it, asked until the end. */
function extentsOf(map: HoleMap, nr: number): string {
  let told = '';
  while (told.length < nr) {
    for (const { offset, length, state } of map.extents(told.length, nr)) {
      expect(offset).toBe(told.length * UNIT_SIZE);
      told += (state === 'hole' ? 'h' : 'd').repeat(length / UNIT_SIZE);
    }
  }
  return told;
}

describe('a hole map', () => {
  it('begins all hole or all data, at no cost', () => {
    const size16Tib = 2 ** 44 / UNIT_SIZE;
    for (const state of ['hole', 'data'] as const) {
      const map = new HoleMap(size16Tib, state);
      expect(map.nrBytes).toBe(0);
      expect(map.extents(0, size16Tib)).toEqual([{ offset: 0, length: 2 ** 44, state }]);
      expect(map.areHoles(0, size16Tib)).toBe(state === 'hole');
    }
  });

  it('keeps bits only where holes and data mix, and forgets them when they are alike again', () => {
    const map = new HoleMap(4 * LEAF, 'hole');
    map.set(5, 6, 'data');
    map.set(2 * LEAF - 1, 2 * LEAF + 1, 'data');
    expect(map.nrBytes).toBe(3 * 4096);
    expect(map.extents(0, 4 * LEAF).map(({ length, state }) => [length / UNIT_SIZE, state])).toEqual([
      [5, 'hole'],
      [1, 'data'],
      [2 * LEAF - 7, 'hole'],
      [2, 'data'],
      [2 * LEAF - 1, 'hole'],
    ]);
    map.set(5, 6, 'hole');
    map.set(LEAF, 3 * LEAF, 'data');
    expect(map.nrBytes).toBe(0);
    expect(map.areHoles(0, LEAF)).toBe(true);
    expect(map.areHoles(0, LEAF + 1)).toBe(false);
  });

  it('calls data what it has no room to remember, and never hole', () => {
    const map = new HoleMap(10 * LEAF, 'hole', 2);
    for (let leaf = 0; leaf < 10; leaf++) map.set(leaf * LEAF + 7, leaf * LEAF + 8, 'data');
    expect(map.nrBytes).toBe(2 * 4096);
    for (let leaf = 0; leaf < 10; leaf++) expect(map.isHole(leaf * LEAF + 7)).toBe(false);
    expect([map.isHole(8), map.isHole(LEAF + 8), map.isHole(2 * LEAF + 8)]).toEqual([true, true, false]);
  });

  it('has a bound for 16 TiB written and punched everywhere', () => {
    const map = new HoleMap(2 ** 44 / UNIT_SIZE, 'hole');
    for (let leaf = 0; leaf < 8192; leaf++) map.set(leaf * LEAF, leaf * LEAF + 1, 'data');
    expect(map.nrBytes).toBe(16 * 2 ** 20);
  });

  it('ends an answer that would be too long', () => {
    const map = new HoleMap(LEAF, 'hole');
    for (let unit = 0; unit < LEAF; unit += 2) map.set(unit, unit + 1, 'data');
    expect(map.extents(0, LEAF)).toHaveLength(4096);
  });

  it('grows by holes or data, never shrinks', () => {
    const map = new HoleMap(2, 'data');
    map.grow(4, 'hole');
    map.grow(6, 'data');
    map.grow(3, 'hole');
    expect(unitsOf(map, 6)).toBe('ddhhdd');
  });

  it('says what a plain array says, after any changes', () => {
    const size = 3 * LEAF;
    // Units near the borders of leaves and bytes, where the mistakes are.
    const unit = fc.oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: LEAF - 20, max: LEAF + 20 }),
      fc.integer({ min: 2 * LEAF - 9, max: size - 1 }),
    );
    const change = fc.record({ a: unit, b: unit, state: fc.constantFrom('hole' as const, 'data' as const) });
    const property = fc.property(
      fc.constantFrom('hole' as const, 'data' as const),
      fc.array(change, { maxLength: 12 }),
      (initial, changes) => {
        const map = new HoleMap(size, initial);
        const model = new Uint8Array(size).fill(initial === 'hole' ? 1 : 0);
        for (const { a, b, state } of changes) {
          const [first, end] = [Math.min(a, b), Math.max(a, b) + 1];
          map.set(first, end, state);
          model.fill(state === 'hole' ? 1 : 0, first, end);
          expect(map.areHoles(first, end)).toBe(state === 'hole');
        }
        const expected = Array.from(model, (isHole) => (isHole ? 'h' : 'd')).join('');
        expect(extentsOf(map, size) === expected, 'extents').toBe(true);
        expect(unitsOf(map, size) === expected, 'isHole').toBe(true);
      },
    );
    fc.assert(property, { seed: 20261120, numRuns: 100 });
  });
});
