/**
 * The embedded store's own structures as tables for the fuzzer. What its trees of numbers, arrays, bitsets and space maps are made of is in
 * format-tables.ts. Offsets: docs/format/store.md, sections 2 to 7.
 */
import type { FormatField, FormatStructure } from '@pdata/testing';
import { sealedWith, spaceMapRoot, u32 } from './format-tables.js';

const storeSuperblock: FormatStructure = {
  name: 'store superblock',
  ...sealedWith('store superblock', 20261128),
  fields: [
    { name: 'reserved', kind: 'number', size: 4, at: 4 },
    { name: 'magic', kind: 'number', size: 8, at: 16 },
    { name: 'format version', kind: 'number', size: 4, at: 24 },
    { name: 'length of the directory', kind: 'size', size: 4, at: 28 },
    { name: 'commit number', kind: 'number', size: 8, at: 32 },
    { name: 'time', kind: 'number', size: 8, at: 40 },
    { name: 'state', kind: 'pointer', size: 8, at: 48 },
    { name: 'catalogue root', kind: 'pointer', size: 8, at: 56 },
    ...spaceMapRoot('metadata', 64),
    { name: 'history root', kind: 'pointer', size: 8, at: 192 },
    { name: 'root of the maps', kind: 'pointer', size: 8, at: 200 },
    { name: 'directory', kind: 'pointer', size: 8, at: 208 },
    { name: 'length of the history', kind: 'count', size: 8, at: 216 },
  ],
};

const stateTable: FormatStructure = {
  name: 'state table',
  ...sealedWith('state table', 411557),
  fields: [
    { name: 'nrEntries', kind: 'count', size: 4, at: 4 },
    { name: 'collection id', kind: 'key', size: 4, at: 32, count: u32(4), stride: 32 },
    { name: 'root of a collection', kind: 'pointer', size: 8, at: 40, count: u32(4), stride: 32 },
    { name: 'length of a collection', kind: 'count', size: 8, at: 48, count: u32(4), stride: 32 },
  ],
};

const LEAF = 2;
const IN_CHAIN = 0xffff;

/** Where the entries of a page node begin, each with its key. */
function entries(block: DataView): number[] {
  const nr = Math.min(block.getUint16(16, true), (block.byteLength - 32) / 2);
  return Array.from({ length: nr }, (_, index) => block.getUint16(32 + 2 * index, true));
}

/** Behind the keys of those entries for which `which` holds. */
function behindKeys(offset: number, which: (isLeaf: boolean, isInChain: boolean) => boolean) {
  return (block: DataView): number[] => {
    const isLeaf = block.getUint32(4, true) === LEAF;
    return entries(block)
      .map((at) => at + block.getUint16(18, true))
      .filter((at) => at + 2 <= block.byteLength && which(isLeaf, isLeaf && block.getUint16(at, true) === IN_CHAIN))
      .map((at) => at + offset);
  };
}

const ofEntries: FormatField[] = [
  { name: 'key', kind: 'key', size: 4, at: entries },
  { name: 'child', kind: 'pointer', size: 8, at: behindKeys(0, (isLeaf) => !isLeaf) },
  { name: 'length of a value', kind: 'size', size: 2, at: behindKeys(0, (isLeaf) => isLeaf) },
  { name: 'length in a chain', kind: 'size', size: 4, at: behindKeys(2, (_, isInChain) => isInChain) },
  { name: 'first block of a chain', kind: 'pointer', size: 8, at: behindKeys(6, (_, isInChain) => isInChain) },
  // In the catalogue the table of a state; in others the beginning of a record.
  { name: 'value', kind: 'pointer', size: 8, at: behindKeys(2, (isLeaf, isInChain) => isLeaf && !isInChain) },
  { name: 'byte of a value', kind: 'number', size: 1, at: behindKeys(2, (isLeaf, isInChain) => isLeaf && !isInChain) },
  { name: 'later byte of a value', kind: 'number', size: 1, at: behindKeys(10, (isLeaf, isIn) => isLeaf && !isIn) },
];

const pageNode: FormatStructure = {
  name: 'page node',
  ...sealedWith('page node', 530713),
  fields: [
    { name: 'flags', kind: 'flags', size: 4, at: 4 },
    { name: 'nrEntries', kind: 'count', size: 2, at: 16 },
    { name: 'key size', kind: 'size', size: 2, at: 18 },
    { name: 'heap start', kind: 'size', size: 2, at: 20 },
    { name: 'nrUnused', kind: 'count', size: 2, at: 22 },
    { name: 'slot', kind: 'size', size: 2, at: 32, count: (block) => block.getUint16(16, true) },
    ...ofEntries,
  ],
};

const overflowBlock: FormatStructure = {
  name: 'overflow block',
  ...sealedWith('overflow block', 720871),
  fields: [
    { name: 'length', kind: 'size', size: 4, at: 4 },
    { name: 'next', kind: 'pointer', size: 8, at: 16 },
    // Of the directory, or of a record: msgpack.
    { name: 'byte of the content', kind: 'number', size: 1, at: 32, count: u32(4) },
    { name: 'one of the first bytes', kind: 'number', size: 1, at: 32, count: () => 64 },
  ],
};

export const STORE_STRUCTURES: readonly FormatStructure[] = [storeSuperblock, stateTable, pageNode, overflowBlock];
