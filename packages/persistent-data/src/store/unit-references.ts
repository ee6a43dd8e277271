/**
 * Values that refer to units of space maps, for every structure that keeps values of a fixed size: each stored value is one
 * reference, counted when a shared leaf is copied, given up with the value.
 */
import { u64At } from '../block/block.js';
import type { ValueType } from '../btree/value-type.js';
import type { SpaceMap } from '../transaction/space-map.js';
import type { Codec } from './codec.js';

/** The space map collections of a store, by name. */
export type UnitMaps = (name: string) => SpaceMap;

/** The value type of a tree or array that keeps what `codec` says. */
export function valueTypeOf<V>(codec: Codec<V>, maps: UnitMaps): ValueType<V> {
  const { size, units } = codec;
  const plain: ValueType<V> = { size, decode: codec.decode, encode: codec.encode };
  if (units.length === 0) return plain;
  const each = (view: DataView, at: number, count: number, change: (map: SpaceMap, unit: number) => void): void => {
    for (let i = 0; i < count; i++) {
      for (const { map, offset } of units) {
        const stored = u64At(view, at + i * size + offset);
        if (stored > 0) change(maps(map), stored - 1);
      }
    }
  };
  return {
    ...plain,
    inc: (view, at, count) => each(view, at, count, (map, unit) => map.inc(unit)),
    dec: (view, at, count) => each(view, at, count, (map, unit) => map.dec(unit)),
    equal: (a, atA, b, atB) => units.every(({ offset }) => u64At(a, atA + offset) === u64At(b, atB + offset)),
  };
}
