/**
 * The core's structures as tables for the fuzzer. A target adds its superblock, in a file of its own (thin-fuzz.ts).
 *
 * Offsets: docs/format/btree.md, section 1; space-maps.md, section 1; array-and-bitset.md.
 */
import { CorruptBlockError } from '@pdata/device';
import {
  arrayBlockValidator,
  Block,
  type BlockValidator,
  bitmapValidator,
  checkHomeAndChecksum,
  ENTRIES_PER_INDEX_BLOCK,
  INDEX_ENTRY_SIZE,
  indexBlockValidator,
  nodeValidator,
  sealHomeAndChecksum,
} from '@pdata/persistent-data';
import type { FormatField, FormatStructure } from '@pdata/testing';

export const u32 = (at: number) => (block: DataView) => block.getUint32(at, true);
const NR_ENTRIES = u32(16);
const MAX_ENTRIES = u32(20);
const VALUE_SIZE = u32(24);
const valuesAt = (block: DataView): number => 32 + 8 * MAX_ENTRIES(block);

const btreeNode: FormatStructure = {
  name: 'btree node',
  ...sealedBy(nodeValidator),
  fields: [
    { name: 'flags', kind: 'flags', size: 4, at: 4 },
    { name: 'nrEntries', kind: 'count', size: 4, at: 16 },
    { name: 'maxEntries', kind: 'count', size: 4, at: 20 },
    { name: 'valueSize', kind: 'size', size: 4, at: 24 },
    { name: 'padding', kind: 'number', size: 4, at: 28 },
    { name: 'key', kind: 'key', size: 8, at: 32, count: NR_ENTRIES },
    // A child, a root of a lower level, a data block and its time, the first half of a record.
    { name: 'value', kind: 'pointer', size: 8, at: valuesAt, count: NR_ENTRIES, stride: VALUE_SIZE },
    {
      name: 'half of a value',
      kind: 'number',
      size: 4,
      at: valuesAt,
      count: (block) => NR_ENTRIES(block) * (VALUE_SIZE(block) / 4),
    },
    // Not in use: nobody may look at it.
    { name: 'stale key', kind: 'key', size: 8, at: (block) => 32 + 8 * NR_ENTRIES(block) },
  ],
};

const bitmap: FormatStructure = {
  name: 'bitmap',
  ...sealedBy(bitmapValidator),
  fields: [
    { name: 'unused', kind: 'number', size: 4, at: 4 },
    { name: 'counts', kind: 'number', size: 1, at: 16, count: () => 64 },
    { name: 'later counts', kind: 'number', size: 4, at: 80, count: () => 1004 },
  ],
};

const indexEntry = (at: number, count: (block: DataView) => number): FormatField[] => {
  return [
    { name: 'bitmap of the entry', kind: 'pointer', size: 8, at, count, stride: INDEX_ENTRY_SIZE },
    { name: 'nrFree', kind: 'count', size: 4, at: at + 8, count, stride: INDEX_ENTRY_SIZE },
    { name: 'noneFreeBefore', kind: 'count', size: 4, at: at + 12, count, stride: INDEX_ENTRY_SIZE },
  ];
};

const metadataIndex: FormatStructure = {
  name: 'metadata index',
  ...sealedBy(indexBlockValidator),
  fields: [...indexEntry(16, () => 2), ...indexEntry(16, () => ENTRIES_PER_INDEX_BLOCK)],
};

const arrayBlock: FormatStructure = {
  name: 'array block',
  ...sealedBy(arrayBlockValidator),
  fields: [
    { name: 'maxEntries', kind: 'count', size: 4, at: 4 },
    { name: 'nrEntries', kind: 'count', size: 4, at: 8 },
    { name: 'valueSize', kind: 'size', size: 4, at: 12 },
    { name: 'value', kind: 'number', size: 8, at: 24, count: u32(8) },
  ],
};

export const spaceMapRoot = (name: string, at: number): FormatField[] => [
  { name: `nrBlocks of the ${name} space map`, kind: 'count', size: 8, at },
  { name: `nrAllocated of the ${name} space map`, kind: 'count', size: 8, at: at + 8 },
  { name: `bitmap root of the ${name} space map`, kind: 'pointer', size: 8, at: at + 16 },
  { name: `reference-count root of the ${name} space map`, kind: 'pointer', size: 8, at: at + 24 },
];

/** What every target is made of; each adds its superblock. */
export const CORE_STRUCTURES: readonly FormatStructure[] = [btreeNode, bitmap, metadataIndex, arrayBlock];

/** For blocks whose validator is not exported: the same, from the constant of their checksum. Their home is at byte 8. */
export function sealedWith(structure: string, xor: number): Pick<FormatStructure, 'matches' | 'seal'> {
  return sealedBy({
    structure,
    check: (block) => checkHomeAndChecksum(block, structure, 8, xor),
    prepare: (block) => sealHomeAndChecksum(block, 8, xor),
  });
}

/** A structure is recognized, and its checksum made right, by the code that reads and writes it. */
export function sealedBy(validator: BlockValidator): Pick<FormatStructure, 'matches' | 'seal'> {
  return {
    matches(bytes, blockNr) {
      try {
        validator.check(new Block(bytes, blockNr));
        return true;
      } catch (error) {
        if (error instanceof CorruptBlockError) return false;
        throw error;
      }
    },
    seal: (bytes, blockNr) => validator.prepare(new Block(bytes, blockNr)),
  };
}
