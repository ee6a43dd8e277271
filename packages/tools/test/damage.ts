/** Makes the faults that thin_check tells apart, with checksums made right again. */
import { BLOCK_SIZE } from '@pdata/device';
import {
  Block,
  type BlockValidator,
  bitmapEntry,
  bitmapValidator,
  indexBlockValidator,
  indexEntryOffset,
  nodeValidator,
  readIndexEntry,
  type SpaceMapRoot,
  valueOffset,
  writeIndexEntry,
} from '@pdata/persistent-data';
import { readThinSuperblock, type ThinSuperblock, thinSuperblockValidator, writeThinSuperblock } from '@pdata/thin';

/** Block `nr` of an image, sharing its bytes. */
export const blockOf = (image: Uint8Array, nr: number): Block =>
  new Block(image.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE), nr);

export function editSuperblock(image: Uint8Array, edit: (superblock: ThinSuperblock) => void, nr = 0): void {
  const block = blockOf(image, nr);
  const superblock = readThinSuperblock(block);
  edit(superblock);
  writeThinSuperblock(block, superblock);
  thinSuperblockValidator.prepare(block);
}

/** Counts a free block as used once, with everything that depends on it. @returns the block */
export function leak(image: Uint8Array, kind: 'data' | 'metadata'): number {
  const map = kind === 'data' ? 'dataSpaceMap' : 'metadataSpaceMap';
  let leaked = -1;
  editSuperblock(image, (superblock) => {
    const root: SpaceMapRoot = superblock[map];
    const index = blockOf(image, root.bitmapRoot);
    const [at, validator]: [number, BlockValidator] =
      kind === 'data' ? [valueOffset(index, 0), nodeValidator] : [indexEntryOffset(0), indexBlockValidator];
    const entry = readIndexEntry(index.view, at);
    const bitmap = blockOf(image, entry.blockNr);
    leaked = root.nrBlocks - 1;
    while (bitmapEntry(bitmap, leaked) !== 0) leaked--;
    bitmap.bytes[16 + (leaked >> 2)]! |= 2 << ((leaked & 3) * 2); // raw 2 is a count of 1
    bitmapValidator.prepare(bitmap);
    writeIndexEntry(index.view, at, { ...entry, nrFree: entry.nrFree - 1 });
    validator.prepare(index);
    superblock[map] = { ...root, nrAllocated: root.nrAllocated + 1 };
  });
  return leaked;
}

/** Forgets that a data block is in use: the worst of faults, as the kernel would hand it out again. */
export function forgetDataBlock(image: Uint8Array, dataBlock: number): void {
  const index = blockOf(image, readThinSuperblock(blockOf(image, 0)).dataSpaceMap.bitmapRoot);
  const bitmap = blockOf(image, readIndexEntry(index.view, valueOffset(index, 0)).blockNr);
  bitmap.bytes[16 + (dataBlock >> 2)]! &= ~(3 << ((dataBlock & 3) * 2));
  bitmapValidator.prepare(bitmap);
}

export const setNeedsCheck = (image: Uint8Array): void =>
  editSuperblock(image, (superblock) => {
    superblock.flags |= 1;
  });

/** Changes one bit, and leaves the checksum as it was. */
export function flipBit(image: Uint8Array, blockNr: number, at = 100): void {
  image[blockNr * BLOCK_SIZE + at]! ^= 1;
}
