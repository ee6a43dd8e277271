import { BLOCK_SIZE } from '@pdata/device';
import { Block } from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import { fixtureBytes, thrownBy } from '../../test/clones.js';
import {
  type CloneSuperblock,
  cloneSuperblockValidator,
  readCloneSuperblock,
  unusedBytesOf,
  writeCloneSuperblock,
} from './superblock.js';

const superblock: CloneSuperblock = {
  version: 1,
  metadataSpaceMap: { nrBlocks: 1024, nrAllocated: 7, bitmapRoot: 1, refCountRoot: 2 },
  regionSize: 8,
  targetSize: 2 ** 40 + 3,
  bitsetRoot: 4,
};

function written(into = new Uint8Array(BLOCK_SIZE)): Block {
  const block = new Block(into, 0);
  writeCloneSuperblock(block, superblock);
  return block;
}

describe('the clone superblock', () => {
  it('lies in block 0 field by field as the kernel has it, the 64-bit fields at odd multiples of 4', () => {
    const block = written();
    cloneSuperblockValidator.prepare(block);
    const hex = (from: number, to: number): string => Buffer.from(block.bytes.subarray(from, to)).toString('hex');
    expect(hex(4, 16)).toBe('00000000' + '0000000000000000'); // flags, its own number
    expect(hex(16, 32)).toBe('00'.repeat(16)); // uuid
    expect(hex(32, 44)).toBe('647ff28a00000000' + '01000000'); // magic, version
    expect(hex(44, 76)).toBe('0004000000000000' + '0700000000000000' + '0100000000000000' + '0200000000000000');
    expect(hex(76, 172)).toBe('00'.repeat(96));
    expect(hex(172, 196)).toBe('0800000000000000' + '0300000000010000' + '0400000000000000'); // sizes, bitset root
    expect(hex(196, BLOCK_SIZE)).toBe('00'.repeat(BLOCK_SIZE - 196));
  });

  it('comes back as it was written', () => {
    expect(readCloneSuperblock(written())).toEqual(superblock);
  });

  it("is a kernel's to the byte when it is written back", () => {
    const bytes = fixtureBytes().subarray(0, BLOCK_SIZE);
    const block = new Block(bytes.slice(), 0);
    cloneSuperblockValidator.check(block);
    writeCloneSuperblock(block, readCloneSuperblock(block));
    cloneSuperblockValidator.prepare(block);
    expect(Buffer.from(block.bytes).equals(bytes)).toBe(true);
    expect(unusedBytesOf(block)).toEqual([]);
  });

  it('takes nothing over from what the block held before', () => {
    expect(written(new Uint8Array(BLOCK_SIZE).fill(0xee)).bytes).toEqual(written().bytes);
  });

  it('knows its unused bytes', () => {
    const block = written();
    for (const at of [4, 16, 76, 171, 196, 4095]) block.bytes[at] = 1;
    expect(unusedBytesOf(block)).toEqual([4, 16, 76, 171, 196, 4095]);
  });

  it.each([
    { lie: 'another home', at: 8, says: 'clone superblock in block 0: blockNr is 1, expected 0' },
    { lie: 'another magic', at: 32, says: 'clone superblock in block 0: magic is 2331148133, expected 2331148132' },
    { lie: 'a flipped bit', at: 2000, says: 'clone superblock in block 0: checksum is 0x' },
  ])('is refused with $lie, by the first check that finds it', ({ at, says }) => {
    const block = written();
    cloneSuperblockValidator.prepare(block);
    cloneSuperblockValidator.check(block);
    block.bytes[at] = (block.bytes[at] as number) ^ 1;
    expect(thrownBy(() => cloneSuperblockValidator.check(block)).message).toContain(says);
  });
});
