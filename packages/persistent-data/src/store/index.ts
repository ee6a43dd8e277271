/**
 * The embedded store for a program's own data: typed collections with transactions, instant snapshots and clones, differences and a
 * history, on any metadata device. Start at {@link MetadataStore} and {@link schema}. Paths: `@pdata/persistent-data/store/node`.
 * @packageDocumentation
 */
export type { Bits, BitsView } from './bits.js';
export type { NamedState } from './catalogue.js';
export type { StoreReport } from './check.js';
export {
  bool,
  bytes,
  type Codec,
  type CodecDescription,
  type Decoded,
  f64,
  i32,
  type Struct,
  type StructFields,
  struct,
  text,
  type UnitPlace,
  u8,
  u16,
  u32,
  u64,
  unit,
} from './codec.js';
export type { Difference, Differences, DifferencesOf } from './difference.js';
export { NameError, NotAStoreError, SchemaError, WrongTimeError } from './errors.js';
export type { KeyCodec, KeyOf, KeyPart, KeySpec } from './key-codec.js';
export {
  type CommitOptions,
  MetadataStore,
  type StateName,
  type StoreOptions,
  type StoreSpace,
} from './metadata-store.js';
export type { Nested, NestedView } from './nested.js';
export type { Range, Tree, TreeView } from './ordered-tree.js';
export {
  type ArraySpec,
  array,
  type BitsetSpec,
  type BTreeSpec,
  bitset,
  btree,
  type CollectionSpec,
  type Collections,
  type NestedSpec,
  nested,
  type ReadableCollection,
  type ReadableCollections,
  type RecordSpec,
  record,
  type Schema,
  type SpaceMapSpec,
  schema,
  spaceMap,
  type UpgradeContext,
  type WritableCollection,
  type WritableCollections,
} from './schema.js';
export type { CollectionStatistics } from './statistics.js';
export type { SnapshotOptions, Transaction, TransactionSavepoint } from './transaction.js';
export type { Units } from './units.js';
export type { Vector, VectorView } from './vector.js';
export type { View } from './view.js';
