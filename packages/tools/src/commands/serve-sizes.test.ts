import { describe, expect, it } from 'vitest';
import { InvalidValue } from '../command-line/option-table.js';
import { ToolError } from '../failure/tool-error.js';
import { servedSizes, sizeOfThin, volumeSize } from './serve-sizes.js';

const MIB = 2 ** 20;
const BLOCK = 65536;

describe('a size', () => {
  it.each([
    ['512', 512],
    ['1024b', 1024],
    ['3s', 1536],
    ['64k', 65536],
    ['10G', 10 * 2 ** 30],
    ['10g', 10 * 2 ** 30],
    ['10GiB', 10 * 2 ** 30],
    ['1T', 2 ** 40],
    ['2P', 2 ** 51],
  ])('of %s is %d bytes', (text, bytes) => {
    expect(volumeSize(text)).toBe(bytes);
  });

  it.each([
    ['', 'expected a number of bytes'],
    ['G', 'expected a number'],
    ['-1', 'expected a number'],
    ['1.5G', 'expected a number'],
    ['10GB', 'expected a number'], // 10^10 or 2^30 * 10? whoever writes it should say
    ['0', 'a volume of no bytes cannot be served'],
    ['513', '513 bytes are not a whole number of sectors of 512 bytes'],
    ['9P', 'no volume is larger than 8P'],
    ['1E', 'no volume is larger than 8P'],
  ])('of "%s" is refused', (text, reason) => {
    expect(() => volumeSize(text)).toThrow(InvalidValue);
    expect(() => volumeSize(text)).toThrow(reason);
  });

  it('of one volume is told with its thin id', () => {
    expect(sizeOfThin('7=10G')).toEqual({ thinId: 7, size: 10 * 2 ** 30 });
    for (const text of ['10G', '=10G', 'x=1', '7=', '7', '123456789=512']) {
      expect(() => sizeOfThin(text), text).toThrow(InvalidValue);
    }
  });
});

describe('volumes are served', () => {
  const thins = [
    { thinId: 0, mappedBlocks: 3, highestMapped: 508 },
    { thinId: 1, mappedBlocks: 1, highestMapped: 63 },
    { thinId: 2, mappedBlocks: 0, highestMapped: undefined },
  ];
  const sizes = (given: Partial<Parameters<typeof servedSizes>[2]>): number[] =>
    servedSizes(thins, BLOCK, { each: [], others: undefined, ...given }).map(({ size }) => size);

  it('as far as they are mapped, in whole extents of 4 MiB, and never without any size', () => {
    expect(sizes({})).toEqual([32 * MIB, 4 * MIB, 4 * MIB]);
  });

  it('with the size given for each, or for the others', () => {
    expect(sizes({ others: 100 * MIB })).toEqual([100 * MIB, 100 * MIB, 100 * MIB]);
    expect(sizes({ each: [{ thinId: 1, size: 512 }] })).toEqual([32 * MIB, 512, 4 * MIB]);
    expect(sizes({ each: [{ thinId: 1, size: 512 }], others: MIB })).toEqual([MIB, 512, MIB]);
  });

  it('and told when whole blocks of data lie behind the end', () => {
    const cutOff = (others: number) => servedSizes(thins, BLOCK, { each: [], others }).map(({ isCutOff }) => isCutOff);
    expect(cutOff(64 * BLOCK)).toEqual([true, false, false]);
    expect(cutOff(63 * BLOCK)).toEqual([true, true, false]);
    expect(cutOff(63 * BLOCK + 512)).toEqual([true, false, false]); // a volume that ends inside a block
    expect(cutOff(509 * BLOCK)).toEqual([false, false, false]);
  });

  it('not with a size for a volume that is not there, nor with two for one', () => {
    const refused = (each: { thinId: number; size: number }[]): unknown => {
      try {
        return sizes({ each });
      } catch (error) {
        return error;
      }
    };
    expect(refused([{ thinId: 9, size: 512 }])).toMatchObject({
      code: 'ERR_OPTION',
      message: 'there is no volume 9 in this pool to have a size',
      nextStep: 'give --size for those there are: 0, 1, 2',
    });
    const twice = [
      { thinId: 1, size: 512 },
      { thinId: 1, size: 1024 },
    ];
    expect(refused(twice)).toBeInstanceOf(ToolError);
    expect(refused(twice)).toMatchObject({ message: 'volume 1 is given two sizes' });
  });
});
