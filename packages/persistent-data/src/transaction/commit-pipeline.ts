/**
 * Commits that others need not wait for: a commit seals what there is, the next transaction begins at once, and whoever asked
 * is told when the seal is durable. All who ask before the next seal share it.
 *
 * A commit is two flushes: its blocks, then the superblock that reaches them. While commits follow each other, the superblock of
 * one and the blocks of the next share a flush:
 *
 *   flush      1          2                     3                     4
 *   covers     blocks A   superblock A          superblock B          superblock C
 *                         blocks B              blocks C
 *   afterwards            A is durable          B is durable          C is durable
 *
 * What a crash may bring back: the last durable state, and each one whose superblock is on its way; its blocks are durable then.
 * None of these may lose a block, so each stays sealed until a later one is durable.
 *
 * A device whose flush is a transaction needs one flush a commit, and nothing overlaps.
 *
 * After a flush that failed nothing is known of what reached the medium: everybody who waits is told, the cache takes no more
 * changes, and so does the pipeline.
 */
import type { Block, BlockValidator } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import type { SealedCounts } from './space-map.js';

/** What is committed: the owner of the superblock and of the roots in it. */
export interface CommitSource<S extends SealedCounts> {
  readonly blocks: BlockManager;
  readonly superblockValidator: BlockValidator;
  /** Settles and seals everything up to now. The pipeline releases it when a later state is durable. */
  seal(): S;
  /** Says in the superblock where `state` is. */
  fill(superblock: Block, state: S): void;
}

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

interface Batch<S> {
  readonly state: S;
  readonly sequence: number;
  readonly waiters: readonly Waiter[];
}

export class CommitPipeline<S extends SealedCounts> {
  readonly #source: CommitSource<S>;
  #durable: S;
  /** Of the state that is durable. */
  #durableSequence = 0;
  #sequence = 0;
  #waiting: Waiter[] = [];
  #running: Promise<void> | undefined;
  #failure: unknown;

  /** @param durable the state that the device holds now, sealed */
  constructor(source: CommitSource<S>, durable: S) {
    this.#source = source;
    this.#durable = durable;
  }

  /** The last state known to be durable. */
  get durable(): S {
    return this.#durable;
  }

  /** What made a commit fail; nothing can be committed since. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Whether a commit is on its way. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when everything up to now, at least, is durable. */
  commit(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#running ??= this.#run();
    return done;
  }

  /** Returns when everything up to now is durable. Commits on their way are overtaken, and count as done. */
  commitNow(): void {
    if (this.#failure !== undefined) throw this.#failure;
    const { blocks } = this.#source;
    const batch = { state: this.#source.seal(), sequence: ++this.#sequence, waiters: this.#waiting.splice(0) };
    try {
      if (blocks.device.flushIsAtomic !== true) blocks.flush();
      this.#writeSuperblock(batch);
      blocks.flush();
    } catch (error) {
      this.#fail(error, batch.waiters);
      throw error;
    }
    this.#becameDurable(batch);
  }

  /** Waits until nothing is on its way; says nothing of what became of it. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    // Everybody who asks in this turn of the event loop is to share the seal.
    await Promise.resolve();
    const { blocks } = this.#source;
    const isAtomic = blocks.device.flushIsAtomic === true;
    /** Its blocks are durable, its superblock is not written. */
    let reachable: Batch<S> | undefined;
    let next: Batch<S> | undefined;
    try {
      for (;;) {
        next = this.#sealForWaiters();
        if (isAtomic) [reachable, next] = [next, undefined];
        if (reachable !== undefined) this.#writeSuperblock(reachable);
        else if (next === undefined) break;
        await blocks.flushAsync();
        if (this.#failure !== undefined) throw this.#failure; // a synchronous commit failed meanwhile
        if (reachable !== undefined) this.#becameDurable(reachable);
        [reachable, next] = [next, undefined];
      }
    } catch (error) {
      this.#fail(error, [...(reachable?.waiters ?? []), ...(next?.waiters ?? [])]);
    } finally {
      this.#running = undefined;
    }
  }

  #sealForWaiters(): Batch<S> | undefined {
    if (this.#waiting.length === 0) return undefined;
    const waiters = this.#waiting.splice(0);
    try {
      return { state: this.#source.seal(), sequence: ++this.#sequence, waiters };
    } catch (error) {
      // Nothing has been written of it: what is on its way goes on.
      for (const waiter of waiters) waiter.reject(error);
      return undefined;
    }
  }

  #writeSuperblock({ state, sequence }: Batch<S>): void {
    if (sequence < this.#durableSequence) return; // overtaken by a synchronous commit
    const { blocks, superblockValidator } = this.#source;
    this.#source.fill(blocks.write(0, superblockValidator), state);
  }

  #becameDurable({ state, sequence, waiters }: Batch<S>): void {
    if (sequence > this.#durableSequence) {
      this.#durable.release();
      this.#durable = state;
      this.#durableSequence = sequence;
    } else state.release();
    for (const waiter of waiters) waiter.resolve();
  }

  #fail(error: unknown, waiters: readonly Waiter[]): void {
    this.#failure ??= error;
    this.#source.blocks.setReadOnly();
    for (const waiter of [...waiters, ...this.#waiting.splice(0)]) waiter.reject(error);
  }
}
