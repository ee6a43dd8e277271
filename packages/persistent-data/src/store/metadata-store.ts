/**
 * A program's own store: typed collections under one superblock, with transactions, snapshots, clones and a history.
 *
 * What is synchronous: reading, and the body of a transaction, which is applied as a whole when it returns and undone as a whole
 * when it throws. What is asynchronous: durability. `commit` seals all transactions that have returned so far and resolves when
 * they will survive a crash; transactions go on meanwhile, and commits that wait share their flushes.
 *
 * This is what programs see, with the types of their schema; what happens is in store-session.ts.
 *
 * Format: docs/format/store.md.
 */
import { type ClosedError, CorruptBlockError, type MetadataDevice, type StoreError } from '@pdata/device';
import { claimDevice } from '../block/claim.js';
import { MAX_METADATA_BLOCKS } from '../space-map/metadata-space-map.js';
import { CommitError } from '../transaction/target-errors.js';
import type { WorkOptions } from '../work.js';
import { copyTo } from './backup.js';
import type { NamedState } from './catalogue.js';
import { checkStore, type StoreReport } from './check.js';
import type { Collection } from './collection.js';
import { compactInto } from './compact.js';
import { type Differences, differences } from './difference.js';
import { NameError } from './errors.js';
import type { Head } from './head.js';
import { BLOCKS_OF_A_RELEASE, RunningTransaction } from './running-transaction.js';
import type { Collections, Schema, WritableCollections } from './schema.js';
import type { SharedSeal } from './shared-seal.js';
import { type CollectionStatistics, statisticsOf } from './statistics.js';
import { StoreSession } from './store-session.js';
import type { StoreState } from './store-state.js';
import type { SnapshotOptions, Transaction } from './transaction.js';
import { UnitsCollection } from './units.js';
import { directoryOf, reconcile, refuseOtherSchema } from './upgrade.js';
import { View } from './view.js';

export interface StoreOptions {
  /** Blocks of 4096 bytes kept in memory; 16 384 (64 MiB) unless told. */
  readonly cacheBlocks?: number;
  /** How many of the latest commits stay readable by `at`; none unless told. */
  readonly history?: number;
  /** The device is grown on demand, to this many blocks at most; 0: not at all. Unless told, as far as the format reaches (15.9 GiB). */
  readonly maxBlocks?: number;
  /** Default false. True: closing the store closes the device. */
  readonly closesDevice?: boolean;
  /** What time it is, in milliseconds since 1970; `Date.now` unless told. */
  readonly now?: () => number;
}

export interface CommitOptions {
  /** Default true: resolves when the commit is durable. False: resolves at once; the commit is on its way. */
  readonly durable?: boolean;
}

/** How much room there is, in blocks of 4096 bytes. */
export interface StoreSpace {
  readonly nrBlocks: number;
  /** In use by any state: the current one, snapshots, clones, the history. */
  readonly nrAllocated: number;
  /** That can be used without growing, at least. */
  readonly nrFree: number;
  /** Kept in memory, at the moment. */
  readonly nrCached: number;
  /** Read from the device and written to it since the store was opened. */
  readonly nrRead: number;
  readonly nrWritten: number;
}

/** A state by name: a snapshot or clone, a commit of the history, a view; undefined for the current state. */
export type StateName<C extends Collections> = string | { readonly commit: number } | View<C> | undefined;

export class MetadataStore<C extends Collections> {
  readonly #session: StoreSession;
  readonly #schema: Schema<C>;
  readonly #closesDevice: boolean;
  readonly #now: () => number;
  readonly #unclaim: () => void;
  readonly #views = new Set<View<C>>();
  #collections: WritableCollections<C>;

  /**
   * Opens the store on `device`; an empty device (its first mebibyte all zeroes) gets a new one. Older schema versions are upgraded, which
   * is one commit; nothing else is written.
   *
   * @throws {@link NotAStoreError} when the device holds something else, or a format of a later version
   * @throws {@link SchemaError} when the store has another schema, or a later version of it
   * @throws {@link DeviceBusyError} when it is open already
   * @throws {@link CorruptBlockError} when it is damaged
   */
  static open<C extends Collections>(
    device: MetadataDevice,
    schema: Schema<C>,
    options: StoreOptions = {},
  ): MetadataStore<C> {
    const unclaim = device.readOnly ? (): void => {} : claimDevice(device);
    try {
      return new MetadataStore(device, schema, options, unclaim);
    } catch (error) {
      unclaim();
      if (error instanceof CorruptBlockError)
        error.message = `the store on ${device.name} is damaged: ${error.message}; nothing has been changed: put back a copy of it`;
      throw error;
    }
  }

  private constructor(device: MetadataDevice, schema: Schema<C>, options: StoreOptions, unclaim: () => void) {
    const { cacheBlocks = 16384, history = 0, maxBlocks = MAX_METADATA_BLOCKS } = options;
    const { closesDevice = false, now = Date.now } = options;
    if (!Number.isSafeInteger(history) || history < 0)
      throw new RangeError(`a history keeps a whole number of commits from 0 on, not ${history}`);
    if (!(maxBlocks >= 0)) throw new RangeError(`a store is grown to a number of blocks at most, not to ${maxBlocks}`);
    this.#schema = schema;
    this.#closesDevice = closesDevice;
    this.#now = now;
    this.#unclaim = unclaim;
    this.#session = new StoreSession(device, {
      cacheBlocks,
      history,
      maxBlocks,
      now,
      newDirectory: () => directoryOf(schema),
      onWentBack: () => this.#wentBack(),
      onEnd: (why) => this.#end(why),
    });
    refuseOtherSchema(this.#state.directory, schema, device.name);
    this.#collections = this.#writable(this.#state.main);
    if (this.#state.directory.schemaVersion < schema.version) this.#upgrade();
  }

  /** The current state: for reading at any time, for changes inside a transaction. */
  get collections(): WritableCollections<C> {
    return this.#collections;
  }

  /** Number of the last commit that was sealed; it may still be on its way. */
  get commitNr(): number {
    return this.#state.commitNr;
  }

  /** True when the device is, or a commit has failed. */
  get readOnly(): boolean {
    return this.#session.readOnly;
  }

  get device(): MetadataDevice {
    return this.#session.device;
  }

  /**
   * Runs `body`, all or nothing: what it returns is returned, and what it changed is seen at once; what it throws is thrown, and
   * nothing has changed. Durable after the next `commit`.
   *
   * @param body synchronous; it gets the collections of the current state, and what else a transaction can do
   * @throws {@link NoSpaceError} when there is no room
   */
  transaction<T>(body: (collections: WritableCollections<C>, transaction: Transaction<C>) => T): T {
    const session = this.#session;
    const transaction = new RunningTransaction<C>({
      state: session.state,
      now: this.#now,
      beginChange: (nrBlocks) => session.beginChange(nrBlocks),
      pushSavepoint: () => session.pushSavepoint(),
      rollbackTo: (savepoint) => session.rollbackTo(savepoint),
      writable: (head) => this.#writable(head),
      find: (name) => this.#find(name),
    });
    try {
      return session.transaction(() => body(this.#collections, transaction));
    } finally {
      transaction.isOver = true;
    }
  }

  /**
   * Makes everything that transactions have done so far one commit. Reading and transactions go on meanwhile; commits asked for
   * while one is on its way share the next.
   *
   * @throws {@link CommitError} when it did not reach the device; the store is read-only then
   */
  async commit(options: CommitOptions = {}): Promise<void> {
    this.#session.requireWritable();
    this.#session.refuseInTransaction('commit');
    const { durable = true } = options;
    const done = this.#session.commit();
    if (durable) await done;
    else done.catch(() => {}); // told by whatever comes next
  }

  /** As {@link commit}, and returns when it is durable. */
  commitSync(): void {
    this.#session.requireWritable();
    this.#session.refuseInTransaction('commit');
    this.#session.commitSync();
  }

  /** Names the current state, or a clone's. O(1). A transaction of its own; durable after the next `commit`. */
  snapshot(name: string, options?: SnapshotOptions): void {
    this.transaction((_, transaction) => transaction.snapshot(name, options));
  }

  /** A state that can be changed: a copy of a snapshot, of a clone or, without `from`, of the current state. O(1). */
  clone(name: string, from?: string): void {
    this.transaction((_, transaction) => transaction.clone(name, from));
  }

  /** Forgets a snapshot or clone, in any order. Its blocks can be used again after the next `commit`. */
  drop(name: string): void {
    this.transaction((_, transaction) => transaction.drop(name));
  }

  /** Makes what a snapshot or clone holds the current state. */
  restore(name: string): void {
    this.transaction((_, transaction) => transaction.restore(name));
  }

  /** Snapshots and clones, in the order in which they were made. */
  names(): NamedState[] {
    this.#requireReadable();
    return this.#state.catalogue.list();
  }

  /** The commits that `at` can show, oldest first. */
  commits(): { commit: number; time: number }[] {
    this.#requireReadable();
    return [...this.#state.history].map(({ key, value }) => ({ commit: key, time: value.time }));
  }

  /** Lets go of the commits of the history before `commit`. */
  forget(commit: number): void {
    this.transaction(() => {
      for (let oldest = this.#state.history.first(); oldest !== undefined && oldest.key < commit; ) {
        this.#session.beginChange(BLOCKS_OF_A_RELEASE);
        this.#state.forgetOldest();
        oldest = this.#state.history.first();
      }
    });
  }

  /** A state as it is now, for all reads, whatever is written meanwhile. Close it: it keeps blocks from being used again. */
  view(name?: string | { readonly commit: number }): View<C> {
    this.#requireReadable();
    this.#session.refuseInTransaction('open a view; use transaction.read');
    const sealed = this.#session.sealForReading();
    try {
      const { what, stateNr } = this.#find(name);
      const view = new View<C>(this.#state.tm, this.#state.definitions.current, { what, stateNr, sealed }, (closed) =>
        this.#views.delete(closed),
      );
      this.#views.add(view);
      return view;
    } catch (error) {
      sealed.release();
      throw error;
    }
  }

  /** The state of a commit that the history keeps. @throws {@link NameError} */
  at(commit: number): View<C> {
    return this.view({ commit });
  }

  /**
   * What differs between two states, by collection: keys in order, with the values before and after. At a cost that follows
   * the differences; what the two share is not looked at. Each iterable sees both states as they are when its iteration begins.
   */
  diff(before: StateName<C>, after: StateName<C>): Differences<C> {
    this.#requireReadable();
    return differences(this.#state.definitions.current, this.#state.tm, () => {
      const [a, b] = [before, after].map((state) => (state instanceof View ? undefined : this.view(state)));
      return {
        before: a?.stateNr ?? (before as View<C>).stateNr,
        after: b?.stateNr ?? (after as View<C>).stateNr,
        close: () => {
          a?.close();
          b?.close();
        },
      };
    });
  }

  /** How full the store is. O(1). */
  get space(): StoreSpace {
    this.#requireReadable();
    const { nrBlocks, nrAllocated, nrFree } = this.#state.tm.spaceMap;
    const { nrRead, nrWritten } = this.#session.blocks.counters;
    return { nrBlocks, nrAllocated, nrFree, nrCached: this.#session.blocks.nrFrames, nrRead, nrWritten };
  }

  /** Depth, entries and blocks of each collection of a state, and how many of those others share. O(n). */
  statistics(name?: string | { readonly commit: number }): Record<string, CollectionStatistics> {
    using view = this.view(name);
    return statisticsOf(this.#state.tm, this.#state.definitions.current, view.stateNr);
  }

  /**
   * Reads everything that any state reaches, counts each block's references, and compares that with what the space maps say. Goes on
   * beside transactions, on the state of the moment.
   */
  check(options: WorkOptions = {}): Promise<StoreReport> {
    return this.#onLastCommit((sealed) => checkStore(this.#session.blocks, this.#state.definitions, sealed, options));
  }

  /**
   * Copies the last commit to `device`, which is grown as needed, block by block, while transactions go on: an image of this store
   * that opens as it is, snapshots included. The last thing written is its superblock.
   */
  backup(device: MetadataDevice, options: WorkOptions = {}): Promise<void> {
    return this.#onLastCommit((sealed) => copyTo(this.#session.blocks, sealed, device, options));
  }

  /**
   * As {@link backup}, but dense: blocks in the order of their trees, one after the other, and none that nothing reaches. What is
   * shared stays shared. The copy has the size of what is in use.
   */
  compact(device: MetadataDevice, options: WorkOptions = {}): Promise<void> {
    return this.#onLastCommit((sealed) =>
      compactInto(this.#session.blocks, this.#state.definitions, sealed, device, options),
    );
  }

  /** Commits what there is, and gives the device free. */
  async close(): Promise<void> {
    const session = this.#session;
    if (session.isEnded) return;
    session.refuseInTransaction('close the store');
    try {
      if (!this.readOnly) await this.commit();
    } finally {
      await session.idle();
      session.end();
    }
  }

  /** As {@link close}, without waiting for the event loop. */
  [Symbol.dispose](): void {
    if (this.#session.isEnded) return;
    try {
      if (!this.readOnly) this.commitSync();
    } finally {
      this.#session.end();
    }
  }

  get #state(): StoreState {
    return this.#session.state;
  }

  #requireReadable(): void {
    this.#session.requireReadable();
  }

  async #onLastCommit<T>(work: (sealed: SharedSeal) => Promise<T>): Promise<T> {
    const sealed = await this.#session.sealSettled();
    try {
      return await work(sealed);
    } finally {
      sealed.release();
    }
  }

  #find(name: string | { readonly commit: number } | undefined): { what: string; stateNr: number } {
    const state = this.#state;
    if (name === undefined) return { what: 'the current state', stateNr: state.main.stateNr };
    if (typeof name === 'string') {
      const { kind, stateNr } = state.catalogue.get(name);
      return { what: `${kind} ${JSON.stringify(name)}`, stateNr };
    }
    const entry = state.history.lookup(name.commit);
    if (entry === undefined) {
      const [first, last] = [state.history.first(), state.history.last()];
      throw new NameError(
        `commit ${name.commit} is not kept: ${first === undefined || last === undefined ? 'no commit is, for the store was opened without a history' : `commits ${first.key} to ${last.key} are`}`,
      );
    }
    return { what: `commit ${name.commit}`, stateNr: entry.stateNr };
  }

  #writable(head: Head): WritableCollections<C> {
    const found: Record<string, Collection> = {};
    const { tm } = this.#state;
    for (const { id, name } of this.#state.definitions.current) {
      const map = this.#state.maps.get(id);
      const collection =
        map === undefined
          ? head.collections.get(name)
          : new UnitsCollection(
              {
                tm,
                requireReadable: () => this.#session.requireReadable(tm),
                beginChange: (_, nrBlocks) => this.#session.beginChange(nrBlocks),
              },
              name,
              map,
            );
      if (collection !== undefined) found[name] = collection;
    }
    return found as unknown as WritableCollections<C>;
  }

  #upgrade(): void {
    const session = this.#session;
    session.upgrade(() => {
      session.beginChange(BLOCKS_OF_A_RELEASE);
      reconcile(
        this.#state,
        this.#schema as unknown as Schema<Collections>,
        session.owner,
        (head) => this.#writable(head) as never,
      );
    });
    this.#collections = this.#writable(this.#state.main);
    this.commitSync();
  }

  /** A commit has failed: the state is the last durable one. */
  #wentBack(): void {
    this.#endViews(
      (view) =>
        new CommitError(`a commit to ${this.device.name} has failed, and the view of ${view.what} ended with it`),
    );
    this.#collections = this.#writable(this.#state.main);
  }

  #end(why: ClosedError): void {
    this.#endViews(() => why);
    this.#unclaim();
    if (this.#closesDevice) this.device.close();
  }

  #endViews(why: (view: View<C>) => StoreError): void {
    for (const view of [...this.#views]) view.end(why(view));
  }
}
