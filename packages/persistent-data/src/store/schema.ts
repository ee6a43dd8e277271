/**
 * What a store contains, declared once: named collections, each of a kind with the types of its keys and values. From the
 * declaration TypeScript infers what the collections give and take; the store keeps a description of it in its directory, and
 * refuses to be opened with another.
 */
import { refuseValueSize } from '../btree/tree.js';
import type { Bits, BitsView } from './bits.js';
import type { Codec, CodecDescription, Decoded, u64 } from './codec.js';
import { type KeyCodec, type KeyOf, type KeySpec, keyCodec } from './key-codec.js';
import type { Nested, NestedView } from './nested.js';
import type { Tree, TreeView } from './ordered-tree.js';
import { maxInline } from './page-node.js';
import type { Units } from './units.js';
import type { Vector, VectorView } from './vector.js';

/** A value of any length, in msgpack: what JSON can say, and bytes, dates and big integers of 64 bits. Maps, sets and functions are refused. */
export interface RecordSpec<V> {
  readonly record: true;
  /** For the type alone. */
  readonly decodes?: V;
}

/** The values of a collection are what msgpack can say. `V` is the caller's promise; nothing checks it. */
export const record = <V = unknown>(): RecordSpec<V> => ({ record: true });

export interface BTreeSpec<K, V> {
  readonly kind: 'btree';
  readonly keys: KeyCodec;
  readonly value: Codec<V> | RecordSpec<V>;
  /** For the type alone. */
  readonly key?: K;
}

export interface ArraySpec<V> {
  readonly kind: 'array';
  readonly value: Codec<V>;
}

export interface BitsetSpec {
  readonly kind: 'bitset';
}

export interface SpaceMapSpec {
  readonly kind: 'spaceMap';
}

export interface NestedSpec<V> {
  readonly kind: 'nested';
  readonly value: Codec<V>;
}

export type CollectionSpec =
  | BTreeSpec<unknown, unknown>
  | ArraySpec<unknown>
  | BitsetSpec
  | SpaceMapSpec
  | NestedSpec<unknown>;
export type Collections = Readonly<Record<string, CollectionSpec>>;

/**
 * Entries in the order of their keys. Whole numbers with values of a fixed size lie in the kernel's btree, which is fastest;
 * compound keys, keys of bytes and records in trees of our own.
 *
 * @param shape.key `u64`, `u32`…, `bytes(n)`, `text(n)`, or an array of those: a compound key, ordered by its first component first
 * @param shape.value a codec (`u64`, `struct({…})`…), or `record<T>()`
 */
export function btree<const K extends KeySpec, V>(shape: {
  readonly key: K;
  readonly value: Codec<V> | RecordSpec<V>;
}): BTreeSpec<KeyOf<K>, V> {
  const keys = keyCodec(shape.key);
  const { value } = shape;
  if (!('record' in value)) {
    if (keys.size === 0) refuseValueSize(value.size);
    else if (value.size > maxInline(keys.size))
      throw new RangeError(
        `with a key of ${keys.size} bytes a value of a fixed size has at most ${maxInline(keys.size)} bytes, not ${value.size}: make it a record`,
      );
  }
  return { kind: 'btree', keys, value };
}

/** Values of a fixed size under the indexes 0, 1, 2… */
export const array = <V>(value: Codec<V>): ArraySpec<V> => ({ kind: 'array', value: fixed(value, 'an array') });

/** Bits under the indexes 0, 1, 2… */
export const bitset = (): BitsetSpec => ({ kind: 'bitset' });

/** Reference counts for units of the program's own, and the choice of free ones. See the codec `unit`. */
export const spaceMap = (): SpaceMapSpec => ({ kind: 'spaceMap' });

/** A tree under each whole number, of values of a fixed size under whole numbers. */
export const nested = <V>(shape: { readonly value: Codec<V> }): NestedSpec<V> => ({
  kind: 'nested',
  value: fixed(shape.value, 'a nested collection'),
});

function fixed<V>(value: Codec<V>, where: string): Codec<V> {
  if (value !== undefined && 'description' in value) return value;
  throw new TypeError(`the values of ${where} have a codec of a fixed size (u64, struct({…})…), not a record`);
}

/** A collection declared as `S`, as a transaction has it. */
export type WritableCollection<S> =
  S extends BTreeSpec<infer K, infer V>
    ? Tree<K, V>
    : S extends NestedSpec<infer V>
      ? Nested<V>
      : S extends ArraySpec<infer V>
        ? Vector<V>
        : S extends BitsetSpec
          ? Bits
          : S extends SpaceMapSpec
            ? Units
            : never;
/** A collection declared as `S`, as a view has it. */
export type ReadableCollection<S> =
  S extends BTreeSpec<infer K, infer V>
    ? TreeView<K, V>
    : S extends NestedSpec<infer V>
      ? NestedView<V>
      : S extends ArraySpec<infer V>
        ? VectorView<V>
        : S extends BitsetSpec
          ? BitsView
          : never;

/** The collections of a schema as a transaction has them. */
export type WritableCollections<C extends Collections> = { readonly [Name in keyof C]: WritableCollection<C[Name]> };
/** The collections of a schema as a view has them; space maps belong to no state, and are not among them. */
export type ReadableCollections<C extends Collections> = {
  readonly [Name in keyof C as C[Name] extends SpaceMapSpec ? never : Name]: ReadableCollection<C[Name]>;
};

/** What an upgrade works with: one state, the current one or a clone. */
export interface UpgradeContext<C extends Collections> {
  /** All collections as the new schema has them: those that are new, or of another shape than before, are empty. */
  readonly collections: WritableCollections<C>;
  /**
   * Collections that the new schema has not, or has otherwise, as they were, to be read: declare them as the old schema did.
   * @throws {@link SchemaError} when the store had no such collection
   */
  before<Old extends Collections>(collections: Old): ReadableCollections<Old>;
}

export interface Schema<C extends Collections> {
  /** 1, 2, 3…: raised with every change of the collections. */
  readonly version: number;
  readonly collections: C;
  /**
   * For stores of older versions: `upgrade[n]` brings a store of version n - 1 to version n. All hooks that are due run, for the
   * current state and for every clone, in the one transaction in which the store is opened, or nothing of it happens.
   */
  readonly upgrade: Readonly<Record<number, (context: UpgradeContext<C>) => void>>;
}

const KINDS: ReadonlySet<unknown> = new Set<CollectionSpec['kind']>(['btree', 'array', 'bitset', 'nested', 'spaceMap']);

/** Declares what a store contains. */
export function schema<const C extends Collections>(shape: {
  readonly version: number;
  readonly collections: C;
  readonly upgrade?: Readonly<Record<number, (context: UpgradeContext<C>) => void>>;
}): Schema<C> {
  const { version, collections, upgrade = {} } = shape;
  if (!Number.isInteger(version) || version < 1)
    throw new RangeError(`a schema's version is a whole number from 1 on, not ${version}`);
  for (const [number, hook] of Object.entries(upgrade)) {
    if (typeof hook !== 'function' || !(Number(number) <= version))
      throw new TypeError(`upgrade ${number} is no hook that brings a store to one of the versions up to ${version}`);
  }
  for (const [name, spec] of Object.entries(collections)) {
    if (!KINDS.has(spec?.kind))
      throw new TypeError(`collection ${name} is none: declare it with btree, array, bitset, nested or spaceMap`);
    for (const map of unitMapsOf(spec)) {
      if (collections[map]?.kind !== 'spaceMap')
        throw new TypeError(`collection ${name} refers to units of ${map}, which is no space map of this schema`);
    }
  }
  return { version, collections, upgrade };
}

/** How the directory describes a collection; two that are described alike can be read alike. */
export type CollectionDescription =
  | { readonly kind: 'btree'; readonly key: KeyCodec['description']; readonly value: CodecDescription | 'record' }
  | { readonly kind: 'array' | 'nested'; readonly value: CodecDescription }
  | { readonly kind: 'bitset' | 'spaceMap' };

export function describe(spec: CollectionSpec): CollectionDescription {
  switch (spec.kind) {
    case 'btree':
      return {
        kind: 'btree',
        key: spec.keys.description,
        value: 'record' in spec.value ? 'record' : spec.value.description,
      };
    case 'array':
    case 'nested':
      return { kind: spec.kind, value: spec.value.description };
    default:
      return { kind: spec.kind };
  }
}

function unitMapsOf(spec: CollectionSpec): string[] {
  if (!('value' in spec) || 'record' in spec.value) return [];
  return (spec.value as Codec<Decoded<typeof u64>>).units.map(({ map }) => map);
}
