/**
 * One open LMDB environment: its databases, its transactions, its limit, and what becomes of it after a failure.
 *
 * Durability. The library's default on Linux and macOS, `overlappingSync`, makes a commit visible before it is on the disk and
 * brings back an older one after a loss of power; a promise of it says "visible". It is off here: a commit writes its pages,
 * syncs the file, writes the superblock ("meta page") with O_DSYNC, and only then is visible to readers, in `transactionSync`
 * as in a queued transaction. So what a reader has seen never goes away, and a promise that resolves is durable. The price
 * is two syncs a commit one after the other, with the write lock held meanwhile.
 * `commitDelay` is 0 and batching by event turn is off: what is queued starts in the same turn of the event loop.
 *
 * Queued transactions. They hold no JavaScript: a thread of the library's makes the changes and commits. There is never more
 * than one (`inTurn`), because lmdb 3.5 does not survive one that follows a failed one: it would begin on an environment
 * in LMDB's "panic" state and leave its write lock taken. For the same reason nothing is written any more after the first
 * failed commit of any pool: the environment has to be opened anew.
 *
 * The limit. lmdb-js enlarges the memory map as the file grows; LMDB's own "map full" does not happen. `sizeLimit` is kept here:
 * a commit that cannot possibly pass it is let through; one that might is made in the foreground, where it can be seen
 * whether its pages made the map grow, and given up if they did. A map that has grown once does not tell any more, so that
 * after that only the first kind is taken until the environment is opened anew.
 *
 * Not here: what the entries mean (layout.ts), who may write (environment.ts), what belongs to a commit (pool-writer.ts).
 */
import { StoreError } from '@pdata/device';
import { closedError, deviceFailure, EnvironmentFullError } from './errors.js';
import { blockNrOf, HEAD_SIZE, keyOfBlock, PAGE_SIZE, usedBytes } from './layout.js';
import type { LmdbDatabase, LmdbReadTransaction, LmdbRoot, ReadOptions } from './lmdb-library.js';
import { oldReaderInWords } from './readers.js';

/** The part of a commit's size that does not grow with it: root pages, the path to a leaf in three databases, free lists. */
const FIXED_PAGES = 64;

export interface Databases {
  readonly root: LmdbRoot;
  readonly pdata: LmdbDatabase;
  readonly blocks: LmdbDatabase;
  readonly catalogue: LmdbDatabase;
}

/** What a commit is about to put. */
export interface CommitSize {
  readonly nrBlocks: number;
  readonly recordBytes: number;
}

/** A commit that makes room, and takes a few pages to do so, goes beyond the limit if it has to. */
export const MAKES_ROOM: CommitSize = { nrBlocks: Number.NEGATIVE_INFINITY, recordBytes: 0 };

export class Store {
  readonly root: LmdbRoot;
  readonly pdata: LmdbDatabase;
  readonly blocks: LmdbDatabase;
  readonly catalogue: LmdbDatabase;
  #isClosed = false;
  #failure: StoreError | undefined;
  #lastTurn: Promise<void> = Promise.resolve();
  /** The map is larger than the limit since a commit was given up: growth cannot be seen any more. */
  #isFull = false;

  constructor(
    readonly name: string,
    readonly readOnly: boolean,
    /** Bytes, or infinity. */
    readonly sizeLimit: number,
    databases: Databases,
  ) {
    this.root = databases.root;
    this.pdata = databases.pdata;
    this.blocks = databases.blocks;
    this.catalogue = databases.catalogue;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes of data.mdb that commits have used so far, free ones in between included. */
  get size(): number {
    return (this.root.env.info().lastPageNumber + 1) * PAGE_SIZE;
  }

  requireOpen(): void {
    if (this.#isClosed) throw closedError(this.name);
  }

  /** A commit that failed has made the whole environment unusable for writing. */
  requireWritable(attempted: string): void {
    this.requireOpen();
    if (this.#failure !== undefined) {
      throw deviceFailure(attempted, {
        message: `an earlier commit failed; close the environment ${this.name} and open it again`,
        cause: this.#failure,
      });
    }
  }

  /** What the next read transaction shows: the last commit, whatever was read in this turn of the event loop. */
  snapshot(): LmdbReadTransaction {
    this.requireOpen();
    try {
      this.root.resetReadTxn();
      return this.root.useReadTransaction();
    } catch (cause) {
      throw deviceFailure(`read from ${this.name}`, cause);
    }
  }

  /** Reads a block into 4096 bytes. False, and nothing changed, when it is not stored. */
  readBlock(poolId: number, blockNr: number, into: Uint8Array, options: ReadOptions): boolean {
    const { blocks } = this;
    const head = blocks.getBinaryFast(keyOfBlock(poolId, blockNr, 'head'), options);
    if (head === undefined) return false;
    let used = blocks.lastSize;
    into.set(head.subarray(0, used));
    if (used === HEAD_SIZE) {
      const rest = blocks.getBinaryFast(keyOfBlock(poolId, blockNr, 'rest'), options);
      if (rest !== undefined) {
        into.set(rest.subarray(0, blocks.lastSize), HEAD_SIZE);
        used += blocks.lastSize;
      }
    }
    into.fill(0, used);
    return true;
  }

  /** The first block from `blockNr` on, below `end`, that is stored; `end` when there is none. */
  nextStored(poolId: number, blockNr: number, end: number, options: ReadOptions): number {
    const from = Buffer.from(keyOfBlock(poolId, blockNr, 'head'));
    const to = Buffer.from(keyOfBlock(poolId, end, 'head'));
    for (const key of this.blocks.getKeys({ start: from, end: to, limit: 1, ...options })) return blockNrOf(key);
    return end;
  }

  /** In a transaction. `block` must stay as it is until the transaction is committed. */
  putBlock(poolId: number, blockNr: number, block: Uint8Array): void {
    const used = usedBytes(block);
    if (used === 0) this.removeBlock(poolId, blockNr);
    else {
      void this.blocks.put(keyOfBlock(poolId, blockNr, 'head'), block.subarray(0, Math.min(used, HEAD_SIZE)));
      const rest = keyOfBlock(poolId, blockNr, 'rest');
      if (used > HEAD_SIZE) void this.blocks.put(rest, block.subarray(HEAD_SIZE, used));
      else void this.blocks.remove(rest);
    }
  }

  removeBlock(poolId: number, blockNr: number): void {
    void this.blocks.remove(keyOfBlock(poolId, blockNr, 'head'));
    void this.blocks.remove(keyOfBlock(poolId, blockNr, 'rest'));
  }

  /**
   * Makes the changes of `action` in one transaction and returns when they are durable. An error of `action`'s own aborts it.
   * @throws {@link EnvironmentFullError} {@link DeviceError}
   */
  transact<T>(attempted: string, size: CommitSize, action: () => T): T {
    this.requireWritable(attempted);
    const mayGrow = !this.surelyFits(size);
    if (mayGrow) this.root.readerCheck(); // slots of processes that died keep no pages

    let isCommitting = false;
    try {
      return this.root.transactionSync(() => {
        const result = action();
        if (mayGrow) this.#refuseGrowthPastLimit(attempted);
        isCommitting = true;
        return result;
      });
    } catch (cause) {
      if (cause instanceof StoreError || !(isCommitting || isOfLmdb(cause))) throw cause;
      throw this.#failed(attempted, cause);
    }
  }

  /** Whether a commit of so many blocks and bytes of records is sure to stay within the limit. */
  surelyFits({ nrBlocks, recordBytes }: CommitSize): boolean {
    if (this.sizeLimit === Number.POSITIVE_INFINITY) return true;
    // A block: its page, and at worst a leaf for itself that has to be split. What it replaces is reused by later commits only.
    const pages = FIXED_PAGES + 3 * nrBlocks + Math.ceil((2 * recordBytes) / PAGE_SIZE);
    return this.size + pages * PAGE_SIZE <= this.sizeLimit;
  }

  /**
   * Queues a transaction that `action` describes by its puts and removes, on condition that `key` has `version`.
   * @returns false when it had not, and nothing was changed
   */
  async transactAsync(attempted: string, key: Uint8Array, version: number, action: () => void): Promise<boolean> {
    this.requireWritable(attempted);
    try {
      return await this.pdata.ifVersion(key, version, action);
    } catch (refusal) {
      // "Commit failed (see commitError for details)", where commitError is a promise that is rejected with them.
      const cause = await Promise.resolve((refusal as { commitError?: Promise<unknown> }).commitError).then(
        () => refusal,
        (reason: unknown) => reason,
      );
      throw this.#failed(attempted, cause);
    }
  }

  /** Runs `action` when everybody who asked before is done: one queued transaction at a time. */
  inTurn(action: () => Promise<void>): Promise<void> {
    const turn = this.#lastTurn.then(action);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  /** Waits for what is queued. Whoever uses the store has to be closed before. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#lastTurn;
    await this.root.close();
  }

  #failed(attempted: string, cause: unknown): StoreError {
    const failure = deviceFailure(attempted, cause);
    this.#failure ??= failure;
    return failure;
  }

  #refuseGrowthPastLimit(attempted: string): void {
    if (!this.#isFull && this.root.env.info().mapSize <= this.sizeLimit) return;
    this.#isFull = true;
    const reader = oldReaderInWords(this.root);
    throw new EnvironmentFullError(
      `cannot ${attempted}: the environment ${this.name} would grow beyond its mapSize of ${this.sizeLimit} bytes; ` +
        (reader === undefined ? '' : `${reader}; `) +
        'close it and open it with a larger one',
    );
  }
}

/** Its errors are plain `Error`s with a number for a code. */
const isOfLmdb = (error: unknown): boolean =>
  typeof (error as { code?: unknown }).code === 'number' && !(error instanceof RangeError);
