/**
 * What all contenders of the store benchmark do: the same keys and values, in the same order, with a hash over everything that they
 * find.
 *
 * Keys are random whole numbers below 2^53; a record is two whole numbers, `size` and `mtime`, which every contender hands out as an
 * object.
 */
import { randomKeys, strideOf } from '../core/workload.js';

export interface StoreWorkload {
  /** Records that are there from the start. */
  readonly nrKeys: number;
  /** Batches of random puts, a durable commit each. */
  readonly nrBatches: number;
  readonly batchSize: number;
  /** Durable commits of one record each. */
  readonly nrSingles: number;
  /** Of those, how many are awaited at once. */
  readonly nrAwaiting: number;
  readonly seed: number;
  /** An empty directory for the store's files. */
  readonly directory: string;
}

export interface FileRecord {
  readonly size: number;
  readonly mtime: number;
}

/** Seconds for all of the work, and what it found. */
export interface StoreResult {
  /** All records in one transaction. */
  readonly fill: number;
  /** One look-up of each record, in random order, cached. */
  readonly get: number;
  readonly scan: number;
  /** The same, from the greatest key down. */
  readonly scanDown: number;
  readonly batches: number;
  readonly singles: number;
  /** Equal for stores that found the same. */
  readonly hash: string;
  /** Only ours: seconds for each of several. */
  readonly snapshots?: readonly number[];
  readonly diffs?: readonly number[];
  readonly nrDifferences?: number;
}

/** A contender, opened on an empty directory. */
export interface StoreContender {
  fill(keys: Float64Array): Promise<void> | void;
  get(key: number): FileRecord | undefined;
  scan(visit: (key: number, record: FileRecord) => void, down: boolean): Promise<void> | void;
  /** Durable when it returns, or resolves. */
  putAll(keys: Float64Array, from: number, to: number, version: number): Promise<void> | void;
  putOne(key: number, version: number): Promise<void> | void;
}

export const sizeOf = (place: number, version: number): number => (place * 7 + version) % 4294967296;
export const mtimeOf = (place: number, version: number): number => 1e12 + place + version;

/** All keys that a run uses: first those of the start, then those of the single commits. */
export const keysOf = ({ nrKeys, nrSingles, seed }: StoreWorkload): Float64Array =>
  randomKeys({ nrKeys, nrCommits: nrSingles, seed, directory: '' });

/** Keys of the batches: every so many records of the start, in an order that is not theirs. */
export function batchKeys(keys: Float64Array, { nrKeys, nrBatches, batchSize }: StoreWorkload): Float64Array {
  const stride = strideOf(nrKeys);
  let place = 1 % nrKeys;
  return Float64Array.from({ length: nrBatches * batchSize }, () => {
    place = (place + stride) % nrKeys;
    return keys[place] as number;
  });
}

/** For peers that store bytes: a key whose bytes sort as the number does. */
export function encodeKey(key: number, into: Buffer): Buffer {
  into.writeUInt32BE(Math.floor(key / 2 ** 32), 0);
  into.writeUInt32BE(key >>> 0, 4);
  return into;
}

export function keyIn(bytes: Uint8Array): number {
  const view = bytes as Buffer;
  return view.readUInt32BE(0) * 2 ** 32 + view.readUInt32BE(4);
}

export function encodeRecord(place: number, version: number, into: Buffer): Buffer {
  const [size, mtime] = [sizeOf(place, version), mtimeOf(place, version)];
  into.writeUInt32LE(size >>> 0, 0);
  into.writeUInt32LE(Math.floor(size / 2 ** 32), 4);
  into.writeUInt32LE(mtime >>> 0, 8);
  into.writeUInt32LE(Math.floor(mtime / 2 ** 32), 12);
  return into;
}

export function decodeRecord(bytes: Uint8Array): FileRecord {
  const view = bytes as Buffer;
  return {
    size: view.readUInt32LE(4) * 2 ** 32 + view.readUInt32LE(0),
    mtime: view.readUInt32LE(12) * 2 ** 32 + view.readUInt32LE(8),
  };
}
