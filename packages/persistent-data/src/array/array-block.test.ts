import { BLOCK_SIZE } from '@pdata/device';
import { expect, it } from 'vitest';
import { Block } from '../block/block.js';
import { arrayBlockValidator, arrayValueOffset, initArrayBlock, maxArrayEntriesFor } from './array-block.js';

const arrayBlock = (): Block => {
  const block = new Block(new Uint8Array(BLOCK_SIZE), 7);
  initArrayBlock(block, 8, 2);
  block.view.setUint32(arrayValueOffset(block, 1), 0xcafe, true);
  arrayBlockValidator.prepare(block);
  return block;
};

it('lays a block out as the kernel does, its own number at 16', () => {
  const { bytes } = arrayBlock();
  expect(Buffer.from(bytes.subarray(4, 40)).toString('hex')).toBe(
    'fd010000' + // room for 509
      '02000000' + // 2 used
      '08000000' + // of 8 bytes
      '0700000000000000' + // in block 7
      '0000000000000000' +
      'feca000000000000',
  );
  expect(() => arrayBlockValidator.check(arrayBlock())).not.toThrow();
});

it.each([
  [8, 509],
  [4, 1018],
  [1, 4072],
  [4072, 1],
])('has room for values of %i bytes: %i', (valueSize, nr) => {
  expect(maxArrayEntriesFor(valueSize)).toBe(nr);
});

it.each([
  { lie: 'another home', at: 16, u32: 9, says: 'blockNr is 9, expected 7' },
  { lie: 'a capacity too small', at: 4, u32: 508, says: 'maxEntries is 508, expected 509, for values of 8 bytes' },
  { lie: 'more values than fit', at: 8, u32: 510, says: 'nrEntries is 510, expected at most 509' },
  { lie: 'values of no size', at: 12, u32: 0, says: 'valueSize is 0, expected 1 to 4072' },
  { lie: 'values larger than a block', at: 12, u32: 4073, says: 'valueSize is 4073, expected 1 to 4072' },
  { lie: 'values of another size', at: 12, u32: 4, says: 'maxEntries is 509, expected 1018, for values of 4 bytes' },
])('refuses a block that claims $lie under a good checksum', ({ at, u32, says }) => {
  const lying = arrayBlock();
  lying.view.setUint32(at, u32, true);
  // The home number is sealed too: lie after that, and mend only the checksum.
  lying.view.setUint32(0, lying.checksum(595846735), true);
  expect(() => arrayBlockValidator.check(lying)).toThrow(`array block in block 7: ${says}`);
});

it('refuses a block of which a bit was flipped', () => {
  const damaged = arrayBlock();
  damaged.bytes[4000] = 1;
  expect(() => arrayBlockValidator.check(damaged)).toThrow(/array block in block 7: checksum is 0x/);
});
