/**
 * Fingerprints of what sectors hold, to recognize equal images without comparing them.
 *
 * Two numbers of 32 bits a sector; an image's fingerprint is the exclusive or over its sectors of number and place mixed, so
 * that changing a sector changes it by two steps, whatever the size of the image. Not for an adversary: the images are ours.
 */
import { SECTOR_SIZE } from '@pdata/device';

/** For each sector two words. */
export type ContentHash = Uint32Array;

const WORDS = SECTOR_SIZE / 4;
/** The fingerprint of a sector of zeros: what a new medium is made of. */
const ZEROS = hashSector(new Uint32Array(WORDS), 0);

/** @param bytes whole sectors; undefined for zeros */
export function contentHash(bytes: Uint8Array | undefined, nrSectors: number): ContentHash {
  const hash = new Uint32Array(2 * nrSectors);
  const words = bytes === undefined ? undefined : wordsOf(bytes);
  for (let sector = 0; sector < nrSectors; sector++) {
    const [a, b] = words === undefined ? ZEROS : hashSector(words, sector * WORDS);
    hash[2 * sector] = a;
    hash[2 * sector + 1] = b;
  }
  return hash;
}

/** One word of a sector's fingerprint, mixed with where the sector is. */
export function placed(word: number, sector: number): number {
  let mixed = Math.imul(word ^ Math.imul(sector + 1, 0x9e3779b1), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35);
  return mixed ^ (mixed >>> 13);
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

function hashSector(words: Uint32Array, from: number): readonly [number, number] {
  let a = 0x811c9dc5;
  let b = 0x2545f491;
  for (let at = from; at < from + WORDS; at++) {
    const word = words[at] as number;
    a = Math.imul(a ^ word, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b ^ word, 0x5bd1e995) + 0x7f4a7c15;
    b ^= b >>> 13;
  }
  return [a >>> 0, b >>> 0];
}
