/**
 * What a tree stores under its keys: values of a fixed size, and what it means that a value exists twice, or no longer.
 *
 * Format: docs/format/btree.md, section 2.1.
 */

export interface ValueType<V> {
  /** Bytes of a value. */
  readonly size: number;
  decode(view: DataView, at: number): V;
  encode(view: DataView, at: number, value: V): void;
  /**
   * Values `0..count` at `at` now exist once more: a leaf that others still read was copied. Not called for a value that is
   * inserted: the tree takes over the reference its caller holds.
   */
  inc?(view: DataView, at: number, count: number): void;
  /** `count` values at `at` are gone: removed, overwritten by another, or their leaf was deleted. */
  dec?(view: DataView, at: number, count: number): void;
  /** Whether overwriting `a` at `atA` by `b` at `atB` leaves the references as they are. Without it, `dec` is called for `a`. */
  equal?(a: DataView, atA: number, b: DataView, atB: number): boolean;
}
