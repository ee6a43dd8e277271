/**
 * What a space map knows of each of its bitmaps, 16 bytes, and the index block that holds 255 of them for the metadata kind.
 *
 *   index entry: offset  size   field
 *                     0     8   blockNr          the bitmap block
 *                     8     4   nrFree           entries of this bitmap that are 0, counted over all 16 320
 *                    12     4   noneFreeBefore   hint: no entry below this one is 0
 *
 *   index block: offset  size   field
 *                     0     4   checksum         constant 160478
 *                     4     4   padding, 0
 *                     8     8   blockNr
 *                    16  4080   255 index entries; unused ones zero
 *
 * Foreign tools have written both hints wrong (docs/format/space-maps.md, section 8): they steer a search, and are never
 * believed where a count is decided.
 *
 * Format: docs/format/space-maps.md, section 1.2.
 */
import {
  type Block,
  type BlockValidator,
  checkHomeAndChecksum,
  sealHomeAndChecksum,
  setU64At,
  u64At,
} from '../block/block.js';

export const INDEX_ENTRY_SIZE = 16;
/** (4096 - 16) / 16: so a metadata device ends at 255 x 16 320 = 4 161 600 blocks, 15.9 GiB. */
export const ENTRIES_PER_INDEX_BLOCK = 255;
export const INDEX_CHECKSUM_XOR = 160478;
const STRUCTURE = 'metadata index';
const HOME_AT = 8;

/** Mutable: a space map keeps decoded entries in memory and writes them back. */
export interface IndexEntry {
  blockNr: number;
  nrFree: number;
  noneFreeBefore: number;
}

export const readIndexEntry = (view: DataView, at: number): IndexEntry => ({
  blockNr: u64At(view, at),
  nrFree: view.getUint32(at + 8, true),
  noneFreeBefore: view.getUint32(at + 12, true),
});

export function writeIndexEntry(view: DataView, at: number, entry: IndexEntry): void {
  setU64At(view, at, entry.blockNr);
  view.setUint32(at + 8, entry.nrFree, true);
  view.setUint32(at + 12, entry.noneFreeBefore, true);
}

/** Byte offset of entry `index` in an index block. */
export const indexEntryOffset = (index: number): number => 16 + INDEX_ENTRY_SIZE * index;

export const indexBlockValidator: BlockValidator = {
  structure: STRUCTURE,
  check: (block: Block) => checkHomeAndChecksum(block, STRUCTURE, HOME_AT, INDEX_CHECKSUM_XOR),
  prepare: (block: Block) => sealHomeAndChecksum(block, HOME_AT, INDEX_CHECKSUM_XOR),
};
