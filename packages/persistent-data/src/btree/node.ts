/**
 * A B+tree node inside one 4096-byte block, read and changed in place. All integers are little-endian.
 *
 *   offset  size   field        meaning
 *        0     4   checksum     see block/block.ts; constant 121107
 *        4     4   flags        1 internal node, 2 leaf; exactly one of them
 *        8     8   blockNr      the block this node is meant to live in: catches misdirected writes
 *       16     4   nrEntries    keys in use
 *       20     4   maxEntries   capacity, a multiple of 3
 *       24     4   valueSize    bytes per value; 8 in every internal node
 *       28     4   padding      zero; ignored
 *       32  8 max  keys         u64, strictly ascending; what lies past nrEntries is stale
 *        …  v max  values       start at 32 + 8 * maxEntries, not after the last used key
 *
 * The validator runs once, as the block enters the cache; from then on the accessors trust it. It also refuses what the
 * kernel lets pass but what would mislead a search: both flags at once, keys out of order, keys above 2^53 - 1.
 *
 * Format: docs/format/btree.md, sections 1 and 2.
 */
import { BLOCK_SIZE } from '@pdata/device';
import {
  type Block,
  type BlockValidator,
  checkHomeAndChecksum,
  corrupt,
  sealHomeAndChecksum,
  u64At,
} from '../block/block.js';

export const NODE_CHECKSUM_XOR = 121107;
export const INTERNAL_NODE = 1;
export const LEAF_NODE = 2;
/** Bytes of a child pointer, and of every value in an internal node. */
export const CHILD_SIZE = 8;
/** Two entries a node would reach all 2^22 blocks of the largest device in 23 steps: only a cycle gets here. */
export const MAX_DEPTH = 24;
const STRUCTURE = 'btree node';
const HEADER_SIZE = 32;
const AT = { flags: 4, blockNr: 8, nrEntries: 16, maxEntries: 20, valueSize: 24, keys: HEADER_SIZE } as const;
/** Bytes of a key. */
export const KEY_SIZE = 8;

/** With fewer, a full node could not be split into two that have room. */
export const LEAST_MAX_ENTRIES = 3;

/** Entries a node of `valueSize`-byte values holds: 252 for 8 bytes, 336 for 4, 168 for 16, 126 for 24. */
export const maxEntriesFor = (valueSize: number): number =>
  Math.floor(Math.floor((BLOCK_SIZE - HEADER_SIZE) / (KEY_SIZE + valueSize)) / 3) * 3;

export const isLeaf = (node: Block): boolean => node.view.getUint32(AT.flags, true) === LEAF_NODE;
export const nrEntries = (node: Block): number => node.view.getUint32(AT.nrEntries, true);
export const maxEntries = (node: Block): number => node.view.getUint32(AT.maxEntries, true);
export const valueSize = (node: Block): number => node.view.getUint32(AT.valueSize, true);
export const setNrEntries = (node: Block, nr: number): void => node.view.setUint32(AT.nrEntries, nr, true);

export const keyAt = (node: Block, index: number): number => u64At(node.view, AT.keys + KEY_SIZE * index);
export function setKeyAt(node: Block, index: number, key: number): void {
  const at = AT.keys + KEY_SIZE * index;
  node.view.setUint32(at, key >>> 0, true);
  node.view.setUint32(at + 4, Math.floor(key / 0x100000000), true);
}

/** Byte offset of the first key. */
export const keysOffset = (_node: Block): number => AT.keys;
/** Byte offset of the first value. */
export const valuesOffset = (node: Block): number => AT.keys + KEY_SIZE * maxEntries(node);
/** Byte offset of value `index`, for a value type to decode where it lies. */
export const valueOffset = (node: Block, index: number): number => valuesOffset(node) + index * valueSize(node);

/** Child block of entry `index` of an internal node (or a root in a leaf of an upper level). */
export const childAt = (node: Block, index: number): number =>
  u64At(node.view, AT.keys + KEY_SIZE * maxEntries(node) + CHILD_SIZE * index);
export function setChildAt(node: Block, index: number, child: number): void {
  const at = AT.keys + KEY_SIZE * maxEntries(node) + CHILD_SIZE * index;
  node.view.setUint32(at, child >>> 0, true);
  node.view.setUint32(at + 4, Math.floor(child / 0x100000000), true);
}

/** Makes an empty node of `block`; key and value slots keep what they hold. */
export function initNode(block: Block, flags: typeof INTERNAL_NODE | typeof LEAF_NODE, valueSize: number): void {
  setNodeShape(block, flags, 0, maxEntriesFor(valueSize), valueSize);
}

/** As {@link initNode}, with every field given: the header of a node that is about to receive another's entries. */
export function setNodeShape(block: Block, flags: number, nr: number, max: number, valueSize: number): void {
  const { view } = block;
  view.setUint32(AT.flags, flags, true);
  view.setUint32(AT.nrEntries, nr, true);
  view.setUint32(AT.maxEntries, max, true);
  view.setUint32(AT.valueSize, valueSize, true);
  view.setUint32(28, 0, true);
}
export const nodeFlags = (node: Block): number => node.view.getUint32(AT.flags, true);

/** Index of the last key ≤ `key`, or -1 when every key is greater. */
export const floorIndex = (node: Block, key: number): number => floorIndexAt(node.view, 0, key);

/** As {@link floorIndex}, for the node that begins at byte `at` of `view`. */
export function floorIndexAt(view: DataView, at: number, key: number): number {
  const low = key >>> 0;
  const high = Math.floor(key / 0x100000000);
  const keys = at + AT.keys;
  let from = 0;
  let to = view.getUint32(at + AT.nrEntries, true); // the first key > `key` is at from..to
  // Halves compared as integers: 1.4 times as fast as comparing the two as one float.
  while (from < to) {
    const middle = (from + to) >>> 1;
    const here = keys + KEY_SIZE * middle;
    const h = view.getUint32(here + 4, true);
    if (h > high || (h === high && view.getUint32(here, true) > low)) to = middle;
    else from = middle + 1;
  }
  return from - 1;
}

/** In the node at byte `at` of `view`: where the value is that goes with key `index`; -1 unless the key there is `key`. */
export function placeOfKeyAt(view: DataView, at: number, index: number, key: number): number {
  if (index < 0 || u64At(view, at + AT.keys + KEY_SIZE * index) !== key) return -1;
  return (
    at + AT.keys + KEY_SIZE * view.getUint32(at + AT.maxEntries, true) + view.getUint32(at + AT.valueSize, true) * index
  );
}

/** The child of entry `index` of the internal node at byte `at` of `view`; -1 when that is a leaf. */
export function childOfNodeAt(view: DataView, at: number, index: number): number {
  if (view.getUint32(at + AT.flags, true) === LEAF_NODE) return -1;
  return u64At(view, at + AT.keys + KEY_SIZE * view.getUint32(at + AT.maxEntries, true) + CHILD_SIZE * index);
}

export const valueSizeAt = (view: DataView, at: number): number => view.getUint32(at + AT.valueSize, true);

/** Opens a gap for one entry at `index` and stores `key` there; the caller writes the value at the returned offset. */
export function openEntry(node: Block, index: number, key: number): number {
  const nr = nrEntries(node);
  const size = valueSize(node);
  const values = valuesOffset(node);
  if (index < nr) {
    const keyFrom = AT.keys + KEY_SIZE * index;
    node.bytes.copyWithin(keyFrom + KEY_SIZE, keyFrom, AT.keys + KEY_SIZE * nr);
    node.bytes.copyWithin(values + size * (index + 1), values + size * index, values + size * nr);
  }
  setKeyAt(node, index, key);
  setNrEntries(node, nr + 1);
  return values + size * index;
}

/** Removes entry `index`. */
export function closeEntry(node: Block, index: number): void {
  const nr = nrEntries(node);
  const size = valueSize(node);
  const values = valuesOffset(node);
  node.bytes.copyWithin(AT.keys + KEY_SIZE * index, AT.keys + KEY_SIZE * (index + 1), AT.keys + KEY_SIZE * nr);
  node.bytes.copyWithin(values + size * index, values + size * (index + 1), values + size * nr);
  setNrEntries(node, nr - 1);
}

/** What a single node can be asked about itself; how it fits between its neighbours is a matter of the walk. */
export const nodeValidator: BlockValidator = {
  structure: STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, STRUCTURE, AT.blockNr, NODE_CHECKSUM_XOR);
    const flags = nodeFlags(block);
    if (flags !== INTERNAL_NODE && flags !== LEAF_NODE)
      corrupt(block, STRUCTURE, 'flags', flags, '1 (internal) or 2 (leaf)');
    const [nr, max, size] = [nrEntries(block), maxEntries(block), valueSize(block)];
    const capacity = Math.floor((BLOCK_SIZE - HEADER_SIZE) / (KEY_SIZE + size));
    if (max > capacity) corrupt(block, STRUCTURE, 'maxEntries', max, `at most ${capacity}`);
    if (max < LEAST_MAX_ENTRIES) corrupt(block, STRUCTURE, 'maxEntries', max, `${LEAST_MAX_ENTRIES} or more`);
    if (nr > max) corrupt(block, STRUCTURE, 'nrEntries', nr, `at most ${max}`);
    if (flags === INTERNAL_NODE) {
      if (size !== CHILD_SIZE) corrupt(block, STRUCTURE, 'valueSize', size, `${CHILD_SIZE} in an internal node`);
      if (nr === 0) corrupt(block, STRUCTURE, 'nrEntries', 0, 'at least 1 in an internal node');
    }
    checkKeys(block, nr);
  },
  prepare(block) {
    sealHomeAndChecksum(block, AT.blockNr, NODE_CHECKSUM_XOR);
  },
};

function checkKeys(block: Block, nr: number): void {
  const { view } = block;
  let previousHigh = -1;
  let previousLow = 0;
  for (let index = 0, at: number = AT.keys; index < nr; index++, at += KEY_SIZE) {
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    if (high < previousHigh || (high === previousHigh && low <= previousLow)) {
      corrupt(
        block,
        STRUCTURE,
        `key ${index}`,
        keyAt(block, index),
        `above key ${index - 1}, ${keyAt(block, index - 1)}`,
      );
    }
    previousHigh = high;
    previousLow = low;
  }
  if (previousHigh > 0x1fffff)
    corrupt(
      block,
      STRUCTURE,
      `key ${nr - 1}`,
      view.getBigUint64(AT.keys + KEY_SIZE * (nr - 1), true),
      'at most 2^53 - 1',
    );
}
