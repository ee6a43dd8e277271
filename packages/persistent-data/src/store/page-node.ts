/**
 * A node of a page tree: keys of any one size up to 128 bytes, values of any length. All integers are little-endian.
 *
 *   offset  size   field
 *        0     4   checksum    see block/block.ts; constant 530713
 *        4     4   flags       1 internal node, 2 leaf
 *        8     8   blockNr     the block this content is meant for
 *       16     2   nrEntries
 *       18     2   keySize     a multiple of 4, 4 to 128
 *       20     2   heapStart   the lowest byte of the heap in use
 *       22     2   nrUnused    bytes between heapStart and the end that belong to no entry
 *       24     8   reserved    zero
 *       32   2 n   slots       where the entries are, in the order of their keys
 *        …     …   heap        entries, from the end of the block downwards
 *
 *   entry of an internal node   key, u64 child
 *   entry of a leaf             key, u16 length, that many bytes;
 *                               length 0xffff: u32 length of the record, u64 first block of its chain (overflow.ts)
 *
 * Keys are bytes, compared from the first on (as big-endian words of four bytes, which is the same). A key in an internal node
 * is no greater than any key below it; only the first may be below the least one.
 *
 * Format: docs/format/store.md, section 5.
 */
import { BLOCK_SIZE } from '@pdata/device';
import {
  type Block,
  type BlockValidator,
  checkHomeAndChecksum,
  corrupt,
  sealHomeAndChecksum,
  setU64At,
  u64At,
} from '../block/block.js';
import { MAX_KEY_SIZE } from './key-codec.js';

const STRUCTURE = 'page node';
const PAGE_CHECKSUM_XOR = 530713;
const AT = { flags: 4, blockNr: 8, nrEntries: 16, keySize: 18, heapStart: 20, nrUnused: 22, slots: 32 } as const;
export const PAGE_INTERNAL = 1;
export const PAGE_LEAF = 2;
const IN_CHAIN = 0xffff;
const LENGTH_SIZE = 2;
const CHAIN_SIZE = 12;
/** Bytes for slots and entries. */
export const PAGE_CAPACITY = BLOCK_SIZE - AT.slots;
/** Four of the largest entries fit a node, slots included: so that a split always makes room for one. */
const MAX_ENTRY_SIZE = PAGE_CAPACITY / 4 - 2;
/** The longest value kept in a leaf: 972 bytes with keys of 40. */
export const maxInline = (keySize: number): number => MAX_ENTRY_SIZE - keySize - LENGTH_SIZE;

export const isPageLeaf = ({ view }: Block): boolean => view.getUint32(AT.flags, true) === PAGE_LEAF;
export const nrPageEntries = ({ view }: Block): number => view.getUint16(AT.nrEntries, true);
export const pageKeySize = ({ view }: Block): number => view.getUint16(AT.keySize, true);
/** Where entry `index` lies; it begins with its key. */
export const entryOffset = ({ view }: Block, index: number): number => view.getUint16(AT.slots + 2 * index, true);
export const pageChildOffset = (node: Block, index: number): number => entryOffset(node, index) + pageKeySize(node);
export const pageChildAt = (node: Block, index: number): number => u64At(node.view, pageChildOffset(node, index));
export const setPageChildAt = (node: Block, index: number, child: number): void =>
  setU64At(node.view, pageChildOffset(node, index), child);

export function initPage(block: Block, flags: number, keySize: number): void {
  const { view } = block;
  view.setUint32(AT.flags, flags, true);
  view.setUint16(AT.nrEntries, 0, true);
  view.setUint16(AT.keySize, keySize, true);
  view.setUint16(AT.heapStart, BLOCK_SIZE, true);
  view.setUint16(AT.nrUnused, 0, true);
  setU64At(view, 24, 0);
}

/** A leaf's value: bytes in the node, or the head of a chain. */
export interface Place {
  /** First byte of the value in the node; 0 when it is in a chain. */
  at: number;
  length: number;
  /** First block of the chain; 0 when the value is in the node. */
  chain: number;
}

/** Where the value of entry `index` is; into `place`, so that nothing is allocated. */
export function placeOf(node: Block, index: number, place: Place): Place {
  const { view } = node;
  const at = entryOffset(node, index) + pageKeySize(node);
  const length = view.getUint16(at, true);
  if (length === IN_CHAIN) {
    place.at = 0;
    place.length = view.getUint32(at + LENGTH_SIZE, true);
    place.chain = u64At(view, at + LENGTH_SIZE + 4);
  } else {
    place.at = at + LENGTH_SIZE;
    place.length = length;
    place.chain = 0;
  }
  return place;
}

/** Byte offset of the chain's number in leaf entry `index`; 0 when its value is in the node. */
export function chainOffset(node: Block, index: number): number {
  const at = entryOffset(node, index) + pageKeySize(node);
  return node.view.getUint16(at, true) === IN_CHAIN ? at + LENGTH_SIZE + 4 : 0;
}

/** What an entry takes, its slot not counted. */
export function entrySize(node: Block, index: number): number {
  const keySize = pageKeySize(node);
  if (!isPageLeaf(node)) return keySize + 8;
  const length = node.view.getUint16(entryOffset(node, index) + keySize, true);
  return keySize + LENGTH_SIZE + (length === IN_CHAIN ? CHAIN_SIZE : length);
}

export const leafEntrySize = (keySize: number, value: Uint8Array | undefined): number =>
  keySize + LENGTH_SIZE + (value === undefined ? CHAIN_SIZE : value.length);

/** Bytes for more entries, slots included. */
export function pageFree({ view }: Block): number {
  const nr = view.getUint16(AT.nrEntries, true);
  return view.getUint16(AT.heapStart, true) - AT.slots - 2 * nr + view.getUint16(AT.nrUnused, true);
}

/** < 0, 0, > 0 as the key at `at` is below, equal to or above `key`. */
export function compareKeys(view: DataView, at: number, key: DataView, keyAt: number, size: number): number {
  for (let i = 0; i < size; i += 4) {
    const [a, b] = [view.getUint32(at + i), key.getUint32(keyAt + i)];
    if (a !== b) return a < b ? -1 : 1;
  }
  return 0;
}

/** Index of the last key ≤ `key`, or -1. */
export function pageFloor(node: Block, key: DataView): number {
  const { view } = node;
  const size = pageKeySize(node);
  const word = key.getUint32(0);
  let from = 0;
  let to = nrPageEntries(node);
  while (from < to) {
    const middle = (from + to) >>> 1;
    const at = view.getUint16(AT.slots + 2 * middle, true);
    const first = view.getUint32(at);
    const isAbove = first === word ? compareKeys(view, at, key, 0, size) > 0 : first > word;
    if (isAbove) to = middle;
    else from = middle + 1;
  }
  return from - 1;
}

export const isKeyAt = (node: Block, index: number, key: DataView): boolean =>
  index >= 0 && compareKeys(node.view, entryOffset(node, index), key, 0, pageKeySize(node)) === 0;

/** Makes room for an entry of `size` bytes at `index`, for which there must be space; returns where it is to be written. */
export function openPageEntry(node: Block, index: number, size: number): number {
  const { view, bytes } = node;
  const nr = nrPageEntries(node);
  if (view.getUint16(AT.heapStart, true) - size < AT.slots + 2 * (nr + 1)) compactHeap(node);
  const at = view.getUint16(AT.heapStart, true) - size;
  const slot = AT.slots + 2 * index;
  bytes.copyWithin(slot + 2, slot, AT.slots + 2 * nr);
  view.setUint16(slot, at, true);
  view.setUint16(AT.heapStart, at, true);
  view.setUint16(AT.nrEntries, nr + 1, true);
  return at;
}

export function closePageEntry(node: Block, index: number): void {
  const { view, bytes } = node;
  const nr = nrPageEntries(node);
  const size = entrySize(node, index);
  const slot = AT.slots + 2 * index;
  bytes.copyWithin(slot, slot + 2, AT.slots + 2 * nr);
  view.setUint16(AT.nrEntries, nr - 1, true);
  view.setUint16(AT.nrUnused, view.getUint16(AT.nrUnused, true) + size, true);
}

/** Appends entry `index` of `from` to the entries of `to`. */
export function appendFrom(to: Block, from: Block, index: number): void {
  const size = entrySize(from, index);
  const at = openPageEntry(to, nrPageEntries(to), size);
  const source = entryOffset(from, index);
  to.bytes.set(from.bytes.subarray(source, source + size), at);
}

export function writeLeafEntry(
  node: Block,
  at: number,
  key: DataView,
  value: Uint8Array | undefined,
  length: number,
  chain: number,
): void {
  const { view, bytes } = node;
  const keySize = pageKeySize(node);
  writeKey(bytes, at, key, keySize);
  if (value === undefined) {
    view.setUint16(at + keySize, IN_CHAIN, true);
    view.setUint32(at + keySize + LENGTH_SIZE, length, true);
    setU64At(view, at + keySize + LENGTH_SIZE + 4, chain);
  } else {
    view.setUint16(at + keySize, value.length, true);
    bytes.set(value, at + keySize + LENGTH_SIZE);
  }
}

/** Stores the first `size` bytes of `key`. */
export const writeKey = (bytes: Uint8Array, at: number, key: DataView, size: number): void =>
  bytes.set(new Uint8Array(key.buffer, key.byteOffset, size), at);

const scratch = new Uint8Array(BLOCK_SIZE);

function compactHeap(node: Block): void {
  const { view, bytes } = node;
  scratch.set(bytes);
  let start = BLOCK_SIZE;
  const nr = nrPageEntries(node);
  for (let index = 0; index < nr; index++) {
    const [at, size] = [entryOffset(node, index), entrySize(node, index)];
    start -= size;
    sizes[index] = size;
    places[index] = at;
    starts[index] = start;
  }
  for (let index = 0; index < nr; index++) {
    const [at, size, to] = [places[index] as number, sizes[index] as number, starts[index] as number];
    bytes.set(scratch.subarray(at, at + size), to);
    view.setUint16(AT.slots + 2 * index, to, true);
  }
  view.setUint16(AT.heapStart, start, true);
  view.setUint16(AT.nrUnused, 0, true);
}

const places = new Uint16Array(PAGE_CAPACITY / 2);
const sizes = new Uint16Array(PAGE_CAPACITY / 2);
const starts = new Uint16Array(PAGE_CAPACITY / 2);

export const pageValidator: BlockValidator = {
  structure: STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, STRUCTURE, AT.blockNr, PAGE_CHECKSUM_XOR);
    const { view } = block;
    const flags = view.getUint32(AT.flags, true);
    if (flags !== PAGE_INTERNAL && flags !== PAGE_LEAF)
      corrupt(block, STRUCTURE, 'flags', flags, '1 (internal) or 2 (leaf)');
    const [nr, keySize, heapStart] = [nrPageEntries(block), pageKeySize(block), view.getUint16(AT.heapStart, true)];
    if (keySize === 0 || keySize % 4 !== 0 || keySize > MAX_KEY_SIZE)
      corrupt(block, STRUCTURE, 'keySize', keySize, `a multiple of 4 up to ${MAX_KEY_SIZE}`);
    if (flags === PAGE_INTERNAL && nr === 0)
      corrupt(block, STRUCTURE, 'nrEntries', 0, 'at least 1 in an internal node');
    if (heapStart < AT.slots + 2 * nr || heapStart > BLOCK_SIZE)
      corrupt(block, STRUCTURE, 'heapStart', heapStart, `from ${AT.slots + 2 * nr} to ${BLOCK_SIZE}`);
    let used = 0;
    for (let index = 0; index < nr; index++) {
      const at = entryOffset(block, index);
      const fixed = keySize + (flags === PAGE_LEAF ? LENGTH_SIZE : 8);
      const size = at < heapStart || at + fixed > BLOCK_SIZE ? 0 : entrySize(block, index);
      if (size === 0 || at + size > BLOCK_SIZE)
        corrupt(block, STRUCTURE, `slot ${index}`, at, 'an entry within the heap');
      used += size;
      if (index > 0 && compareKeys(view, entryOffset(block, index - 1), view, at, keySize) >= 0)
        corrupt(block, STRUCTURE, `key ${index}`, 'not above', `above key ${index - 1}`);
    }
    const nrUnused = view.getUint16(AT.nrUnused, true);
    if (used + nrUnused !== BLOCK_SIZE - heapStart)
      corrupt(block, STRUCTURE, 'nrUnused', nrUnused, BLOCK_SIZE - heapStart - used);
  },
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, PAGE_CHECKSUM_XOR),
};
