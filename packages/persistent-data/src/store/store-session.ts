/**
 * What happens to a store while it is open: changes, commits, failure, the end. `MetadataStore` is its typed face.
 *
 *   transaction    savepoint of the transaction manager; the heads' tables written when it ends
 *   commit         commit-pipeline.ts; store-state.ts says what is sealed
 *   seal           shared by a commit on its way and all readers of the same state (shared-seal.ts)
 *
 * After a commit that failed, the state is the last one that is known to be durable, read-only.
 */
import { ClosedError, type MetadataDevice, ReadOnlyError, StoreError } from '@pdata/device';
import { BlockManager } from '../block/block-manager.js';
import { CommitPipeline } from '../transaction/commit-pipeline.js';
import { CommitError } from '../transaction/target-errors.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Directory } from './directory.js';
import { WrongTimeError } from './errors.js';
import type { HeadOwner } from './head.js';
import { Room } from './room.js';
import type { StoreSavepoint } from './running-transaction.js';
import { SharedSeal } from './shared-seal.js';
import { StoreState } from './store-state.js';
import { BEING_MADE, blockOfUnmadeStore, formatOf, storeSuperblockValidator, writeStoreRoots } from './superblock.js';
import { refuseSlowBody } from './synchronous-body.js';
import { isBlank, refuseContent, refuseForeign } from './upgrade.js';

export interface SessionOptions {
  readonly cacheBlocks: number;
  /** How many of the latest commits stay. */
  readonly history: number;
  /** The device is not grown beyond that. */
  readonly maxBlocks: number;
  readonly now: () => number;
  /** Of a store that is made on an empty device. */
  readonly newDirectory: () => Directory;
  /** A commit has failed, and the state is another one: what was opened from the old one is over. */
  readonly onWentBack: () => void;
  /** The session is over: whatever was opened is, too. */
  readonly onEnd: (why: ClosedError) => void;
}

/** A device smaller than this is grown when a store is made on it. */
const LEAST_BLOCKS = 128;

export class StoreSession {
  readonly blocks: BlockManager;
  readonly #options: SessionOptions;
  readonly #pipeline: CommitPipeline<SharedSeal>;
  #state: StoreState;
  #room: Room;
  /** Savepoints of the transaction under way, outermost first. */
  #savepoints: StoreSavepoint[] | undefined;
  /** Whether anything was changed since the last commit was sealed, and since anything was. */
  #changed = false;
  #seal: SharedSeal;
  #isSealed = true;
  #latestCommit: Promise<void> = Promise.resolve();
  #ended: StoreError | undefined;
  #wentBack = false;

  /** Opens what is on `device`, or makes a store of an empty one, which is one commit. */
  constructor(device: MetadataDevice, options: SessionOptions) {
    this.#options = options;
    const bytes = new Uint8Array(4096);
    device.read(0, bytes);
    this.blocks = new BlockManager(device, { cacheBlocks: options.cacheBlocks });
    const isZero = isBlank(bytes);
    if (isZero) refuseContent(device);
    if (isZero || formatOf(bytes) === BEING_MADE) this.#state = this.#format();
    else {
      refuseForeign(bytes, device.name);
      this.#state = StoreState.open(this.blocks, this.#owner);
    }
    this.#room = new Room(this.#state.tm, options.maxBlocks);
    this.#seal = new SharedSeal({
      roots: this.#state.roots,
      spaceMap: this.#state.tm.spaceMap.root,
      ...this.#state.latestSealed(),
    });
    this.#pipeline = new CommitPipeline(
      {
        blocks: this.blocks,
        superblockValidator: storeSuperblockValidator,
        seal: () => this.#sealForCommit(),
        fill: (block, { roots, spaceMap }) => writeStoreRoots(block, roots, spaceMap),
      },
      this.#seal,
    );
  }

  get state(): StoreState {
    return this.#state;
  }

  get device(): MetadataDevice {
    return this.blocks.device;
  }

  get readOnly(): boolean {
    return this.blocks.readOnly;
  }

  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** What the heads of the state ask of the session. */
  get owner(): HeadOwner {
    return this.#owner(this.#state.tm);
  }

  /** @param tm of what is to be read, if that was opened before: it may have ended with a failed commit */
  requireReadable(tm?: TransactionManager): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (tm !== undefined && this.#state !== undefined && tm !== this.#state.tm)
      throw new CommitError(
        `a commit to ${this.device.name} has failed, and this collection shows what was lost with it: take it from the store anew`,
      );
  }

  requireWritable(): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#pipeline.failure !== undefined && !this.blocks.readOnly) this.blocks.setReadOnly();
    if (this.blocks.readOnly)
      throw new ReadOnlyError(
        `the store on ${this.device.name} is read-only: it was opened so, or a commit failed and it has to be opened again`,
      );
  }

  refuseInTransaction(what: string): void {
    if (this.#savepoints !== undefined)
      throw new WrongTimeError(`a transaction cannot ${what}: its body has to return first`);
  }

  /** Runs `body`, all or nothing. What it returns must not be a promise. */
  transaction<T>(body: () => T): T {
    this.requireWritable();
    if (this.#savepoints !== undefined)
      throw new WrongTimeError('a transaction is under way already: use its savepoints');
    const state = this.#state;
    this.#savepoints = [];
    const changedBefore = this.#changed;
    const handBackUnits = state.withholdFreedUnits();
    try {
      this.pushSavepoint();
      const result = body();
      refuseSlowBody(result, 'the body of a transaction');
      state.tm.requireWhole();
      state.settleHeads();
      while (this.#savepoints.length > 0) this.#savepoints.pop()?.savepoint.release();
      return result;
    } catch (error) {
      this.#rollbackTo(0);
      this.#changed = changedBefore;
      throw error;
    } finally {
      handBackUnits();
      this.#savepoints = undefined;
    }
  }

  /** Changes that cannot be undone, and are committed before anything else happens. */
  upgrade(work: () => void): void {
    this.requireWritable();
    this.#savepoints = [];
    try {
      work();
    } finally {
      this.#savepoints = undefined;
    }
  }

  /** Before each change: there is a transaction, and so many blocks can be had. */
  beginChange(nrBlocks: number): void {
    if (this.#savepoints === undefined) {
      this.requireWritable();
      throw new WrongTimeError('changes are made in a transaction: store.transaction((collections) => …)');
    }
    this.#room.ensure(nrBlocks);
    this.#changed = true;
    this.#isSealed = false;
  }

  pushSavepoint(): StoreSavepoint {
    const putBack = this.#state.remember();
    const made = { savepoint: this.#state.tm.savepoint(), putBack };
    this.#savepoints?.push(made);
    return made;
  }

  /** Undoes `savepoint`, and all within it; false when it is gone. */
  rollbackTo(savepoint: StoreSavepoint): boolean {
    const index = this.#savepoints?.indexOf(savepoint) ?? -1;
    if (index >= 0) this.#rollbackTo(index);
    return index >= 0;
  }

  /** Resolves when everything up to now is durable. */
  async commit(): Promise<void> {
    if (this.#changed) this.#latestCommit = this.#pipeline.commit();
    await this.#latestCommit.catch((error: unknown) => this.#commitFailed(error));
  }

  commitSync(): void {
    if (!this.#changed && !this.#pipeline.isRunning) return;
    try {
      this.#pipeline.commitNow();
    } catch (error) {
      this.#commitFailed(error);
    }
  }

  /** The current state, sealed, for one user more. */
  sealForReading(): SharedSeal {
    if (this.#isSealed && !this.#seal.isReleased) return this.#seal.use();
    this.#seal = new SharedSeal(this.#state.seal(false));
    this.#isSealed = true;
    return this.#seal;
  }

  /** The last commit, made now if there is something to commit, for one user more: what a reader of raw blocks needs. */
  async sealSettled(): Promise<SharedSeal> {
    this.requireReadable();
    this.refuseInTransaction('be checked or copied');
    if (!this.readOnly) {
      this.requireWritable();
      await this.commit();
    }
    return this.#pipeline.durable.use();
  }

  /** Waits until no commit is on its way. */
  idle(): Promise<void> {
    return this.#pipeline.idle();
  }

  end(): void {
    if (this.#ended !== undefined) return;
    const why = new ClosedError(`the store on ${this.device.name} has been closed`);
    this.#ended = why;
    this.#options.onEnd(why);
  }

  // An owner serves one StoreState: after a failed commit the old heads are told why they ended.
  readonly #owner = (tm: TransactionManager): HeadOwner => ({
    tm,
    requireReadable: () => this.requireReadable(tm),
    beginChange: (nrBlocks) => this.beginChange(nrBlocks),
  });

  /** Makes a store of an empty device: the first commit. */
  #format(): StoreState {
    const { device } = this.blocks;
    if (device.readOnly)
      throw new ReadOnlyError(`${device.name} is empty, and open for reading only: a store cannot be made there`);
    if (device.nrBlocks < LEAST_BLOCKS) device.grow(LEAST_BLOCKS);
    this.blocks.deviceGrew();
    device.write(0, blockOfUnmadeStore());
    device.flush();
    const state = StoreState.format(this.blocks, this.#owner, this.#options.newDirectory());
    state.prepareCommit(0, this.#options.now());
    state.tm.preCommit();
    state.tm.commit(storeSuperblockValidator, (block) => writeStoreRoots(block, state.roots, state.tm.spaceMap.root), {
      formatting: true,
    });
    for (const map of state.maps.values()) map.committed();
    return state;
  }

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

  /** What is shown from here on is the last durable commit, and nothing can be changed. */
  #commitFailed(cause: unknown): never {
    const { name } = this.device;
    if (this.#ended !== undefined) throw this.#ended;
    if (
      this.#pipeline.failure === undefined &&
      !this.blocks.readOnly &&
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
    this.blocks.setReadOnly();
    this.blocks.drop();
    this.#savepoints = undefined;
    const { roots, spaceMap } = this.#pipeline.durable;
    try {
      this.#state = StoreState.openAt(this.blocks, this.#owner, roots, spaceMap);
      this.#room = new Room(this.#state.tm, 0);
      this.#seal = new SharedSeal({ roots, spaceMap, ...this.#state.latestSealed() });
      this.#isSealed = true;
      this.#changed = false;
      this.#options.onWentBack();
    } catch (error) {
      this.end();
      throw error;
    }
  }
}
