/**
 * 64-bit integers of the wire as numbers, without 32-bit arithmetic on lengths and offsets anywhere.
 *
 * Two u32 halves are read and joined in floating point. From 2^53 on that rounds, which is harmless for a length or an
 * offset: no device is so large, so the check against its size refuses every such number, rounded or not. What must be
 * repeated exactly (cookies, the offset in an extended reply) is kept as its two halves and never joined.
 *
 * Format: docs/format/nbd.md: all integers are big-endian.
 */

const TWO_TO_32 = 2 ** 32;

/** The u64 at `at`; rounded from 2^53 on. */
export const u64At = (bytes: Buffer, at: number): number =>
  bytes.readUInt32BE(at) * TWO_TO_32 + bytes.readUInt32BE(at + 4);

/** Writes `value`, an integer of 0…2^53, as a u64. */
export function setU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / TWO_TO_32), at);
  bytes.writeUInt32BE(value % TWO_TO_32, at + 4);
}
