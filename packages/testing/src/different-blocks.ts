import { BLOCK_SIZE } from '@pdata/device';

/** Numbers of the blocks in which two media differ: a comparison byte by byte would print megabytes. */
export function differentBlocks(found: Uint8Array, expected: Uint8Array): number[] {
  const different: number[] = [];
  for (let at = 0; at < Math.max(found.length, expected.length); at += BLOCK_SIZE) {
    const [one, other] = [found, expected].map((bytes) => bytes.subarray(at, at + BLOCK_SIZE)) as [
      Uint8Array,
      Uint8Array,
    ];
    if (one.length !== other.length || one.some((byte, i) => byte !== other[i])) different.push(at / BLOCK_SIZE);
  }
  return different;
}
