/**
 * What an environment of ours contains: three LMDB databases, and the keys in them.
 *
 *   pdata       "format" → { format, nextPoolId }, "pool:NAME" → { id, nrBlocks }, "dropped:ID" → {} (msgpack). The LMDB
 *               version of a pool's entry counts the pool's commits.
 *   blocks      pool id, 2 × block number (both u32, big-endian) → the block's first 4072 bytes without trailing zeroes;
 *               pool id, 2 × block number + 1                    → the other 24 bytes, likewise, if there are any
 *   catalogue   pool id (u32, big-endian), the record's key in UTF-8 → msgpack
 *
 * A block that is all zeroes is not stored. All pools share the databases, so that opening and dropping a pool opens and
 * closes no LMDB handle, which other processes and readers would have to hear of.
 *
 * Why 4072 + 24. LMDB keeps a value of more than half a page on pages of its own, with a header of 24 bytes on the first: a
 * block of 4096 bytes then takes two pages of 4 KiB, and almost all of the second is waste. Cut at 4072, the greater part fits
 * one page exactly, and the rest goes into the tree's leaves. Most blocks have no rest: the nodes of the kernel's B-trees hold
 * a multiple of three entries, which leaves the last 32 bytes of the block zero. Measured with 20 000 random blocks, lmdb
 * 3.5.6, Node 20.20, 2026-11 (bytes a block in data.mdb; writing all in order; a commit of 100 random ones, with its syncs):
 *
 *   page size, value                 bytes    in order   100 random
 *    4 KiB, 4072 and no rest          4142     120 ms       2.8 ms
 *    4 KiB, 4072 + 24                 4186     129 ms       3.4 ms
 *    4 KiB, whole                     8238     234 ms       4.3 ms
 *    8 KiB, whole                     8240     166 ms       3.6 ms
 *   16 KiB, whole (2 or 3 a page)     8214     174 ms       3.5 ms
 *   32 KiB, whole (up to 7 a page)    5490     126 ms       4.4 ms
 *   64 KiB, whole (up to 15 a page)   4725     113 ms       7.2 ms
 */
import { BLOCK_SIZE } from '@pdata/device';
import { packedRecord } from '@pdata/device/engine';
import { Packr } from 'msgpackr';

/** The only layout so far. */
export const FORMAT = 1;
/** LMDB's page size, whatever the system's is: an environment can then be copied between machines. */
export const PAGE_SIZE = 4096;
/** Bytes of a block in its first entry. */
export const HEAD_SIZE = 4072;
/** Block numbers take 31 bits of a key; 16 GiB, the largest metadata of the kernel's, take 22. */
export const MAX_NR_BLOCKS = 2 ** 31;

export interface FormatRecord {
  readonly format: number;
  readonly nextPoolId: number;
}

export interface PoolRecord {
  readonly id: number;
  readonly nrBlocks: number;
}

/** Plain maps, which any msgpack library reads: msgpackr's own records would need its structures beside them. */
const packr = new Packr({ useRecords: false });
/** @throws TypeError for what would not come back as it is */
export const encode = (value: unknown): Uint8Array => packedRecord(value, (known) => packr.pack(known));
export const decode = (bytes: Uint8Array): unknown => packr.unpack(bytes);

export const FORMAT_KEY = Buffer.from('format');
const POOL_PREFIX = 'pool:';
const DROPPED_PREFIX = 'dropped:';

export const poolKey = (name: string): Buffer => Buffer.from(POOL_PREFIX + name);
export const poolNameOf = (key: Uint8Array): string => Buffer.from(key).toString().slice(POOL_PREFIX.length);
/** ';' follows ':' in ASCII. */
export const POOL_KEYS = { start: Buffer.from(POOL_PREFIX), end: Buffer.from('pool;') };
export const droppedKey = (id: number): Buffer => Buffer.from(DROPPED_PREFIX + id);
export const droppedIdOf = (key: Uint8Array): number =>
  Number(Buffer.from(key).toString().slice(DROPPED_PREFIX.length));
export const DROPPED_KEYS = { start: Buffer.from(DROPPED_PREFIX), end: Buffer.from('dropped;') };

const blockKey = Buffer.alloc(8);

/** Key of a block's first entry, or of its rest. One buffer for all: lmdb copies a key at once. */
export function keyOfBlock(poolId: number, blockNr: number, part: 'head' | 'rest'): Uint8Array {
  blockKey.writeUInt32BE(poolId, 0);
  blockKey.writeUInt32BE(blockNr * 2 + (part === 'head' ? 0 : 1), 4);
  return blockKey;
}

export const blockNrOf = (key: Uint8Array): number => Buffer.from(key).readUInt32BE(4) >>> 1;

/** Keys of all entries of a pool, in blocks or in the catalogue. */
export function keysOfPool(poolId: number): { start: Uint8Array; end: Uint8Array } {
  const start = Buffer.alloc(4);
  const end = Buffer.alloc(4);
  start.writeUInt32BE(poolId, 0);
  end.writeUInt32BE(poolId + 1, 0);
  return { start, end };
}

export function keyOfRecord(poolId: number, key: string): Uint8Array {
  const bytes = Buffer.alloc(4 + Buffer.byteLength(key));
  bytes.writeUInt32BE(poolId, 0);
  bytes.write(key, 4);
  return bytes;
}

export const recordKeyOf = (key: Uint8Array): string => Buffer.from(key.subarray(4)).toString();

/** False for a string with half a surrogate pair, which would come back as another. */
export const survivesUtf8 = (text: string): boolean => Buffer.from(text).toString() === text;

/** Bytes of a block up to its last one that is not zero. */
export function usedBytes(block: Uint8Array): number {
  let used = BLOCK_SIZE;
  while (used > 0 && block[used - 1] === 0) used--;
  return used;
}
