/** Single blocks of a device that may be damaged, as nodes or array blocks of a bitset. */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import {
  arrayBlockValidator,
  arrayValueSize,
  type Block,
  type BlockValidator,
  CHILD_SIZE,
  isLeaf,
  maxArrayEntriesFor,
  nodeValidator,
  nrEntries,
  valueSize,
  wordType,
} from '@pdata/persistent-data';
import type { BlockReader } from '@pdata/persistent-data/maintenance';
import { corruptNode } from './damage.js';

/** Words, and regions, of a full array block: 509, and 32 576. */
export const WORDS_PER_BLOCK = maxArrayEntriesFor(wordType.size);
export const REGIONS_PER_BLOCK = WORDS_PER_BLOCK * 64;

/** Array blocks of a bitset for so many regions. */
export const nrPlacesFor = (nrRegions: number): number => Math.ceil(nrRegions / REGIONS_PER_BLOCK);

/** Words that belong to the block at `place`. */
export const wordsDue = (nrRegions: number, place: number): number =>
  Math.min(WORDS_PER_BLOCK, Math.ceil(nrRegions / 64) - place * WORDS_PER_BLOCK);

/** Valid until the next read. @throws {@link CorruptBlockError}, {@link DeviceError} */
export function readBlock(reader: BlockReader, blockNr: number, validator: BlockValidator): Block {
  if (!(blockNr > 0 && blockNr < reader.device.nrBlocks)) {
    const expected = `at least 1, and below ${reader.device.nrBlocks}, the number of blocks that the device has`;
    throw new CorruptBlockError({
      structure: validator.structure,
      blockNr,
      field: 'block number',
      found: blockNr,
      expected,
    });
  }
  const block = reader.readOne(blockNr);
  if (block instanceof DeviceError) throw block;
  validator.check(block);
  return block;
}

/** A node of an index of array blocks. */
export function readIndexNode(reader: BlockReader, blockNr: number): Block {
  const node = readBlock(reader, blockNr, nodeValidator);
  if (valueSize(node) !== CHILD_SIZE) throw corruptNode(blockNr, 'valueSize', valueSize(node), CHILD_SIZE);
  if (!isLeaf(node) && nrEntries(node) === 0) throw corruptNode(blockNr, 'nrEntries', 0, 'at least 1');
  return node;
}

/** An array block of words. */
export function readWords(reader: BlockReader, blockNr: number): Block {
  const block = readBlock(reader, blockNr, arrayBlockValidator);
  refuseOtherSize(block);
  return block;
}

function refuseOtherSize(block: Block): void {
  const size = arrayValueSize(block);
  if (size !== wordType.size) throw corruptNode(block.nr, 'valueSize', size, wordType.size);
}

/** What a failed read is for whoever goes on without the block. @throws what is neither damage nor a failing device */
export function asDamage(error: unknown, blockNr: number): CorruptBlockError {
  if (error instanceof CorruptBlockError) return error;
  if (!(error instanceof DeviceError)) throw error;
  const damage = corruptNode(blockNr, 'block', 'unreadable', 'a block');
  damage.cause = error;
  return damage;
}
