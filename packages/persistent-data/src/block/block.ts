/**
 * One 4096-byte metadata block in memory: its bytes, a view made once, and what every structure in it has in common.
 *
 *   offset  size   field
 *        0     4   checksum   CRC-32C of bytes 4..4095 without its final inversion, xor a constant of the structure
 *        …     8   blockNr    the block this content is meant for; at 8, in an array block at 16
 *
 * Both are filled in only when the block is about to be written (`prepare`), and verified once, when it has been read
 * (`check`); in between they may be stale. All integers are little-endian.
 *
 * Numbers: a 64-bit field is two 32-bit halves and becomes a `number`, exact up to 2^53 - 1. What is above loses digits but
 * stays above, so that every bound check still refuses it.
 *
 * Format: docs/format/conventions.md.
 */

import { BLOCK_SIZE, CorruptBlockError } from '@pdata/device';
import { crc32c } from '#crc32c';

/** What a block is read as or written as. One object per structure; blocks remember theirs by identity. */
export interface BlockValidator {
  /** In the words of docs/format: "btree node", "bitmap"… */
  readonly structure: string;
  /** Throws a `CorruptBlockError` unless `block` can be trusted by the accessors of its structure. */
  check(block: Block): void;
  /** Stores block number and checksum; called just before the block goes to the device. */
  prepare(block: Block): void;
}

export class Block {
  /** Where the block lies on the device, in blocks of 4096 bytes. Frames are reused: a frame's number may change. */
  nr: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Bytes 4..4095: what the checksum covers. */
  readonly #covered: Uint8Array;

  // The block manager's own bookkeeping.
  /** @internal */ dirty = false;
  /** @internal Index among the manager's frames. */ frame = 0;

  /** A block over `bytes` (exactly 4096 of them, not copied). */
  constructor(bytes: Uint8Array, nr: number) {
    if (bytes.length !== BLOCK_SIZE) throw new RangeError(`a block has ${BLOCK_SIZE} bytes, not ${bytes.length}`);
    this.nr = nr;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, BLOCK_SIZE);
    this.#covered = bytes.subarray(4);
  }

  /** What bytes 0..3 have to be, for the structure whose constant is `xor`. */
  checksum(xor: number): number {
    return (~crc32c(this.#covered) ^ xor) >>> 0;
  }
}

/** A u64 as a number: exact up to 2^53 - 1, rounded above. */
export const u64At = (view: DataView, at: number): number =>
  view.getUint32(at + 4, true) * 0x100000000 + view.getUint32(at, true);

export function setU64At(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true);
}

export function corrupt(
  block: { readonly nr: number },
  structure: string,
  field: string,
  found: number | bigint | string,
  expected: number | bigint | string,
): never {
  throw new CorruptBlockError({ structure, blockNr: block.nr, field, found, expected });
}

/** Home number first, then checksum, as the kernel does: a misdirected write is told apart from damaged bytes. */
export function checkHomeAndChecksum(block: Block, structure: string, homeAt: number, xor: number): void {
  const home = u64At(block.view, homeAt);
  if (home !== block.nr) corrupt(block, structure, 'blockNr', home, block.nr);
  checkChecksum(block, structure, xor);
}

export function checkChecksum(block: Block, structure: string, xor: number): void {
  const stored = block.view.getUint32(0, true);
  const computed = block.checksum(xor);
  if (stored !== computed) corrupt(block, structure, 'checksum', hex(stored), hex(computed));
}

export function sealHomeAndChecksum(block: Block, homeAt: number, xor: number): void {
  setU64At(block.view, homeAt, block.nr);
  block.view.setUint32(0, block.checksum(xor), true);
}

const hex = (word: number): string => `0x${word.toString(16).padStart(8, '0')}`;
