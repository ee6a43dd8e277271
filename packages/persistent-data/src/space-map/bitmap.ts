/**
 * A bitmap block: two bits for each of 16 320 blocks ((4096 - 16) bytes x 4).
 *
 *   offset  size   field
 *        0     4   checksum   constant 240779
 *        4     4   unused, 0
 *        8     8   blockNr
 *       16  4080   entries    entry e is bits 2(e mod 4) and 2(e mod 4) + 1 of byte 16 + floor(e / 4)
 *
 * The lower-numbered bit of a pair is the HIGH bit of the count: raw 0b01 is a count of 2, raw 0b10 a count of 1. The pair
 * 3 means "three or more, look in the reference-count tree".
 *
 * Format: docs/format/space-maps.md, section 1.3.
 */
import { type Block, type BlockValidator, checkHomeAndChecksum, sealHomeAndChecksum } from '../block/block.js';

export const ENTRIES_PER_BITMAP = 16320;
/** The pair that sends the reader to the reference-count tree. */
export const MANY = 3;
export const BITMAP_CHECKSUM_XOR = 240779;
const STRUCTURE = 'bitmap';
/** Byte offset of entry 0. */
export const ENTRIES_AT = 16;
const HOME_AT = 8;

/** The count 0, 1 or 2 of `entry`, or {@link MANY}. */
export function bitmapEntry({ bytes }: Block, entry: number): number {
  const raw = ((bytes[ENTRIES_AT + (entry >>> 2)] as number) >>> ((entry & 3) << 1)) & 3;
  return ((raw & 1) << 1) | (raw >>> 1);
}

export function setBitmapEntry({ bytes }: Block, entry: number, value: number): void {
  const at = ENTRIES_AT + (entry >>> 2);
  const shift = (entry & 3) << 1;
  const raw = ((value & 1) << 1) | (value >>> 1);
  bytes[at] = ((bytes[at] as number) & ~(3 << shift)) | (raw << shift);
}

/** The first entry in from..to (exclusive) whose pair is 0, or -1. */
export function findFreeEntry(block: Block, from: number, to: number): number {
  const { view } = block;
  let entry = from;
  while (entry < to) {
    if ((entry & 15) === 0) {
      // Sixteen pairs a step: a pair is in use when either of its bits is set.
      const word = view.getUint32(ENTRIES_AT + (entry >>> 2), true);
      if (((word | (word >>> 1)) & 0x55555555) === 0x55555555) {
        entry += 16;
        continue;
      }
    }
    if (bitmapEntry(block, entry) === 0) return entry;
    entry++;
  }
  return -1;
}

export const bitmapValidator: BlockValidator = {
  structure: STRUCTURE,
  check: (block) => checkHomeAndChecksum(block, STRUCTURE, HOME_AT, BITMAP_CHECKSUM_XOR),
  prepare: (block) => sealHomeAndChecksum(block, HOME_AT, BITMAP_CHECKSUM_XOR),
};

/** Bitmaps needed for `nrBlocks` blocks. */
export const nrBitmapsFor = (nrBlocks: number): number => Math.ceil(nrBlocks / ENTRIES_PER_BITMAP);
