/**
 * What a pool's writer has changed and not committed, and how it becomes a commit.
 *
 * Changes gather in a stage: blocks, catalogue records, the size. A flush seals the stage, and whatever is written afterwards
 * goes to the next one. Sealed stages have numbers and are committed in order; several that wait become one transaction.
 * A read looks in the newest stage first, then in the sealed ones, then in the environment.
 *
 * Each commit carries the number of its last stage as the LMDB version of the pool's entry, and takes place only on top of
 * the number before it. That is how the synchronous and the queued way get along: a `flush` that comes while a queued
 * transaction waits or runs sees by the version whether that one got through, takes over its stages if not, and leaves it
 * a condition that does not hold any more. A number that is nobody's means that somebody wrote without the lock.
 *
 *      writes →  stage 8   ┐
 *   flush() →    stage 7   ├ sealed ──→ one transaction on condition of version 5, makes it 7
 *   flush() →    stage 6   ┘
 *                version 5 in the environment: what readers see
 *
 * After a commit that failed, all that was staged is dropped and nothing is accepted any more: what is read is the last commit.
 *
 * Spilling. A transaction may be larger than memory should be: when the stage passes `maxStagedBlocks`, its blocks other
 * than block 0 are sealed and committed without being asked for. No committed superblock reaches them (see the block manager
 * of @pdata/persistent-data, "Writing"), so that no reader of the last commit can tell. That happens in the background,
 * unless twice as many blocks wait for it already: so at most three times `maxStagedBlocks` are in memory.
 */
import { BLOCK_SIZE, DeviceError, invariant, type StoreError } from '@pdata/device';
import { encode, keyOfRecord, type PoolRecord, poolKey } from './layout.js';
import { StagedBlocks } from './staged-blocks.js';
import type { CommitSize, Store } from './store.js';

interface Stage {
  readonly blocks: StagedBlocks;
  /** Encoded; undefined: removed. */
  readonly records: Map<string, Uint8Array | undefined>;
  /** Of the pool, after this stage. */
  readonly nrBlocks: number;
}

interface SealedStage extends Stage {
  readonly number: number;
}

interface Waiter {
  readonly number: number;
  resolve(): void;
  reject(failure: StoreError): void;
}

export class PoolWriter {
  readonly #key: Uint8Array;
  #blocks = new StagedBlocks();
  #records = new Map<string, Uint8Array | undefined>();
  #nrBlocks: number;
  /** As the last stage sealed leaves it; as the last commit left it. */
  #sealedNrBlocks: number;
  #committedNrBlocks: number;
  #sealed: SealedStage[] = [];
  /** The last number given to a stage; that of the last commit known to be durable; that of the queued transaction. */
  #lastNumber: number;
  #committed: number;
  #queued: number | undefined;
  #waiters: Waiter[] = [];
  #hasTurn = false;
  #failure: StoreError | undefined;

  constructor(
    readonly store: Store,
    /** For messages: `pool "daily" in /srv/pools`. */
    readonly label: string,
    poolName: string,
    readonly poolId: number,
    state: { readonly nrBlocks: number; readonly commitNr: number },
    readonly maxStagedBlocks: number,
  ) {
    this.#key = poolKey(poolName);
    this.#nrBlocks = state.nrBlocks;
    this.#sealedNrBlocks = state.nrBlocks;
    this.#committedNrBlocks = state.nrBlocks;
    this.#lastNumber = state.commitNr;
    this.#committed = state.commitNr;
  }

  get nrBlocks(): number {
    return this.#nrBlocks;
  }

  grow(nrBlocks: number): void {
    this.#requireSound('grow');
    this.#nrBlocks = nrBlocks;
  }

  /** The newest bytes of a block that is not committed yet, to be copied. */
  findBlock(blockNr: number): Uint8Array | undefined {
    let found = this.#blocks.get(blockNr);
    for (let i = this.#sealed.length - 1; found === undefined && i >= 0; i--) {
      found = this.#sealed[i]?.blocks.get(blockNr);
    }
    return found;
  }

  /** Copies a run of blocks. */
  stageBlocks(firstBlockNr: number, run: Uint8Array): void {
    this.#requireSound('write to');
    const nr = run.byteLength / BLOCK_SIZE;
    for (let index = 0; index < nr; index++) {
      this.#blocks.set(firstBlockNr + index, run, index);
      if (this.#blocks.nrBlocks > this.maxStagedBlocks) this.#spill();
    }
  }

  /** Catalogue records that are not committed yet, oldest stage first, so that a later one of a key counts. */
  *stagedRecords(): Generator<[string, Uint8Array | undefined]> {
    for (const { records } of this.#sealed) yield* records;
    yield* this.#records;
  }

  /** Undefined: nothing is staged for that key. `bytes` undefined: it is removed. */
  findRecord(key: string): { bytes: Uint8Array | undefined } | undefined {
    if (this.#records.has(key)) return { bytes: this.#records.get(key) };
    for (let i = this.#sealed.length - 1; i >= 0; i--) {
      const records = this.#sealed[i]?.records;
      if (records?.has(key)) return { bytes: records.get(key) };
    }
    return undefined;
  }

  stageRecord(key: string, bytes: Uint8Array | undefined): void {
    this.#requireSound('change the catalogue of');
    this.#records.set(key, bytes);
  }

  rollbackRecords(): void {
    this.#records = new Map();
  }

  /** Commits everything staged, in the foreground. */
  flush(): void {
    this.#requireSound('flush');
    this.#seal();
    this.#commitSealed('flush');
  }

  /** Commits everything staged so far, by a thread of the library's. */
  flushAsync(): Promise<void> {
    this.#requireSound('flush');
    this.#seal();
    if (this.#sealed.length === 0) return Promise.resolve();
    const number = this.#lastNumber;
    const flushed = new Promise<void>((resolve, reject) => this.#waiters.push({ number, resolve, reject }));
    this.#queue();
    return flushed;
  }

  /** Commits the staged catalogue records, after the flushes that were asked for, without the blocks staged since. */
  commitRecords(): void {
    this.#requireSound('change the catalogue of');
    if (this.#records.size > 0) {
      this.#push({ blocks: new StagedBlocks(), records: this.#records, nrBlocks: this.#sealedNrBlocks });
      this.#records = new Map();
    }
    this.#commitSealed('change the catalogue of');
  }

  /** Lets the flushes that were asked for end, and forgets what was staged since. */
  close(): void {
    try {
      if (this.#sealed.length > 0 && this.#failure === undefined) this.#commitSealed('flush');
    } catch {
      // Whoever asked for that flush has its promise, and hears of it there.
    }
    this.#dropStaged();
  }

  #requireSound(attempted: string): void {
    this.store.requireWritable(`${attempted} ${this.label}`);
    if (this.#failure === undefined) return;
    throw new DeviceError(
      `cannot ${attempted} ${this.label}: an earlier flush failed, and what it covered is lost; close it and open it again`,
      { cause: this.#failure },
    );
  }

  #seal(): void {
    const isEmpty = this.#blocks.nrBlocks === 0 && this.#records.size === 0;
    if (isEmpty && this.#nrBlocks === this.#sealedNrBlocks) return;
    this.#push({ blocks: this.#blocks, records: this.#records, nrBlocks: this.#nrBlocks });
    this.#blocks = new StagedBlocks();
    this.#records = new Map();
    this.#sealedNrBlocks = this.#nrBlocks;
  }

  #push(stage: Stage): void {
    this.#sealed.push({ ...stage, number: ++this.#lastNumber });
  }

  #spill(): void {
    const early = this.#blocks;
    this.#blocks = new StagedBlocks();
    const superblock = early.get(0);
    if (superblock !== undefined) {
      this.#blocks.set(0, superblock, 0);
      early.delete(0);
    }
    this.#push({ blocks: early, records: new Map(), nrBlocks: this.#sealedNrBlocks });
    if (sizeOf(this.#sealed).nrBlocks > 2 * this.maxStagedBlocks) this.#commitSealed('write to');
    else this.#queue();
  }

  /** Commits all sealed stages now, whatever a queued transaction has come to. */
  #commitSealed(attempted: string): void {
    const last = this.#sealed.at(-1);
    if (last === undefined) return;
    const { store } = this;
    try {
      store.transact(`${attempted} ${this.label}`, sizeOf(this.#sealed), () => {
        const version = store.pdata.getEntry(this.#key)?.version;
        let stages = this.#sealed;
        if (version !== this.#committed) {
          if (version === undefined || version !== this.#queued) throw this.#foreignWriter(attempted);
          stages = stages.filter(({ number }) => number > version);
        }
        if (stages.length > 0) this.#putStages(stages);
      });
    } catch (failure) {
      this.#fail(failure as StoreError);
      throw failure;
    }
    this.#settle(last.number);
  }

  #queue(): void {
    if (this.#hasTurn) return; // it will take along what is sealed by then
    this.#hasTurn = true;
    void this.store.inTurn(async () => {
      this.#hasTurn = false;
      try {
        await this.#commitQueued();
      } catch (failure) {
        this.#fail(failure as StoreError);
      }
    });
  }

  async #commitQueued(): Promise<void> {
    const last = this.#sealed.at(-1);
    if (last === undefined || this.#failure !== undefined) return; // somebody flushed in the foreground meanwhile
    if (!this.store.surelyFits(sizeOf(this.#sealed))) {
      this.#commitSealed('flush');
      return;
    }
    this.#queued = last.number;
    const stages = [...this.#sealed];
    const isCommitted = await this.store
      .transactAsync(`flush ${this.label}`, this.#key, this.#committed, () => this.#putStages(stages))
      .finally(() => {
        this.#queued = undefined;
      });
    if (isCommitted) this.#settle(last.number);
    else if (this.#committed < last.number) throw this.#foreignWriter('flush');
  }

  /** In a transaction. */
  #putStages(stages: readonly SealedStage[]): void {
    const { store, poolId } = this;
    const last = stages.at(-1);
    invariant(last !== undefined, 'a commit of no stages');
    const seen = new Set<number>();
    const records = new Map<string, Uint8Array | undefined>();
    for (const stage of [...stages].reverse()) {
      for (const [blockNr, block] of stage.blocks.entries()) {
        if (seen.has(blockNr)) continue;
        seen.add(blockNr);
        store.putBlock(poolId, blockNr, block);
      }
      for (const [key, bytes] of stage.records) if (!records.has(key)) records.set(key, bytes);
    }
    for (const [key, bytes] of records) {
      if (bytes === undefined) void store.catalogue.remove(keyOfRecord(poolId, key));
      else void store.catalogue.put(keyOfRecord(poolId, key), bytes);
    }
    const pool: PoolRecord = { id: poolId, nrBlocks: last.nrBlocks };
    void store.pdata.put(this.#key, encode(pool), last.number);
  }

  #settle(number: number): void {
    if (number <= this.#committed) return;
    this.#committed = number;
    for (const stage of this.#sealed) if (stage.number <= number) this.#committedNrBlocks = stage.nrBlocks;
    this.#sealed = this.#sealed.filter((stage) => stage.number > number);
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((waiter) => waiter.number > number);
    for (const waiter of waiters) if (waiter.number <= number) waiter.resolve();
  }

  #fail(failure: StoreError): void {
    this.#failure ??= failure;
    this.#dropStaged();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(failure);
  }

  #dropStaged(): void {
    this.#blocks = new StagedBlocks();
    this.#records = new Map();
    this.#sealed = [];
    this.#nrBlocks = this.#committedNrBlocks;
  }

  #foreignWriter(attempted: string): DeviceError {
    return new DeviceError(
      `cannot ${attempted} ${this.label}: somebody else has written to it without its lock; nothing of ours was written; ` +
        'end the other writer, then open the pool again and check it',
    );
  }
}

function sizeOf(stages: readonly Stage[]): CommitSize {
  let nrBlocks = 0;
  let recordBytes = 0;
  for (const { blocks, records } of stages) {
    nrBlocks += blocks.nrBlocks;
    for (const [key, bytes] of records) recordBytes += key.length * 3 + (bytes?.byteLength ?? 0) + 64;
  }
  return { nrBlocks, recordBytes };
}
