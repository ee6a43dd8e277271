/**
 * Values that refer to units of space maps, for every structure that keeps values of a fixed size: each stored value is one
 * reference, counted when a shared leaf is copied, given up with the value.
 */
import { corrupt, u64At } from '../block/block.js';
import type { ValueType } from '../btree/value-type.js';
import type { DataSpaceMap } from '../space-map/data-space-map.js';
import { refuseRange } from '../space-map/range.js';
import type { Codec } from './codec.js';

/** The space map collections of a store, by name. */
export type UnitMaps = (name: string) => DataSpaceMap;

/** The value type of a tree or array that keeps what `codec` says. */
export function valueTypeOf<V>(codec: Codec<V>, maps: UnitMaps): ValueType<V> {
  const { size, units } = codec;
  const plain: ValueType<V> = { size, decode: codec.decode, encode: codec.encode };
  if (units.length === 0) return plain;
  const each = (view: DataView, at: number, count: number, change: (map: DataSpaceMap, unit: number) => void): void => {
    for (let i = 0; i < count; i++) {
      for (const { map, offset } of units) {
        const stored = u64At(view, at + i * size + offset);
        if (stored > 0) change(maps(map), stored - 1);
      }
    }
  };
  return {
    ...plain,
    encode(view, at, value) {
      codec.encode(view, at, value);
      each(view, at, 1, (map, unit) => refuseRange(unit, unit + 1, map.nrBlocks)); // the caller's mistake; below it is the disk's
    },
    inc: (view, at, count) => each(view, at, count, (map, unit) => map.inc(stored(map, unit))),
    dec: (view, at, count) => each(view, at, count, (map, unit) => map.dec(stored(map, unit))),
    equal: (a, atA, b, atB) => units.every(({ offset }) => u64At(a, atA + offset) === u64At(b, atB + offset)),
  };
}

/** A unit that is named by a value in a block. @throws {@link CorruptBlockError} when its map does not have it */
function stored(map: DataSpaceMap, unit: number): number {
  if (unit < map.nrBlocks) return unit;
  corrupt(
    { nr: map.root.bitmapRoot },
    'space map of units',
    'nrBlocks',
    map.nrBlocks,
    `above ${unit}, which a value names`,
  );
}
