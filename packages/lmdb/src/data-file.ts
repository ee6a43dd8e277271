/**
 * A look at data.mdb before LMDB maps it: is it one, of this version, and all there?
 *
 * A mapped file that was cut off (an interrupted copy, a full disk) ends the process by SIGBUS at the first read behind its end,
 * where an error would be due. A file shorter than its superblock says need not be cut off: pages that a transaction freed
 * again at the end are never written. So only then the trees are walked, by plain reads, and every page they reach must be there.
 *
 * Format (lmdb 3.x, data version 2; little-endian, as the machine). Pages 0 and 1 are superblocks ("meta pages"), of which the one
 * with the larger transaction id counts. A page: its number u64, its transaction id u64, u16, flags u16 at 18, the end of its
 * table of nodes u16 at 20, the table (offsets of nodes, u16 each) from 24 on. A meta page, behind the header:
 *
 *   0 u32 magic 0xBEEFC0DE    4 u32 version    8 u64 address    16 u64 map size    24 tree of free pages, of 48 bytes, its first
 *   u32 the page size         72 main tree     120 u64 last page                  128 u64 transaction id
 *
 * A tree: …, its root page u64 at 40. A node: u16 low and u16 high, flags u16, size of the key u16, key, data. In a branch the child is
 * low | high << 16 | flags << 32. In a leaf the data has low | high << 16 bytes, unless flags has 1: then it is first page u64,
 * transaction id u64, number of pages u64, of a value on pages of its own; or 2: then it is a tree.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DeviceOpenError } from '@pdata/device';
import { PAGE_SIZE } from './layout.js';

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const HEADER_SIZE = 24;
const AT = { flags: 18, tableEnd: 20 } as const;
const META = { magic: 24, version: 28, free: 48, main: 96, lastPage: 144, transactionId: 152 } as const;
const TREE_ROOT = 40;
const TREE_SIZE = 48;
const BRANCH = 1;
const LEAF = 2;
const META_PAGE = 8;
const OWN_PAGES = 1;
const SUBTREE = 2;
const NO_PAGE = 2n ** 64n - 1n;
/** LMDB's own bound for the depth of a tree. */
const MAX_DEPTH = 32;

/** @throws {@link DeviceOpenError} when the file is no LMDB environment, of another version, of other pages, or cut off */
export function inspectDataFile(path: string, attempted: string): void {
  const refuse: Refusal = (why) => {
    throw new DeviceOpenError(`cannot ${attempted}: ${why}`);
  };
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const metas = [0, 1].map((pageNr) => readPage(fd, pageNr));
    const [first, second] = metas as [Buffer, Buffer];
    requireMeta(first, size, refuse);
    const id = (meta: Buffer): bigint => meta.readBigUInt64LE(META.transactionId);
    const isSecond = second.readUInt32LE(META.magic) === MAGIC && id(second) > id(first);
    const meta = isSecond ? second : first;
    if (Number(meta.readBigUInt64LE(META.lastPage)) < Math.floor(size / PAGE_SIZE)) return;
    for (const tree of [META.free, META.main]) {
      requireReachedPages(fd, meta.readBigUInt64LE(tree + TREE_ROOT), Math.floor(size / PAGE_SIZE), refuse);
    }
  } finally {
    closeSync(fd);
  }
}

type Refusal = (why: string) => never;

function requireMeta(first: Buffer, size: number, refuse: Refusal): void {
  if (first.readUInt32LE(META.magic) !== MAGIC || (first.readUInt16LE(AT.flags) & META_PAGE) === 0) {
    // Before version 2 the header of a page has 16 bytes.
    if (first.readUInt32LE(16) === MAGIC) refuse('its data.mdb was written by an LMDB of another data version');
    refuse('its data.mdb is no LMDB data file, or its first page is damaged; restore it from a copy');
  }
  const version = first.readUInt32LE(META.version) & 0xffff;
  if (version !== VERSION) {
    refuse(`its data.mdb has version ${version} of the LMDB format, this program knows ${VERSION}`);
  }
  const pageSize = first.readUInt32LE(META.free);
  if (pageSize !== PAGE_SIZE) {
    refuse(`it is an LMDB environment with pages of ${pageSize} bytes, not one of pdata's, which have ${PAGE_SIZE}`);
  }
  if (size < 2 * PAGE_SIZE) refuse(`its data.mdb was cut off: ${size} bytes are less than its first two pages`);
}

/** Walks a tree, and the trees in its leaves. */
function requireReachedPages(fd: number, root: bigint, nrPages: number, refuse: Refusal): void {
  const cutOff = (pageNr: number): never =>
    refuse(`its data.mdb was cut off: it has ${nrPages} pages, and page ${pageNr} is in use; restore it from a copy`);
  const damaged = (pageNr: number): never =>
    refuse(`its data.mdb is damaged: page ${pageNr} is no page of a tree; restore it from a copy`);
  const walk = (pageNr: number, depth: number): void => {
    if (pageNr >= nrPages) cutOff(pageNr);
    const page = readPage(fd, pageNr);
    const flags = page.readUInt16LE(AT.flags);
    const tableEnd = page.readUInt16LE(AT.tableEnd);
    if ((flags & (BRANCH | LEAF)) === 0 || depth > MAX_DEPTH || tableEnd > PAGE_SIZE) damaged(pageNr);
    for (let entry = HEADER_SIZE; entry + 2 <= tableEnd; entry += 2) {
      const node = page.readUInt16LE(entry);
      if (node + 8 > PAGE_SIZE) damaged(pageNr);
      const low = page.readUInt32LE(node);
      const nodeFlags = page.readUInt16LE(node + 4);
      if ((flags & BRANCH) !== 0) {
        walk(low + nodeFlags * 2 ** 32, depth + 1);
        continue;
      }
      const data = node + 8 + page.readUInt16LE(node + 6);
      if (data + ((nodeFlags & SUBTREE) !== 0 ? TREE_SIZE : 0) > PAGE_SIZE) damaged(pageNr);
      if ((nodeFlags & OWN_PAGES) !== 0) {
        if (data + 24 > PAGE_SIZE) damaged(pageNr);
        const last = Number(page.readBigUInt64LE(data) + page.readBigUInt64LE(data + 16)) - 1;
        if (last >= nrPages) cutOff(last);
      } else if ((nodeFlags & SUBTREE) !== 0) {
        const subtree = page.readBigUInt64LE(data + TREE_ROOT);
        if (subtree !== NO_PAGE) walk(Number(subtree), depth + 1);
      }
    }
  };
  if (root !== NO_PAGE) walk(Number(root), 0);
}

/** Zeroes where the file has ended. */
function readPage(fd: number, pageNr: number): Buffer {
  const page = Buffer.alloc(PAGE_SIZE);
  readSync(fd, page, 0, PAGE_SIZE, pageNr * PAGE_SIZE);
  return page;
}
