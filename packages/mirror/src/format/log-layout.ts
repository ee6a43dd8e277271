/**
 * The dirty log of a mirror on its device. All integers are little-endian.
 *
 *   offset  size  field      meaning
 *        0     4  magic      LOG_MAGIC, the bytes "rRiM"
 *        4     4  version    2; 1 is the same, and becomes 2 when it is used
 *        8     8  nrRegions  regions that the bits describe
 *       16  1008  unused     never touched: what was there is written back
 *     1024     B  clean      bit i is bit i % 8 of byte 1024 + i / 8. 1: all legs are equal; 0: a restart copies the region
 *   1024+B        padding    to the end of the I/O, never touched either
 *
 * B is 8 bytes for every 64 regions begun; the bits past nrRegions in the last 8 bytes are 0. It is always read and written as a
 * whole, from byte 0, in one request: 1024 + B rounded up to the logical block size of the device. There is no checksum, and no
 * second copy: torn between sectors, each bit is still the old or the new one, and both are true when the legs were flushed first.
 *
 * Format: docs/format/mirror-log.md, section 2.
 */
import { SECTOR_SIZE } from '@pdata/device';

export const LOG_MAGIC = 0x4d695272;
export const LOG_VERSION = 2;
/** Its layout is that of version 2. */
export const OLD_LOG_VERSION = 1;
/** Byte at which the bits begin. */
export const LOG_BITS_OFFSET = 1024;
const AT = { magic: 0, version: 4, nrRegions: 8 } as const;

export interface LogHeader {
  readonly magic: number;
  readonly version: number;
  /** Above 2^53 rounded; no mirror has so many. */
  readonly nrRegions: number;
}

/** Nothing is checked. @param bytes the first 16 of a log, or more */
export function readLogHeader(bytes: Uint8Array): LogHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    magic: view.getUint32(AT.magic, true),
    version: view.getUint32(AT.version, true),
    nrRegions: view.getUint32(AT.nrRegions + 4, true) * 2 ** 32 + view.getUint32(AT.nrRegions, true),
  };
}

/** Writes magic, version 2 and `nrRegions`, and leaves the rest as it is. */
export function writeLogHeader(bytes: Uint8Array, nrRegions: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(AT.magic, LOG_MAGIC, true);
  view.setUint32(AT.version, LOG_VERSION, true);
  view.setUint32(AT.nrRegions, nrRegions, true);
  view.setUint32(AT.nrRegions + 4, 0, true); // MAX_REGIONS has 32 bits
}

/** Whether the layout of a log with this version is the one above. */
export const isKnownVersion = (version: number): boolean => version === LOG_VERSION || version === OLD_LOG_VERSION;

/** Bytes of the bits of so many regions: whole words of 64. */
export const nrBytesOfBits = (nrRegions: number): number => Math.ceil(nrRegions / 64) * 8;

/** Bytes that a log takes of its device, and of the one request that reads or writes it. */
export function logSize(nrRegions: number, logicalBlockSize = SECTOR_SIZE): number {
  return Math.ceil((LOG_BITS_OFFSET + nrBytesOfBits(nrRegions)) / logicalBlockSize) * logicalBlockSize;
}
