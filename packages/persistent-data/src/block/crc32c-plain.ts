/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) in plain TypeScript: for browsers, and for machines for which the
 * hardware library has no build. Eight tables, eight bytes a step; about 1.1 GB/s where the library does 4.4 (Node 20, 2026-11).
 *
 * Vector: the ASCII bytes "123456789" give 0xE3069283 (RFC 3720, B.4, has more).
 */
const POLYNOMIAL = 0x82f63b78;

const tables = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  tables[byte] = crc;
}
for (let i = 256; i < tables.length; i++) {
  const previous = tables[i - 256] as number;
  tables[i] = (previous >>> 8) ^ (tables[previous & 0xff] as number);
}

/** The usual CRC-32C, initial and final inversion included, as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  const t = tables;
  const end = bytes.length;
  let crc = -1;
  let at = 0;
  for (const last = end - 7; at < last; at += 8) {
    const low =
      crc ^
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24));
    crc =
      (t[1792 + (low & 0xff)] as number) ^
      (t[1536 + ((low >>> 8) & 0xff)] as number) ^
      (t[1280 + ((low >>> 16) & 0xff)] as number) ^
      (t[1024 + (low >>> 24)] as number) ^
      (t[768 + (bytes[at + 4] as number)] as number) ^
      (t[512 + (bytes[at + 5] as number)] as number) ^
      (t[256 + (bytes[at + 6] as number)] as number) ^
      (t[bytes[at + 7] as number] as number);
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ (t[(crc ^ (bytes[at] as number)) & 0xff] as number);
  return ~crc >>> 0;
}
