/**
 * A look at data.mdb before LMDB maps it.
 *
 * LMDB's first two pages are its superblocks ("meta pages"); the one with the larger transaction id counts. Format (lmdb 3.x,
 * data version 2; little-endian, as the machine): a page header of 24 bytes with flags at 18 (8: a meta page), then
 *
 *   0 u32 magic 0xBEEFC0DE    4 u32 version    8 u64 address     16 u64 map size    24 database "free": u32 page size, …
 *   120 u64 last page         128 u64 transaction id
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DeviceOpenError } from '@pdata/device';
import { PAGE_SIZE } from './layout.js';

const HEADER_SIZE = 24;
const META_PAGE = 8;
const MAGIC = 0xbeefc0de;
const VERSION = 2;
const AT = { flags: 18, magic: HEADER_SIZE, version: HEADER_SIZE + 4, pageSize: HEADER_SIZE + 24 } as const;

/** @throws {@link DeviceOpenError} when the file is no LMDB environment, of another version, or cut off */
export function inspectDataFile(path: string, attempted: string): void {
  const refuse = (why: string): never => {
    throw new DeviceOpenError(`cannot ${attempted}: ${why}`);
  };
  const first = Buffer.alloc(2 * PAGE_SIZE);
  const fd = openSync(path, 'r');
  let size: number;
  try {
    size = fstatSync(fd).size;
    readSync(fd, first, 0, first.byteLength, 0);
  } finally {
    closeSync(fd);
  }
  if (first.readUInt32LE(AT.magic) !== MAGIC || (first.readUInt16LE(AT.flags) & META_PAGE) === 0) {
    // The versions before 2 have a page header of 16 bytes.
    if (first.readUInt32LE(16) === MAGIC) refuse('its data.mdb was written by an LMDB of another data version');
    refuse('its data.mdb is no LMDB data file, or its first page is damaged; restore it from a copy');
  }
  const version = first.readUInt32LE(AT.version) & 0xffff;
  if (version !== VERSION)
    refuse(`its data.mdb has version ${version} of the LMDB format, this program knows ${VERSION}`);
  const pageSize = first.readUInt32LE(AT.pageSize);
  if (pageSize !== PAGE_SIZE) {
    refuse(`it is an LMDB environment with pages of ${pageSize} bytes, not one of pdata's, which have ${PAGE_SIZE}`);
  }
  if (size < 2 * PAGE_SIZE) refuse(`its data.mdb has ${size} bytes, less than its first two pages: it was cut off`);
}
