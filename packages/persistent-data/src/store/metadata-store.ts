/**
 * A program's own store: typed collections under one superblock, with transactions, snapshots, clones and a history.
 *
 * What is synchronous: reading, and the body of a transaction, which is applied as a whole when it returns and undone as a whole
 * when it throws. What is asynchronous: durability. `commit` seals all transactions that have returned so far and resolves when
 * they will survive a crash; transactions go on meanwhile, and commits that wait share their flushes.
 *
 *   transaction    savepoint of the transaction manager; the heads' tables written when it ends
 *   commit         commit-pipeline.ts; store-state.ts says what is sealed
 *   view           a seal shared with the last commit, unless something has changed since
 *   snapshot       one reference more to the table of a state
 *
 * After a commit that failed, what is shown is the last one that is known to be durable, read-only.
 *
 * Format: docs/format/store.md.
 */
import { ClosedError, type MetadataDevice, ReadOnlyError, StoreError } from '@pdata/device';
import { BlockManager } from '../block/block-manager.js';
import { claimDevice } from '../block/claim.js';
import { MAX_METADATA_BLOCKS } from '../space-map/metadata-space-map.js';
import { CommitPipeline } from '../transaction/commit-pipeline.js';
import { CommitError } from '../transaction/target-errors.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { WorkOptions } from '../work.js';
import { copyTo } from './backup.js';
import type { NamedState } from './catalogue.js';
import { checkStore, type StoreReport } from './check.js';
import type { Collection } from './collection.js';
import { compactInto } from './compact.js';
import { type Differences, differences } from './difference.js';
import { NameError, WrongTimeError } from './errors.js';
import type { Head, HeadOwner } from './head.js';
import { Room } from './room.js';
import { BLOCKS_OF_A_RELEASE, RunningTransaction, type StoreSavepoint } from './running-transaction.js';
import type { Collections, Schema, WritableCollections } from './schema.js';
import { SharedSeal } from './shared-seal.js';
import { type CollectionStatistics, statisticsOf } from './statistics.js';
import { StoreState } from './store-state.js';
import { storeSuperblockValidator, writeStoreRoots } from './superblock.js';
import type { SnapshotOptions, Transaction } from './transaction.js';
import { UnitsCollection } from './units.js';
import { directoryOf, reconcile, refuseForeign, refuseOtherSchema } from './upgrade.js';
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
  readonly #blocks: BlockManager;
  readonly #schema: Schema<C>;
  readonly #options: Required<StoreOptions>;
  readonly #unclaim: () => void;
  readonly #pipeline: CommitPipeline<SharedSeal>;
  readonly #views = new Set<View<C>>();
  #state: StoreState;
  #room: Room;
  #collections: WritableCollections<C>;
  /** Savepoints of the transaction under way, outermost first. */
  #savepoints: StoreSavepoint[] | undefined;
  /** Whether anything was changed since the last commit was sealed, and since anything was. */
  #changed = false;
  #seal: SharedSeal;
  #isSealed = true;
  #latestCommit: Promise<void> = Promise.resolve();
  #ended: StoreError | undefined;

  /**
   * Opens the store on `device`; an empty device (block 0 all zeroes) gets a new one. Older schema versions are upgraded, which
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
      throw error;
    }
  }

  private constructor(device: MetadataDevice, schema: Schema<C>, options: StoreOptions, unclaim: () => void) {
    const { cacheBlocks = 16384, history = 0, maxBlocks = MAX_METADATA_BLOCKS } = options;
    const { closesDevice = false, now = Date.now } = options;
    if (!Number.isSafeInteger(history) || history < 0)
      throw new RangeError(`a history keeps a whole number of commits from 0 on, not ${history}`);
    this.#options = { cacheBlocks, history, maxBlocks, closesDevice, now };
    this.#schema = schema;
    this.#unclaim = unclaim;
    const bytes = new Uint8Array(4096);
    device.read(0, bytes);
    this.#blocks = new BlockManager(device, { cacheBlocks });
    const isNew = bytes.every((byte) => byte === 0);
    if (isNew) {
      if (device.readOnly)
        throw new ReadOnlyError(`${device.name} is empty, and open for reading only: a store cannot be made there`);
      if (device.nrBlocks < LEAST_BLOCKS) device.grow(LEAST_BLOCKS);
      this.#blocks.deviceGrew();
      this.#state = StoreState.format(this.#blocks, this.#owner, directoryOf(schema));
      this.#formatCommit();
    } else {
      refuseForeign(bytes, device.name);
      this.#state = StoreState.open(this.#blocks, this.#owner);
      refuseOtherSchema(this.#state.directory, schema, device.name);
    }
    this.#room = new Room(this.#state.tm, maxBlocks);
    this.#seal = new SharedSeal({
      roots: this.#state.roots,
      spaceMap: this.#state.tm.spaceMap.root,
      ...this.#state.latestSealed(),
    });
    this.#pipeline = new CommitPipeline(
      {
        blocks: this.#blocks,
        superblockValidator: storeSuperblockValidator,
        seal: () => this.#sealForCommit(),
        fill: (block, { roots, spaceMap }) => writeStoreRoots(block, roots, spaceMap),
      },
      this.#seal,
    );
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
    return this.#blocks.readOnly;
  }

  get device(): MetadataDevice {
    return this.#blocks.device;
  }

  /**
   * Runs `body`, all or nothing: what it returns is returned, and what it changed is seen at once; what it throws is thrown, and
   * nothing has changed. Durable after the next `commit`.
   *
   * @param body synchronous; it gets the collections of the current state, and what else a transaction can do
   * @throws {@link NoSpaceError} when there is no room
   */
  transaction<T>(body: (collections: WritableCollections<C>, transaction: Transaction<C>) => T): T {
    this.#requireWritable();
    if (this.#savepoints !== undefined)
      throw new WrongTimeError('a transaction is under way already: use its savepoints');
    const state = this.#state;
    this.#savepoints = [];
    const transaction = new RunningTransaction<C>({
      state,
      now: this.#options.now,
      beginChange: (nrBlocks) => this.#beginChange(nrBlocks),
      pushSavepoint: () => this.#pushSavepoint(),
      rollbackTo: (savepoint) => {
        const index = this.#savepoints?.indexOf(savepoint) ?? -1;
        if (index >= 0) this.#rollbackTo(index);
        return index >= 0;
      },
      writable: (head) => this.#writable(head),
      find: (name) => this.#find(name),
    });
    const changedBefore = this.#changed;
    this.#pushSavepoint();
    try {
      const result = body(this.#collections, transaction);
      if (typeof (result as { then?: unknown } | undefined)?.then === 'function')
        refusePromise(result as PromiseLike<unknown>);
      state.tm.requireWhole();
      state.settleHeads();
      while (this.#savepoints.length > 0) this.#savepoints.pop()?.savepoint.release();
      return result;
    } catch (error) {
      this.#rollbackTo(0);
      this.#changed = changedBefore;
      throw error;
    } finally {
      transaction.isOver = true;
      this.#savepoints = undefined;
    }
  }

  /**
   * Makes everything that transactions have done so far one commit. Reading and transactions go on meanwhile; commits asked for
   * while one is on its way share the next.
   *
   * @throws {@link CommitError} when it did not reach the device; the store is read-only then
   */
  async commit(options: CommitOptions = {}): Promise<void> {
    this.#requireWritable();
    this.#refuseInTransaction('commit');
    const { durable = true } = options;
    if (this.#changed) this.#latestCommit = this.#pipeline.commit();
    const done = this.#latestCommit.catch((error: unknown) => this.#commitFailed(error));
    if (durable) await done;
    else done.catch(() => {}); // told by whatever comes next
  }

  /** As {@link commit}, and returns when it is durable. */
  commitSync(): void {
    this.#requireWritable();
    this.#refuseInTransaction('commit');
    if (!this.#changed && !this.#pipeline.isRunning) return;
    try {
      this.#pipeline.commitNow();
    } catch (error) {
      this.#commitFailed(error);
    }
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
        this.#beginChange(BLOCKS_OF_A_RELEASE);
        this.#state.forgetOldest();
        oldest = this.#state.history.first();
      }
    });
  }

  /** A state as it is now, for all reads, whatever is written meanwhile. Close it: it keeps blocks from being used again. */
  view(name?: string | { readonly commit: number }): View<C> {
    this.#requireReadable();
    this.#refuseInTransaction('open a view; use transaction.read');
    const sealed = this.#sealForReading();
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
    const { nrRead, nrWritten } = this.#blocks.counters;
    return { nrBlocks, nrAllocated, nrFree, nrCached: this.#blocks.nrFrames, nrRead, nrWritten };
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
  async check(options: WorkOptions = {}): Promise<StoreReport> {
    const sealed = await this.#sealSettled();
    try {
      return await checkStore(this.#blocks, this.#state.definitions, sealed, options);
    } finally {
      sealed.release();
    }
  }

  /**
   * Copies the last commit to `device`, which is grown as needed, block by block, while transactions go on: an image of this store
   * that opens as it is, snapshots included. The last thing written is its superblock.
   */
  async backup(device: MetadataDevice, options: WorkOptions = {}): Promise<void> {
    const sealed = await this.#sealSettled();
    try {
      await copyTo(this.#blocks, sealed, device, options);
    } finally {
      sealed.release();
    }
  }

  /**
   * As {@link backup}, but dense: blocks in the order of their trees, one after the other, and none that nothing reaches. What is
   * shared stays shared. The copy has the size of what is in use.
   */
  async compact(device: MetadataDevice, options: WorkOptions = {}): Promise<void> {
    const sealed = await this.#sealSettled();
    try {
      await compactInto(this.#blocks, this.#state.definitions, sealed, device, options);
    } finally {
      sealed.release();
    }
  }

  /** Commits what there is, and gives the device free. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#refuseInTransaction('close the store');
    try {
      if (!this.readOnly) await this.commit();
    } finally {
      await this.#pipeline.idle();
      this.#end();
    }
  }

  /** As {@link close}, without waiting for the event loop. */
  [Symbol.dispose](): void {
    if (this.#ended !== undefined) return;
    try {
      if (!this.readOnly) this.commitSync();
    } finally {
      this.#end();
    }
  }

  #end(): void {
    if (this.#ended !== undefined) return;
    this.#ended = new ClosedError(`the store on ${this.device.name} has been closed`);
    for (const view of this.#views) view.end(this.#ended);
    this.#unclaim();
    if (this.#options.closesDevice) this.device.close();
  }

  // What heads ask of the store. An owner serves one StoreState: after a failed commit the old heads are told why they ended.
  readonly #owner = (tm: TransactionManager): HeadOwner => ({
    tm,
    requireReadable: () => this.#requireReadable(tm),
    beginChange: (nrBlocks) => this.#beginChange(nrBlocks),
  });

  #requireReadable(tm?: TransactionManager): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (tm !== undefined && this.#state !== undefined && tm !== this.#state.tm)
      throw new CommitError(
        `a commit to ${this.device.name} has failed, and this collection shows what was lost with it: take it from the store anew`,
      );
  }

  #requireWritable(): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#pipeline.failure !== undefined && !this.#blocks.readOnly) this.#blocks.setReadOnly();
    if (this.#blocks.readOnly)
      throw new ReadOnlyError(
        `the store on ${this.device.name} is read-only: it was opened so, or a commit failed and it has to be opened again`,
      );
  }

  #refuseInTransaction(what: string): void {
    if (this.#savepoints !== undefined)
      throw new WrongTimeError(`a transaction cannot ${what}: its body has to return first`);
  }

  #beginChange(nrBlocks: number): void {
    if (this.#savepoints === undefined) {
      this.#requireWritable();
      throw new WrongTimeError('changes are made in a transaction: store.transaction((collections) => …)');
    }
    this.#room.ensure(nrBlocks);
    this.#changed = true;
    this.#isSealed = false;
  }

  #pushSavepoint(): StoreSavepoint {
    const putBack = this.#state.remember();
    const made = { savepoint: this.#state.tm.savepoint(), putBack };
    this.#savepoints?.push(made);
    return made;
  }

  /** Undoes savepoint `index`, and all within it. */
  #rollbackTo(index: number): void {
    const savepoints = this.#savepoints ?? [];
    try {
      while (savepoints.length > index) {
        const last = savepoints.pop();
        last?.savepoint.rollback();
        last?.putBack();
      }
    } catch (error) {
      this.#commitFailed(error); // the blocks of before cannot be had: nothing can be told of this transaction any more
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
                requireReadable: () => this.#requireReadable(tm),
                beginChange: (_, nrBlocks) => this.#beginChange(nrBlocks),
              },
              name,
              map,
            );
      if (collection !== undefined) found[name] = collection;
    }
    return found as unknown as WritableCollections<C>;
  }

  /** The first commit, which makes a store of an empty device. */
  #formatCommit(): void {
    const state = this.#state;
    state.prepareCommit(0, this.#options.now());
    state.tm.preCommit();
    state.tm.commit(storeSuperblockValidator, (block) => writeStoreRoots(block, state.roots, state.tm.spaceMap.root), {
      formatting: true,
    });
    for (const map of state.maps.values()) map.committed();
  }

  #upgrade(): void {
    this.#requireWritable();
    this.#savepoints = [];
    try {
      this.#beginChange(BLOCKS_OF_A_RELEASE);
      reconcile(
        this.#state,
        this.#schema as unknown as Schema<Collections>,
        this.#owner(this.#state.tm),
        (head) => this.#writable(head) as never,
      );
    } finally {
      this.#savepoints = undefined;
    }
    this.#collections = this.#writable(this.#state.main);
    this.commitSync();
  }

  #sealForCommit(): SharedSeal {
    const state = this.#state;
    const putBack = state.remember();
    const savepoint = state.tm.savepoint();
    try {
      this.#room.ensure(0);
      state.prepareCommit(this.#options.history, this.#options.now());
      savepoint.release();
    } catch (error) {
      savepoint.rollback();
      putBack();
      throw error;
    }
    this.#seal = new SharedSeal(state.seal(true));
    this.#isSealed = true;
    this.#changed = false;
    return this.#seal;
  }

  /** The current state, sealed, for one user more. */
  #sealForReading(): SharedSeal {
    if (this.#isSealed && !this.#seal.isReleased) return this.#seal.use();
    this.#seal = new SharedSeal(this.#state.seal(false));
    this.#isSealed = true;
    return this.#seal;
  }

  /** The last commit, made now if there is something to commit, for one user more: what a reader of raw blocks needs. */
  async #sealSettled(): Promise<SharedSeal> {
    this.#requireReadable();
    this.#refuseInTransaction('be checked or copied');
    if (!this.readOnly) await this.commit();
    return this.#pipeline.durable.use();
  }

  /** What is shown from here on is the last durable commit, and nothing can be changed. */
  #commitFailed(cause: unknown): never {
    const { name } = this.device;
    if (this.#ended !== undefined) throw this.#ended;
    if (
      this.#pipeline.failure === undefined &&
      !this.#blocks.readOnly &&
      cause instanceof StoreError &&
      !(cause instanceof CommitError)
    ) {
      // It could not even be sealed, and nothing has been lost: no room, for instance.
      if (this.#savepoints === undefined) throw cause;
    }
    if (!(cause instanceof CommitError)) this.#goBack();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommitError(
      `the transactions since the last durable commit could not be committed to ${name} (${why}); what is shown now is that commit, read-only: see to the device, then open the store again`,
      { cause },
    );
  }

  #goBack(): void {
    if (this.#wentBack) return;
    this.#wentBack = true;
    this.#blocks.setReadOnly();
    this.#blocks.drop();
    this.#savepoints = undefined;
    const { roots, spaceMap } = this.#pipeline.durable;
    for (const view of [...this.#views])
      view.end(
        new CommitError(`a commit to ${this.device.name} has failed, and the view of ${view.what} ended with it`),
      );
    try {
      this.#state = StoreState.openAt(this.#blocks, this.#owner, roots, spaceMap);
      this.#room = new Room(this.#state.tm, 0);
      this.#collections = this.#writable(this.#state.main);
      this.#seal = new SharedSeal({ roots, spaceMap, ...this.#state.latestSealed() });
      this.#isSealed = true;
      this.#changed = false;
    } catch (error) {
      this.#end();
      throw error;
    }
  }
  #wentBack = false;
}

/** A device smaller than this is grown when a store is made on it. */
const LEAST_BLOCKS = 128;

function refusePromise(result: PromiseLike<unknown>): never {
  result.then(undefined, () => {}); // what it will come to is of no interest any more
  throw new TypeError(
    'the body of a transaction is synchronous, and this one returned a promise: nothing of it has happened',
  );
}
