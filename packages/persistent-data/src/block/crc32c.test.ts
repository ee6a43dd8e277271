import { createRequire } from 'node:module';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { crc32c as hardware } from './crc32c-node.js';
import { crc32c as plain } from './crc32c-plain.js';

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const sequence = (nr: number, at: (i: number) => number): Uint8Array =>
  Uint8Array.from({ length: nr }, (_, i) => at(i));

/** RFC 3720, B.4, and the check value of the CRC catalogue. */
const VECTORS: [what: string, bytes: Uint8Array, crc: number][] = [
  ['nothing', new Uint8Array(0), 0],
  ['"123456789"', ascii('123456789'), 0xe3069283],
  ['32 bytes of zeros', new Uint8Array(32), 0x8a9136aa],
  ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['32 ascending bytes', sequence(32, (i) => i), 0x46dd794e],
  ['32 descending bytes', sequence(32, (i) => 31 - i), 0x113fdb5c],
  [
    'an iSCSI SCSI Read (10) command PDU',
    Uint8Array.from(
      '01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000'.match(/../g) ??
        [],
      (hex) => Number.parseInt(hex, 16),
    ),
    0xd9963a56,
  ],
];

describe.each([
  ['the plain one', plain],
  ['the one that Node uses', hardware],
])('CRC-32C: %s', (_, crc32c) => {
  it.each(VECTORS)('is right for %s', (_what, bytes, crc) => {
    expect(crc32c(bytes)).toBe(crc);
  });
});

it('is the same from both for random blocks, parts of blocks and views into them', () => {
  const random = seededRandom(3720);
  for (let round = 0; round < 500; round++) {
    const bytes = Uint8Array.from({ length: 4096 }, () => Math.floor(random() * 256));
    const from = Math.floor(random() * 64);
    const covered = bytes.subarray(from, from + Math.floor(random() * (4097 - from)));
    expect(hardware(covered)).toBe(plain(covered));
  }
});

it('is the library under Node wherever that loads, and the plain one only where it does not', () => {
  let loads = true;
  try {
    createRequire(import.meta.url)('@node-rs/crc32');
  } catch {
    loads = false; // an optional dependency: no build for this platform
  }
  // A silent fall back to the plain one would cost three quarters of the speed.
  expect(hardware === plain).toBe(!loads);
});
