/**
 * An array block: values of one size, packed, without keys. All integers are little-endian.
 *
 *   offset  size   field        meaning
 *        0     4   checksum     see block/block.ts; constant 595846735
 *        4     4   maxEntries   floor((4096 - 24) / valueSize), exactly
 *        8     4   nrEntries    values in use
 *       12     4   valueSize    bytes per value; not 0
 *       16     8   blockNr      the block this content is meant for: at 16, where every other structure has it at 8
 *       24   v max values       packed; what lies past nrEntries is zero at first, stale later
 *
 * 509 values of 8 bytes fill a block to the last byte (24 + 4072); of 4 bytes there are 1018.
 *
 * The validator knows a block by itself. That its value size is that of the array it was found in, array.ts asks.
 *
 * Format: docs/format/array-and-bitset.md, section 1.
 */
import { BLOCK_SIZE } from '@pdata/device';
import { type Block, type BlockValidator, checkHomeAndChecksum, corrupt, sealHomeAndChecksum } from '../block/block.js';

export const ARRAY_BLOCK_CHECKSUM_XOR = 595846735;
/** Byte offset of the first value. */
export const ARRAY_VALUES_AT = 24;
/** No value is larger: one of this size fills a block. */
export const MAX_ARRAY_VALUE_SIZE = BLOCK_SIZE - ARRAY_VALUES_AT;
export const ARRAY_STRUCTURE = 'array block';
const AT = { maxEntries: 4, nrEntries: 8, valueSize: 12, blockNr: 16 } as const;

/** Values of `valueSize` bytes in a block. */
export const maxArrayEntriesFor = (valueSize: number): number => Math.floor(MAX_ARRAY_VALUE_SIZE / valueSize);

export const nrArrayEntries = (block: Block): number => block.view.getUint32(AT.nrEntries, true);
export const setNrArrayEntries = (block: Block, nr: number): void => block.view.setUint32(AT.nrEntries, nr, true);
export const arrayValueSize = (block: Block): number => block.view.getUint32(AT.valueSize, true);
/** Byte offset of value `entry`, for a value type to decode where it lies. */
export const arrayValueOffset = (block: Block, entry: number): number =>
  ARRAY_VALUES_AT + entry * arrayValueSize(block);

/** Makes an array block of `nr` values, not yet written, of a block full of zeros. */
export function initArrayBlock(block: Block, valueSize: number, nr: number): void {
  const { view } = block;
  view.setUint32(AT.maxEntries, maxArrayEntriesFor(valueSize), true);
  view.setUint32(AT.nrEntries, nr, true);
  view.setUint32(AT.valueSize, valueSize, true);
}

export const arrayBlockValidator: BlockValidator = {
  structure: ARRAY_STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, ARRAY_STRUCTURE, AT.blockNr, ARRAY_BLOCK_CHECKSUM_XOR);
    const size = arrayValueSize(block);
    if (size === 0 || size > MAX_ARRAY_VALUE_SIZE)
      corrupt(block, ARRAY_STRUCTURE, 'valueSize', size, `1 to ${MAX_ARRAY_VALUE_SIZE}`);
    const max = block.view.getUint32(AT.maxEntries, true);
    if (max !== maxArrayEntriesFor(size))
      corrupt(block, ARRAY_STRUCTURE, 'maxEntries', max, `${maxArrayEntriesFor(size)}, for values of ${size} bytes`);
    const nr = nrArrayEntries(block);
    if (nr > max) corrupt(block, ARRAY_STRUCTURE, 'nrEntries', nr, `at most ${max}`);
  },
  prepare(block) {
    sealHomeAndChecksum(block, AT.blockNr, ARRAY_BLOCK_CHECKSUM_XOR);
  },
};
