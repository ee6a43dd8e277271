import { BLOCK_SIZE, CorruptBlockError } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { Block } from '../block/block.js';
import {
  closeEntry,
  floorIndex,
  INTERNAL_NODE,
  initNode,
  keyAt,
  LEAF_NODE,
  maxEntriesFor,
  nodeValidator,
  nrEntries,
  openEntry,
  setNodeShape,
  valuesOffset,
} from './node.js';

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Block 7 as a sealed leaf of 8-byte values. */
function leaf(keys: number[], flags: typeof LEAF_NODE | typeof INTERNAL_NODE = LEAF_NODE): Block {
  const block = new Block(new Uint8Array(BLOCK_SIZE), 7);
  initNode(block, flags, 8);
  keys.forEach((key, i) => {
    block.view.setUint32(openEntry(block, i, key), i + 1, true);
  });
  nodeValidator.prepare(block);
  return block;
}

it('is laid out as the kernel has it: values behind room for every key', () => {
  const block = leaf([3, 2 ** 40 + 9]);
  expect(hexOf(block.bytes.subarray(4, 56))).toBe(
    '02000000' + // leaf
      '0700000000000000' + // in block 7
      '02000000' + // 2 entries
      'fc000000' + // of 252
      '08000000' + // 8 bytes each
      '00000000' +
      '0300000000000000' +
      '0900000000010000' +
      '0000000000000000', // a free slot
  );
  expect(valuesOffset(block)).toBe(2048);
  expect(hexOf(block.bytes.subarray(2048, 2064))).toBe('01000000000000000200000000000000');
  nodeValidator.check(block);
});

it('has the values of other sizes where docs/format/btree.md says', () => {
  for (const [size, max, offset] of [
    [4, 336, 2720],
    [8, 252, 2048],
    [16, 168, 1376],
    [24, 126, 1040],
  ] as const) {
    const block = new Block(new Uint8Array(BLOCK_SIZE), 7);
    initNode(block, LEAF_NODE, size);
    expect([maxEntriesFor(size), valuesOffset(block)]).toEqual([max, offset]);
  }
});

describe('the validator', () => {
  it.each<[lie: string, change: (view: DataView) => void, says: RegExp]>([
    ['flags 0', (v) => v.setUint32(4, 0, true), /flags is 0, expected 1 \(internal\) or 2 \(leaf\)/],
    ['flags 3', (v) => v.setUint32(4, 3, true), /flags is 3/],
    ['more entries than room', (v) => v.setUint32(16, 253, true), /nrEntries is 253, expected at most 252/],
    ['a huge number of entries', (v) => v.setUint32(16, 2 ** 32 - 1, true), /nrEntries is 4294967295/],
    ['more room than there is', (v) => v.setUint32(20, 255, true), /maxEntries is 255, expected at most 254/],
    ['a huge room', (v) => v.setUint32(20, 2 ** 32 - 1, true), /maxEntries is 4294967295/],
    ['huge values', (v) => v.setUint32(24, 2 ** 32 - 1, true), /maxEntries is 252, expected at most 0/],
    ['room for too few entries to split', (v) => setMax(v, 2, 2), /maxEntries is 2, expected 3 or more/],
    ['room for none', (v) => setMax(v, 0, 0), /maxEntries is 0, expected 3 or more/],
    ['two equal keys', (v) => v.setUint32(40, 3, true), /key 1 is 3, expected above key 0, 3/],
    ['descending keys', (v) => v.setUint32(40, 1, true), /key 1 is 1, expected above key 0, 3/],
    [
      'descending keys in the high halves',
      (v) => v.setUint32(36, 1, true),
      /key 1 is 9, expected above key 0, 4294967299/,
    ],
    [
      'a key above 2^53 - 1',
      (v) => v.setUint32(52, 2 ** 21, true),
      /key 2 is 9007199254741009, expected at most 2\^53 - 1/,
    ],
    ['the largest key there is', (v) => v.setBigUint64(48, 2n ** 64n - 1n, true), /key 2 is 18446744073709551615/],
  ])('refuses a leaf with %s under a good checksum', (_, change, says) => {
    const block = leaf([3, 9, 17]);
    change(block.view);
    nodeValidator.prepare(block);
    expect(() => nodeValidator.check(block)).toThrow(CorruptBlockError);
    expect(() => nodeValidator.check(block)).toThrow(says);
  });

  it.each<[lie: string, change: (view: DataView) => void, says: RegExp]>([
    ['no entry', (v) => v.setUint32(16, 0, true), /nrEntries is 0, expected at least 1 in an internal node/],
    ['values of 4 bytes', (v) => v.setUint32(24, 4, true), /valueSize is 4, expected 8 in an internal node/],
  ])('refuses an internal node with %s', (_, change, says) => {
    const block = leaf([3, 9], INTERNAL_NODE);
    nodeValidator.check(block);
    change(block.view);
    nodeValidator.prepare(block);
    expect(() => nodeValidator.check(block)).toThrow(says);
  });

  it('refuses another home before it looks at the checksum', () => {
    const block = leaf([1]);
    block.view.setUint32(8, 9, true);
    expect(() => nodeValidator.check(block)).toThrow('btree node in block 7: blockNr is 9, expected 7');
  });

  it('refuses any flipped bit', () => {
    const random = seededRandom(121107);
    for (let i = 0; i < 300; i++) {
      const block = leaf([1, 2, 3]);
      const bit = Math.floor(random() * 8 * BLOCK_SIZE);
      block.bytes[bit >>> 3]! ^= 1 << (bit & 7);
      expect(() => nodeValidator.check(block), `bit ${bit}`).toThrow(CorruptBlockError);
    }
  });

  it('accepts what the kernel leaves behind: an empty leaf, padding, stale slots', () => {
    const block = leaf([]);
    block.view.setUint32(28, 0xffffffff, true);
    block.bytes.fill(0xee, 32);
    nodeValidator.prepare(block);
    nodeValidator.check(block);
    setMax(block.view, 0, 250); // not a multiple of 3: the kernel reads it
    nodeValidator.prepare(block);
    nodeValidator.check(block);
  });

  it('throws nothing but CorruptBlockError, whatever the header says', () => {
    const random = seededRandom(7);
    let nrAccepted = 0;
    for (let i = 0; i < 5000; i++) {
      const block = new Block(new Uint8Array(BLOCK_SIZE), 7);
      for (let at = 0; at < 64; at++) block.bytes[at] = Math.floor(random() * 256);
      const small = (n: number): number => (random() < 0.9 ? Math.floor(random() * n) : Math.floor(random() * 2 ** 32));
      setNodeShape(block, small(4), small(4), small(300), small(30));
      nodeValidator.prepare(block);
      try {
        nodeValidator.check(block);
        nrAccepted++;
        expect(valuesOffset(block) + nrEntries(block) * block.view.getUint32(24, true)).toBeLessThanOrEqual(BLOCK_SIZE);
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptBlockError);
      }
    }
    expect(nrAccepted).toBeGreaterThan(0);
  });
});

function setMax(view: DataView, nr: number, max: number): void {
  view.setUint32(16, nr, true);
  view.setUint32(20, max, true);
}

it('finds the last key that is not above the one wanted, for any number', () => {
  const random = seededRandom(64);
  for (let round = 0; round < 50; round++) {
    const keys = new Set<number>();
    for (let i = Math.floor(random() * 253); i > 0; i--) {
      keys.add(Math.floor(random() * [10, 300, 2 ** 32 + 5, 2 ** 53][i % 4]!));
    }
    const sorted = [...keys].sort((a, b) => a - b).slice(0, 252);
    const block = leaf(sorted);
    const wanted = [...sorted, ...sorted.map((k) => k + 1), ...sorted.map((k) => k - 1)];
    for (const key of [...wanted, 0, -1, 0.5, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, Number.POSITIVE_INFINITY]) {
      expect(floorIndex(block, key), `${key}`).toBe(sorted.findLastIndex((k) => k <= key));
    }
  }
});

it('opens and closes gaps like an array', () => {
  const random = seededRandom(12);
  const block = leaf([]);
  const model: [key: number, value: number][] = [];
  for (let i = 0; i < 2000; i++) {
    const at = Math.floor(random() * (model.length + 1));
    if (model.length < 252 && (model.length === 0 || random() < 0.6)) {
      const entry: [number, number] = [Math.floor(random() * 2 ** 50), i];
      block.view.setUint32(openEntry(block, at, entry[0]), i, true);
      model.splice(at, 0, entry);
    } else if (at < model.length) {
      closeEntry(block, at);
      model.splice(at, 1);
    }
    const found = model.map((_, k) => [keyAt(block, k), block.view.getUint32(2048 + 8 * k, true)]);
    if (i % 50 === 0) expect(found).toEqual(model);
    expect(nrEntries(block)).toBe(model.length);
  }
});
