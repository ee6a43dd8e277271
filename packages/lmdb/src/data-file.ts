/**
 * A look at data.mdb before LMDB maps it: is it one, of this version, all there, and its trees sound?
 *
 * LMDB trusts its file. A file that was cut off (an interrupted copy, a full disk) ends the process by SIGBUS at the first read
 * behind its end, a damaged page by SIGSEGV, where an error would be due. So the trees are walked first, by plain reads:
 * every page and every node must lie where it may, every page they refer to must be in the file: 500 pages for 90 000 blocks, some
 * milliseconds. Not looked at is what the pages of values contain, as many as there are blocks: thin metadata has checksums of
 * its own. (LMDB believes the header of such a page when it frees it, so damage there can still end a writer by a signal.)
 *
 * Another process may commit meanwhile, and from its second commit on reuse pages that we are walking. So trouble counts only
 * if the superblock is the same afterwards.
 *
 * Format (lmdb 3.x, data version 2; little-endian, as the machine). Pages 0 and 1 are superblocks ("meta pages"), of which the one
 * with the larger transaction id counts. A page has a header of 24 bytes: its number u64, its transaction id u64, u16, flags u16
 * at 18, the end of its table of nodes u16 at 20, the start of its nodes u16 at 22. The table (offsets of nodes, u16 each) follows.
 * All these offsets count from the header's end. A meta page, behind the header:
 *
 *   0 u32 magic 0xBEEFC0DE    4 u32 version    8 u64 address    16 u64 map size    24 tree of free pages, of 48 bytes, its first
 *   u32 the page size         72 main tree     120 u64 last page                  128 u64 transaction id
 *
 * A tree: u32, flags u16, depth u16, …, its root page u64 at 40. A node: u16 low and u16 high, flags u16, size of the key u16, key,
 * data. In a branch the child is low | high << 16 | flags << 32. In a leaf the data has low | high << 16 bytes, unless flags has
 * 1: then it is first page u64, transaction id u64, number of pages u64, of a value on pages of its own; or 2: then it is a tree.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DeviceOpenError } from '@pdata/device';
import { PAGE_SIZE } from './layout.js';

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const HEADER_SIZE = 24;
const AT = { flags: 18, tableEnd: 20, nodesStart: 22 } as const;
const META = { magic: 24, version: 28, free: 48, main: 96, lastPage: 144, transactionId: 152 } as const;
const TREE = { depth: 6, root: 40, size: 48 } as const;
const NODE_SIZE = 8;
const OWN_PAGES_SIZE = 24;
const BRANCH = 1;
const LEAF = 2;
const META_PAGE = 8;
const OWN_PAGES = 1;
const SUBTREE = 2;
const NO_PAGE = 2n ** 64n - 1n;
/** LMDB's own bound for the depth of a tree. */
const MAX_DEPTH = 32;
/** 64 TiB: more than can be mapped in any process. */
const MAX_PAGES = 2 ** 34;
const MAX_ATTEMPTS = 10;

/** @throws {@link DeviceOpenError} when the file is no LMDB environment, of another version or page size, cut off, or damaged */
export function inspectDataFile(path: string, attempted: string): void {
  const fd = openSync(path, 'r');
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const before = transactionIdIn(fd);
      const trouble = troubleWith(fd);
      if (trouble === undefined) return;
      if (transactionIdIn(fd) === before) throw new DeviceOpenError(`cannot ${attempted}: ${trouble}`);
    }
    // Somebody commits all the time, so LMDB has the file open and finds it sound.
  } finally {
    closeSync(fd);
  }
}

/** What is wrong with the file, as a clause; undefined when nothing is. */
function troubleWith(fd: number): string | undefined {
  const { size } = fstatSync(fd);
  const first = readPage(fd, 0);
  const second = readPage(fd, 1);
  if (!isMeta(first)) {
    // Before version 2 the header of a page has 16 bytes.
    if (first.readUInt32LE(16) === MAGIC) return 'its data.mdb was written by an LMDB of another data version';
    return 'its data.mdb is no LMDB data file, or its first page is damaged; restore it from a copy';
  }
  const version = first.readUInt32LE(META.version) & 0xffff;
  if (version !== VERSION)
    return `its data.mdb has version ${version} of the LMDB format, this program knows ${VERSION}`;
  const pageSize = first.readUInt32LE(META.free);
  if (pageSize !== PAGE_SIZE) {
    return `it is an LMDB environment with pages of ${pageSize} bytes, not one of pdata's, which have ${PAGE_SIZE}`;
  }
  if (size < 2 * PAGE_SIZE) return `its data.mdb was cut off: ${size} bytes are less than its first two pages`;
  if (!isMeta(second)) return 'its data.mdb is damaged: page 1 is no superblock; restore it from a copy';
  const isSecond = second.readBigUInt64LE(META.transactionId) > first.readBigUInt64LE(META.transactionId);
  const meta = isSecond ? second : first;
  const walk = new TreeWalk(fd, Number(meta.readBigUInt64LE(META.lastPage)) + 1, Math.floor(size / PAGE_SIZE));
  walk.visitTree(meta, META.free);
  walk.visitTree(meta, META.main);
  return walk.trouble;
}

class TreeWalk {
  /** The first trouble met; the walk ends there. */
  trouble: string | undefined;

  constructor(
    readonly fd: number,
    /** Pages that the superblock knows, and that the file has: fewer are fine, as long as no tree reaches the others. */
    readonly nrKnown: number,
    readonly nrThere: number,
  ) {
    if (nrKnown > MAX_PAGES) this.#damaged(0, 'is no superblock');
  }

  /** Walks the tree whose description is at `at` of `page`, and the trees in its leaves. */
  visitTree(page: Buffer, at: number): void {
    const root = page.readBigUInt64LE(at + TREE.root);
    const depth = page.readUInt16LE(at + TREE.depth);
    if (root !== NO_PAGE) this.#visit(Number(root), depth > MAX_DEPTH ? 0 : depth);
  }

  /** @param depth levels from here down to the leaves, this one included */
  #visit(pageNr: number, depth: number): void {
    if (this.trouble !== undefined || !this.#isThere(pageNr)) return;
    const page = readPage(this.fd, pageNr);
    const kind = page.readUInt16LE(AT.flags) & (BRANCH | LEAF);
    const tableEnd = HEADER_SIZE + page.readUInt16LE(AT.tableEnd);
    const nodesStart = HEADER_SIZE + page.readUInt16LE(AT.nodesStart);
    const isSound =
      Number(page.readBigUInt64LE(0)) === pageNr &&
      kind === (depth > 1 ? BRANCH : LEAF) &&
      depth > 0 &&
      tableEnd <= nodesStart &&
      nodesStart <= PAGE_SIZE;
    if (!isSound) this.#damaged(pageNr, 'is no page of its tree');
    for (let entry = HEADER_SIZE; entry < tableEnd && this.trouble === undefined; entry += 2) {
      const node = HEADER_SIZE + page.readUInt16LE(entry);
      const isInside = node >= nodesStart && node + NODE_SIZE <= PAGE_SIZE && this.#visitNode(page, node, kind, depth);
      if (!isInside) this.#damaged(pageNr, 'has a node that cannot be');
    }
  }

  /** False when the node does not lie in its page, or describes what cannot be. */
  #visitNode(page: Buffer, node: number, kind: number, depth: number): boolean {
    const low = page.readUInt32LE(node);
    const flags = page.readUInt16LE(node + 4);
    const data = node + NODE_SIZE + page.readUInt16LE(node + 6);
    if (kind === BRANCH) {
      this.#visit(low + flags * 2 ** 32, depth - 1);
      return data <= PAGE_SIZE;
    }
    const length = (flags & OWN_PAGES) !== 0 ? OWN_PAGES_SIZE : low;
    if (data + length > PAGE_SIZE) return false;
    if ((flags & OWN_PAGES) !== 0) {
      const nrPages = Number(page.readBigUInt64LE(data + 16));
      if (nrPages !== Math.ceil((HEADER_SIZE + low) / PAGE_SIZE)) return false;
      this.#isThere(Number(page.readBigUInt64LE(data)) + nrPages - 1);
    } else if ((flags & SUBTREE) !== 0) {
      if (length !== TREE.size) return false;
      this.visitTree(page, data);
    }
    return true;
  }

  #isThere(pageNr: number): boolean {
    if (pageNr < 2 || pageNr >= this.nrKnown) this.#damaged(pageNr, 'is in use, but not a page it may use');
    else if (pageNr >= this.nrThere) {
      this.trouble ??= `its data.mdb was cut off: it has ${this.nrThere} pages, and page ${pageNr} is in use; restore it from a copy`;
    }
    return this.trouble === undefined;
  }

  #damaged(pageNr: number, how: string): void {
    this.trouble ??= `its data.mdb is damaged: page ${pageNr} ${how}; restore it from a copy`;
  }
}

const isMeta = (page: Buffer): boolean =>
  page.readUInt32LE(META.magic) === MAGIC && (page.readUInt16LE(AT.flags) & META_PAGE) !== 0;

/** The larger of the two: what LMDB takes for the last commit. */
function transactionIdIn(fd: number): bigint {
  const [first, second] = [0, 1].map((pageNr) => readPage(fd, pageNr).readBigUInt64LE(META.transactionId));
  return (first as bigint) > (second as bigint) ? (first as bigint) : (second as bigint);
}

/** Zeroes where the file has ended. */
function readPage(fd: number, pageNr: number): Buffer {
  const page = Buffer.alloc(PAGE_SIZE);
  readSync(fd, page, 0, PAGE_SIZE, pageNr * PAGE_SIZE);
  return page;
}
