/**
 * Records too long for a node: a chain of blocks, filled one after the other.
 *
 *   offset  size   field
 *        0     4   checksum   see block/block.ts; constant 720871
 *        4     4   length     bytes of the record in this block, 1 to 4064
 *        8     8   blockNr    the block this content is meant for
 *       16     8   next       the next block of the chain; 0 for none
 *       24     8   reserved   zero
 *       32  4064   content
 *
 * A chain is written once and never changed. Its first block has as many references as there are leaf entries that name it, in
 * all states; every other block has one, from the block before. So sharing a record of any length is one count.
 *
 * Format: docs/format/store.md, section 6.
 */
import { BLOCK_SIZE } from '@pdata/device';
import {
  type BlockValidator,
  checkHomeAndChecksum,
  corrupt,
  sealHomeAndChecksum,
  setU64At,
  u64At,
} from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';

const STRUCTURE = 'overflow block';
const OVERFLOW_CHECKSUM_XOR = 720871;
const AT = { length: 4, blockNr: 8, next: 16, content: 32 } as const;
const CONTENT_SIZE = BLOCK_SIZE - AT.content;
/** Where a block names the next one. */
export const NEXT_AT = AT.next;

export const overflowValidator: BlockValidator = {
  structure: STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, STRUCTURE, AT.blockNr, OVERFLOW_CHECKSUM_XOR);
    const length = block.view.getUint32(AT.length, true);
    if (length < 1 || length > CONTENT_SIZE) corrupt(block, STRUCTURE, 'length', length, `1 to ${CONTENT_SIZE}`);
  },
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, OVERFLOW_CHECKSUM_XOR),
};

/** Blocks of a chain of `length` bytes. */
export const nrOverflowBlocks = (length: number): number => Math.ceil(length / CONTENT_SIZE);

/** Writes a chain, last block first; returns its first block, with one reference. */
export function writeChain(tm: TransactionManager, bytes: Uint8Array): number {
  let next = 0;
  for (let index = nrOverflowBlocks(bytes.length) - 1; index >= 0; index--) {
    const part = bytes.subarray(index * CONTENT_SIZE, (index + 1) * CONTENT_SIZE);
    const block = tm.newBlock(overflowValidator);
    block.view.setUint32(AT.length, part.length, true);
    setU64At(block.view, AT.next, next);
    block.bytes.set(part, AT.content);
    next = block.nr;
  }
  return next;
}

/** The `length` bytes that begin in block `head`. @throws {@link CorruptBlockError} when the chain has more or fewer */
export function readChain(tm: TransactionManager, head: number, length: number): Uint8Array {
  const most = tm.blocks.nrBlocks * CONTENT_SIZE;
  if (length > most) corrupt({ nr: head }, STRUCTURE, 'content of the chain', `${length} bytes`, `at most ${most}`);
  const bytes = new Uint8Array(length);
  let done = 0;
  for (let nr = head; nr !== 0; ) {
    const block = tm.read(nr, overflowValidator);
    const part = block.view.getUint32(AT.length, true);
    // A chain in a circle ends here, too.
    if (done + part > length)
      corrupt(block, STRUCTURE, 'length', part, `at most ${length - done}, for the record to end`);
    bytes.set(block.bytes.subarray(AT.content, AT.content + part), done);
    done += part;
    nr = u64At(block.view, AT.next);
  }
  if (done !== length) corrupt({ nr: head }, STRUCTURE, 'content of the chain', done, `${length} bytes`);
  return bytes;
}

/** Gives up one reference to a chain; the last one takes the chain with it. */
export function releaseChain(tm: TransactionManager, head: number): void {
  for (let nr = head; nr !== 0; ) {
    if (tm.spaceMap.isShared(nr)) {
      tm.dec(nr);
      return;
    }
    const next = u64At(tm.read(nr, overflowValidator).view, AT.next);
    tm.dec(nr); // a chain in a circle meets a count of 0 here
    nr = next;
  }
}
