/**
 * Copy-on-write trees with reference-counted blocks, byte for byte in the format of Linux's dm-persistent-data. A new target
 * starts at {@link createTransactionManager} and {@link openTransactionManager}; its trees are {@link BTree}s.
 * @packageDocumentation
 */
export { PersistentArray } from './array/array.js';
export {
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueOffset,
  arrayValueSize,
  MAX_ARRAY_VALUE_SIZE,
  maxArrayEntriesFor,
  nrArrayEntries,
} from './array/array-block.js';
export type { ArrayCursor } from './array/array-cursor.js';
export { type BitRun, Bitset, type Word, wordType } from './array/bitset.js';
export { lowestBit, popCount } from './array/half-words.js';
export {
  Block,
  type BlockValidator,
  checkChecksum,
  checkHomeAndChecksum,
  sealHomeAndChecksum,
  setU64At,
  u64At,
} from './block/block.js';
export { BlockManager, type BlockManagerCounters, type BlockManagerOptions } from './block/block-manager.js';
export { claimDevice, withWriterClaim } from './block/claim.js';
export { superblockValidator } from './block/superblock-validator.js';
export { isUnformatted, wipeSuperblock } from './block/unformatted.js';
export { BTreeBuilder, type BuiltNode, buildTree } from './btree/build.js';
export type { BTreeCursor } from './btree/cursor.js';
export { diffTrees, type TreeDifference } from './btree/diff.js';
export type { Entry } from './btree/lookup.js';
export { NestedBTree, subtreeType } from './btree/nested.js';
export {
  CHILD_SIZE,
  childAt,
  floorIndex,
  INTERNAL_NODE,
  isLeaf,
  keyAt,
  LEAF_NODE,
  MAX_DEPTH,
  maxEntries,
  maxEntriesFor,
  nodeValidator,
  nrEntries,
  valueOffset,
  valueSize,
  valuesOffset,
} from './btree/node.js';
export { BTree } from './btree/tree.js';
export type { TreeHandle } from './btree/tree-handle.js';
export type { ValueType } from './btree/value-type.js';
export { bitmapEntry, bitmapValidator, ENTRIES_PER_BITMAP, MANY, nrBitmapsFor } from './space-map/bitmap.js';
export { MAX_COUNT, refCountType } from './space-map/bitmap-counts.js';
export { DataSpaceMap, indexEntryType } from './space-map/data-space-map.js';
export {
  ENTRIES_PER_INDEX_BLOCK,
  INDEX_ENTRY_SIZE,
  type IndexEntry,
  indexBlockValidator,
  indexEntryOffset,
  readIndexEntry,
  writeIndexEntry,
} from './space-map/index-entry.js';
export { MAX_METADATA_BLOCKS } from './space-map/metadata-space-map.js';
export {
  createTransactionManager,
  createTransactionManagerOn,
  openTransactionManager,
  openTransactionManagerOn,
} from './space-map/open.js';
export { readSpaceMapRoot, SPACE_MAP_ROOT_SIZE, type SpaceMapRoot, writeSpaceMapRoot } from './space-map/root.js';
export { AbortRequiredError, CountRangeError, NoSpaceError } from './transaction/errors.js';
export type { SpaceMap } from './transaction/space-map.js';
export {
  CommitError,
  CommitRunningError,
  NotFormattedError,
  UnsupportedMetadataError,
} from './transaction/target-errors.js';
export {
  type IncChildren,
  type MetadataSpaceMapInTransaction,
  TransactionManager,
} from './transaction/transaction-manager.js';
