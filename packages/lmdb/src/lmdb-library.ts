/**
 * The library `lmdb` (lmdb-js), loaded when the first environment is opened.
 *
 * Its native part comes as an optional package for each platform. A program that never opens an environment runs without it;
 * one that does gets one error that names what to install. An import would fail before any code of ours runs, and could not
 * be waited for in a synchronous `open`, hence `createRequire`.
 *
 * The interfaces are the part of lmdb-js in use here; its own types leave out half of it (`getBinaryFast`, `env`).
 */
import { createRequire } from 'node:module';
import { LmdbUnavailableError } from './errors.js';

/** A read transaction that stays until `done`: what it shows is one commit. */
export interface LmdbReadTransaction {
  done(): void;
}

export interface ReadOptions {
  /** Read that commit; the last one when left out. */
  readonly transaction?: LmdbReadTransaction;
}

export interface RangeOptions extends ReadOptions {
  readonly start?: Uint8Array;
  readonly end?: Uint8Array;
  readonly values?: boolean;
  readonly limit?: number;
}

/** Keys and values are bytes. Inside a transaction `put` and `remove` are done at once, otherwise they are queued. */
export interface LmdbDatabase {
  /** A buffer that the next read overwrites; `lastSize` bytes of it count. */
  getBinaryFast(key: Uint8Array, options?: ReadOptions): Uint8Array | undefined;
  readonly lastSize: number;
  getBinary(key: Uint8Array, options?: ReadOptions): Uint8Array | undefined;
  getEntry(key: Uint8Array, options?: ReadOptions): { value: Uint8Array; version?: number } | undefined;
  getRange(options: RangeOptions): Iterable<{ key: Uint8Array; value: Uint8Array }>;
  getKeys(options: RangeOptions): Iterable<Uint8Array>;
  put(key: Uint8Array, value: Uint8Array, version?: number): Promise<boolean>;
  remove(key: Uint8Array): Promise<boolean>;
  /**
   * Queues what `action` puts and removes, in any database of the environment, as one transaction that a thread of the library's
   * commits, provided that the entry at `key` has `version` by then. Resolves when it is committed: to false when it had not.
   */
  ifVersion(key: Uint8Array, version: number, action: () => void): Promise<boolean>;
}

export interface LmdbRoot extends LmdbDatabase {
  /** Undefined when there is no such database and `create` is false. */
  openDB(name: string, options: Record<string, unknown>): LmdbDatabase | undefined;
  /** Runs `action` in a transaction and commits it; aborts it when `action` throws. */
  transactionSync<T>(action: () => T): T;
  useReadTransaction(): LmdbReadTransaction;
  /** Lets reads without a transaction of their own see the last commit, not the one that was last when this turn began. */
  resetReadTxn(): void;
  readerCheck(): number;
  readerList(): string;
  close(): Promise<void>;
  readonly env: { info(): { mapSize: number; lastPageNumber: number; lastTxnId: number; maxReaders: number } };
}

export interface LmdbLibrary {
  open(path: string, options: Record<string, unknown>): LmdbRoot;
}

let library: LmdbLibrary | undefined;

/** @throws {@link LmdbUnavailableError} when it, or its native part, cannot be loaded */
export function loadLmdb(): LmdbLibrary {
  try {
    library ??= createRequire(import.meta.url)('lmdb') as LmdbLibrary;
  } catch (cause) {
    const platform = `${process.platform}-${process.arch}`;
    throw new LmdbUnavailableError(
      `cannot use LMDB: the library lmdb, or its native part @lmdb/lmdb-${platform}, could not be loaded; ` +
        'install lmdb with its optional dependencies, or keep the metadata in a file',
      { cause },
    );
  }
  return library;
}
