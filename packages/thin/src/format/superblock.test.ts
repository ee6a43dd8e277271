import { BLOCK_SIZE } from '@pdata/device';
import { Block } from '@pdata/persistent-data';
import { expect, it } from 'vitest';
import { thrownBy } from '../../test/pool.js';
import { readThinSuperblock, type ThinSuperblock, thinSuperblockValidator, writeThinSuperblock } from './superblock.js';

const superblock: ThinSuperblock = {
  flags: 0x8000_0081,
  uuid: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  version: 2,
  time: 7,
  transactionId: 2n ** 64n - 1n,
  heldRoot: 86,
  dataSpaceMap: { nrBlocks: 2 ** 40, nrAllocated: 704, bitmapRoot: 11, refCountRoot: 12 },
  metadataSpaceMap: { nrBlocks: 2048, nrAllocated: 21, bitmapRoot: 13, refCountRoot: 14 },
  mappingRoot: 15,
  detailsRoot: 16,
  dataBlockSize: 128,
  metadataBlockSize: 8,
  metadataNrBlocks: 2048,
  compatFlags: 1,
  compatRoFlags: 2,
  incompatFlags: 3,
};

function written(into = new Uint8Array(BLOCK_SIZE)): Block {
  const block = new Block(into, 0);
  writeThinSuperblock(block, superblock);
  return block;
}

it('lies in block 0 field by field as the kernel has it', () => {
  const block = written();
  thinSuperblockValidator.prepare(block);
  const hex = (from: number, to: number): string => Buffer.from(block.bytes.subarray(from, to)).toString('hex');
  expect(hex(4, 16)).toBe('81000080' + '0000000000000000'); // flags, its own number
  expect(hex(16, 32)).toBe('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf');
  expect(hex(32, 48)).toBe('ba529c0100000000' + '02000000' + '07000000'); // magic 27022010, version, time
  expect(hex(48, 64)).toBe('ffffffffffffffff' + '5600000000000000'); // transaction id, held root
  expect(hex(64, 96)).toBe('0000000000010000' + 'c002000000000000' + '0b00000000000000' + '0c00000000000000');
  expect(hex(96, 192)).toBe('00'.repeat(96));
  expect(hex(192, 224)).toBe('0008000000000000' + '1500000000000000' + '0d00000000000000' + '0e00000000000000');
  expect(hex(320, 364)).toBe(
    '0f00000000000000' +
      '1000000000000000' +
      '80000000' +
      '08000000' +
      '0008000000000000' + // roots, sizes
      '01000000' +
      '02000000' +
      '03000000', // compat, compat_ro, incompat flags
  );
  expect(hex(364, BLOCK_SIZE)).toBe('00'.repeat(BLOCK_SIZE - 364));
});

it('comes back as it was written', () => {
  expect(readThinSuperblock(written())).toEqual(superblock);
});

it('leaves bytes behind its fields alone, and zeroes what is left of its space-map roots', () => {
  const { bytes } = written(new Uint8Array(BLOCK_SIZE).fill(0xee));
  expect(new Set(bytes.subarray(364))).toEqual(new Set([0xee]));
  expect(new Set([...bytes.subarray(96, 192), ...bytes.subarray(224, 320)])).toEqual(new Set([0]));
});

it.each([
  { lie: 'another home', at: 8, says: 'thin superblock in block 0: blockNr is 1, expected 0' },
  { lie: 'another magic', at: 32, says: 'thin superblock in block 0: magic is 27022011, expected 27022010' },
  { lie: 'a flipped bit', at: 2000, says: 'thin superblock in block 0: checksum is 0x' },
])('is refused with $lie, by the first check that finds it', ({ at, says }) => {
  const block = written();
  thinSuperblockValidator.prepare(block);
  thinSuperblockValidator.check(block);
  block.bytes[at] = (block.bytes[at] as number) ^ 1;
  expect(thrownBy(() => thinSuperblockValidator.check(block)).message).toContain(says);
});

it('is given the number of whatever block it is written to, as a metadata snapshot needs', () => {
  const block = new Block(written().bytes, 86);
  thinSuperblockValidator.prepare(block);
  expect(block.view.getUint32(8, true)).toBe(86);
  thinSuperblockValidator.check(block);
});
