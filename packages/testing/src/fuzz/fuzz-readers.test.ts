/** The fuzzer judged by a list on disk: blocks that name the next one. Readers with the mistakes that readers make. */
import { BLOCK_SIZE, CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import type { FormatStructure } from './format-structure.js';
import { type FuzzReader, fuzzReaders } from './fuzz-readers.js';
import { mutatedImages } from './mutate-image.js';

/** The sum of all bytes behind it: checksum at 0, next block at 8, values counted at 16, the values from 20 on. */
const list: FormatStructure = {
  name: 'list block',
  matches: (block) =>
    checksum(block) === new DataView(block.buffer, block.byteOffset).getUint32(0, true) && block[4] === 7,
  fields: [
    { name: 'next', kind: 'pointer', size: 8, at: 8 },
    { name: 'nrValues', kind: 'count', size: 4, at: 16 },
    { name: 'value', kind: 'number', size: 4, at: 20, count: (block) => block.getUint32(16, true) },
  ],
  seal: (block) => new DataView(block.buffer, block.byteOffset).setUint32(0, checksum(block), true),
};

function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let at = 4; at < BLOCK_SIZE; at++) sum += (block[at] as number) * at;
  return sum >>> 0;
}

/** Blocks 0, 1, 2, each naming the next; 3 is nothing. */
function image(): Uint8Array {
  const bytes = new Uint8Array(4 * BLOCK_SIZE);
  for (let nr = 0; nr < 3; nr++) {
    const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    const view = new DataView(block.buffer, block.byteOffset);
    view.setUint32(4, 7, true);
    view.setBigUint64(8, BigInt(nr === 2 ? 0 : nr + 1), true);
    view.setUint32(16, 5, true);
    list.seal(block, nr);
  }
  return bytes;
}

function refuse(blockNr: number): never {
  throw new CorruptBlockError({
    structure: 'list block',
    blockNr,
    field: 'next',
    found: 'nonsense',
    expected: 'a block',
  });
}

function sum(device: MetadataDevice, { bounded, checked }: { bounded: boolean; checked: boolean }): number {
  const block = new Uint8Array(BLOCK_SIZE);
  const view = new DataView(block.buffer);
  let total = 0;
  let nr = 0;
  let nrSteps = 0;
  do {
    if (checked && nr >= device.nrBlocks) refuse(nr);
    if (bounded && nrSteps++ > device.nrBlocks) refuse(nr);
    device.read(nr, block);
    const nrValues = view.getUint32(16, true);
    if (checked && nrValues > 1000) refuse(nr);
    for (let i = 0; i < nrValues; i++) total += view.getUint32(20 + 4 * i, true);
    nr = Number(view.getBigUint64(8, true));
  } while (nr !== 0);
  return total;
}

const reader = (name: string, how: { bounded: boolean; checked: boolean }): FuzzReader => ({
  name,
  run: (device) => {
    sum(device, how);
  },
});

it('lets a good reader do its work or refuse, and leaves the image as it was', async () => {
  const bytes = image();
  const readers = [reader('good', { bounded: true, checked: true })];
  const report = await fuzzReaders({ image: bytes, structures: [list], seed: 1, images: 500, readers });
  expect(report.failures).toEqual([]);
  expect(report.outcomes.good?.done).toBeGreaterThan(100);
  expect(report.outcomes.good?.refused).toBeGreaterThan(100);
  expect(bytes).toEqual(image());
});

it.each([
  ['does not look at what it is told', { bounded: true, checked: false }, /RangeError/],
  ['walks in circles', { bounded: false, checked: true }, /BudgetError: it reads on and on/],
])('finds a reader that %s', async (_, how, says) => {
  const readers = [reader('bad', how)];
  const { failures } = await fuzzReaders({ image: image(), structures: [list], seed: 1, images: 500, readers });
  expect(failures.join('\n')).toMatch(says);
  expect(failures[0]).toMatch(/^bad, image \d+ of seed 1: (next|nrValues|value|block)/);
});

it('changes nothing but fields, each under a checksum that is right, the same from the same seed', () => {
  const describe = (seed: number): string[] => {
    const bytes = image();
    const descriptions: string[] = [];
    for (const mutated of mutatedImages({ image: bytes, structures: [list], seed, changes: 1 })) {
      for (let nr = 0; nr < 3; nr++)
        expect(list.matches(bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE), nr)).toBe(true);
      descriptions.push(mutated.description);
      if (descriptions.length === 50) break;
    }
    return descriptions;
  };
  expect(describe(3)).toEqual(describe(3));
  expect(describe(3)).not.toEqual(describe(4));
  expect(describe(3)[0]).toMatch(/ of block \d, list block: \d+ instead of \d+/);
});

it('says when an image holds nothing that it knows', () => {
  const nothing = mutatedImages({ image: new Uint8Array(BLOCK_SIZE), structures: [list], seed: 1 });
  expect(() => nothing.next()).toThrow('the image holds none of the structures');
});
