/**
 * CRC-32C by the processor's own instruction, through @node-rs/crc32, with the plain TypeScript one as the fallback on a
 * platform for which that library ships no build. package.json maps `#crc32c` here under Node, to crc32c-plain elsewhere.
 */
import { createRequire } from 'node:module';
import { crc32c as plain } from './crc32c-plain.js';

type Crc32c = (bytes: Uint8Array) => number;

function hardware(): Crc32c | undefined {
  try {
    const library = createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: Crc32c };
    // A build that loads but computes something else must not decide what is corrupt.
    return library.crc32c(new TextEncoder().encode('123456789')) === 0xe3069283 ? library.crc32c : undefined;
  } catch {
    return undefined;
  }
}

/** The usual CRC-32C, initial and final inversion included, as an unsigned 32-bit number. */
export const crc32c: Crc32c = hardware() ?? plain;
