/**
 * What both contenders of the core benchmark do: the same keys, in the same order, with a hash over everything they find.
 *
 * Keys are random whole numbers below 2^53, eight bytes in both stores. (Ours takes no larger ones; the bytes compared in
 * a search are the same.) Values are eight bytes: the key's place in the order of insertion.
 */
import { createHash } from 'node:crypto';

export interface CoreWorkload {
  readonly nrKeys: number;
  /** Commits of one key each, after the rest. */
  readonly nrCommits: number;
  readonly seed: number;
  /** An empty directory for the store's files. */
  readonly directory: string;
}

/** Seconds for all of the work, and what it found. */
export interface CoreResult {
  /** All keys in one transaction, its commit included. */
  readonly insert: number;
  /** Of that, the commit. */
  readonly insertCommit: number;
  readonly lookup: number;
  readonly walk: number;
  /** Each commit of one new key, the insertion included. */
  readonly commits: readonly number[];
  /** Equal for stores that found the same. */
  readonly hash: string;
  /** What a commit of one key wrote, at most and in the middle; only ours can say. */
  readonly written?: {
    readonly medianBlocks: number;
    readonly maxBlocks: number;
    readonly maxSuperblocks: number;
    readonly maxFlushes: number;
  };
}

/** `nrKeys` keys to insert at once, then those of the commits. */
export function randomKeys({ nrKeys, nrCommits, seed }: CoreWorkload): Float64Array {
  const random = splitmix32(seed);
  return Float64Array.from({ length: nrKeys + nrCommits }, () => (random() >>> 11) * 2 ** 32 + random());
}

/** A step that visits all of `nr` places once, in an order that is neither that of insertion nor that of keys. */
export function strideOf(nr: number): number {
  let stride = Math.max(1, Math.floor(nr * 0.618));
  while (greatestCommonDivisor(stride, nr) !== 1) stride++;
  return stride;
}

/** One value mixed into a hash of 32 bits: a handful of machine instructions, the same for both contenders. */
export const mix = (hash: number, value: number): number => Math.imul(hash ^ value, 16777619);

/** The hash that is printed, from those of the parts. */
export function resultHash(parts: Readonly<Record<string, number>>): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

export function secondsOf(work: () => void): number {
  const begin = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - begin) / 1e9;
}

function splitmix32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
