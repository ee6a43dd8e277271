/**
 * One transaction after another on a pool: what may begin, what becomes of a change that fails, commit and abort.
 *
 *   before a change   closed, half done and read-only refuse it; so does a lack of metadata blocks, for some are kept back
 *   after it          enough must be left to commit with; if not, or if it failed, it is half done: only an abort is possible
 *   after a commit that failed   the last commit is shown, read-only
 *
 * Not here: what the changes are (thin-metadata.ts), and how they reach the device (pool-state.ts).
 * Format: docs/format/thin.md, section 7 (the reserve); docs/format/block-and-transaction.md, section 3 (commit and abort).
 */
import { ClosedError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { AbortRequiredError, type BlockManager, NoSpaceError } from '@pdata/persistent-data';
import { metadataReserve } from '../format/limits.js';
import type { ThinSuperblock } from '../format/superblock.js';
import { CommitError, CommitRunningError } from './errors.js';
import type { LowWaterMark } from './low-water-mark.js';
import { PoolState } from './pool-state.js';

/** The index block, 255 bitmaps, and what a split may take: with more than that there is no need to count. */
const ENOUGH_FOR_ANY_COMMIT = 300;

/** What a change wants of the free metadata blocks: what gives blocks back may use half of the reserve meanwhile. */
export type Appetite = 'grows' | 'frees' | 'none';

export class PoolTransaction {
  readonly #blocks: BlockManager;
  readonly #preCommit: (() => void) | undefined;
  readonly #unclaim: () => void;
  #state: PoolState;
  #closed = false;
  /** An asynchronous commit is on its way: what it has sealed must not change. */
  #committing = false;
  /** Whether this transaction has changed anything. */
  #changed = false;
  /** Why only an abort is possible. */
  #halfDone: unknown;
  /** The superblock of the last commit: what an abort goes back to. */
  #committed: ThinSuperblock;
  metadataLow: LowWaterMark | undefined;
  dataLow: LowWaterMark | undefined;

  /**
   * @param state just committed, or just opened
   * @param unclaim gives the device up; called once
   * @param preCommit called by every commit before anything is written
   */
  constructor(blocks: BlockManager, state: PoolState, unclaim: () => void, preCommit: (() => void) | undefined) {
    this.#blocks = blocks;
    this.#state = state;
    this.#committed = { ...state.superblock };
    this.#unclaim = unclaim;
    this.#preCommit = preCommit;
  }

  get device(): MetadataDevice {
    return this.#blocks.device;
  }

  get readOnly(): boolean {
    return this.#blocks.readOnly;
  }

  get abortRequired(): boolean {
    return this.#halfDone !== undefined;
  }

  /** What the transaction sees. @throws {@link ClosedError}, {@link AbortRequiredError} */
  get state(): PoolState {
    this.#refuseClosed();
    if (this.#halfDone !== undefined) {
      throw new AbortRequiredError('an earlier change of this transaction failed half-way: only abort() is possible', {
        cause: this.#halfDone,
      });
    }
    return this.#state;
  }

  /** Runs `work`, all or nothing: what it throws leaves the transaction half done, unless it was for want of a data block. */
  change(appetite: Appetite, work: (state: PoolState) => void): void {
    const { state } = this;
    this.#refuseCommitting();
    this.refuseReadOnly();
    const { nrFree, nrBlocks } = state.tm.spaceMap;
    const kept = { grows: 1, frees: 0.5, none: Number.NaN }[appetite] * metadataReserve(nrBlocks);
    if (nrFree <= kept) {
      throw new NoSpaceError(
        'metadata',
        `the metadata device ${this.device.name} has ${nrFree} of ${nrBlocks} blocks free, and those are kept for commits: grow it`,
      );
    }
    this.#changed = true;
    try {
      work(state);
      this.#refuseUncommittable(state);
    } catch (error) {
      // A data block that could not be had leaves everything as it was.
      if (!(error instanceof NoSpaceError && error.of === 'data')) this.#halfDone = error;
      throw error;
    }
    this.#lookAtMarks();
  }

  /** False when there was nothing to commit. @throws {@link CommitError} */
  commit(): boolean {
    const { state } = this;
    this.#refuseCommitting();
    if (!this.#changed) return false;
    this.refuseReadOnly();
    try {
      this.#preCommit?.();
      state.commit();
    } catch (error) {
      this.#commitFailed(error);
    }
    this.#commitDone(state);
    return true;
  }

  async commitAsync(): Promise<boolean> {
    const { state } = this;
    this.#refuseCommitting();
    if (!this.#changed) return false;
    this.refuseReadOnly();
    this.#committing = true;
    try {
      this.#preCommit?.();
      await state.commitAsync();
    } catch (error) {
      this.#committing = false;
      this.#commitFailed(error);
    }
    this.#committing = false;
    this.#commitDone(state);
    return true;
  }

  abort(): void {
    this.#refuseClosed();
    this.#refuseCommitting();
    this.#blocks.drop();
    try {
      this.#state = PoolState.openAt(this.#blocks, this.#committed);
    } catch (error) {
      // The old state has lost its changed blocks: what it would show from here on is neither the one nor the other.
      this.#halfDone = error;
      throw error;
    }
    this.#halfDone = undefined;
    this.#changed = false;
    this.metadataLow?.rearm(this.#state.tm.spaceMap.nrFree);
    this.dataLow?.rearm(this.#state.dataSpaceMap.nrFree);
  }

  close(): void {
    if (this.#closed) return;
    this.#refuseCommitting();
    this.#closed = true;
    this.#unclaim();
  }

  /** @throws {@link ReadOnlyError} */
  refuseReadOnly(): void {
    if (!this.readOnly) return;
    throw new ReadOnlyError(
      `the metadata on ${this.device.name} is read-only: it was opened so, or a commit failed and it has to be opened again`,
    );
  }

  #refuseClosed(): void {
    if (this.#closed) throw new ClosedError(`the metadata on ${this.device.name} has been closed`);
  }

  #refuseCommitting(): void {
    if (!this.#committing) return;
    throw new CommitRunningError(
      `a commit to ${this.device.name} is on its way, and nothing can be changed before it has ended: await it first`,
    );
  }

  #commitDone(state: PoolState): void {
    this.#changed = false;
    this.#committed = { ...state.superblock };
    this.#lookAtMarks();
  }

  /** A change that leaves too little to be committed with is a change that did not fit. */
  #refuseUncommittable(state: PoolState): void {
    const { nrObtainable } = state.tm.spaceMap;
    if (nrObtainable >= ENOUGH_FOR_ANY_COMMIT || nrObtainable >= state.nrBlocksToCommit) return;
    throw new NoSpaceError(
      'metadata',
      `the metadata device ${this.device.name} has too few free blocks for this change and a commit: abort, then grow it`,
    );
  }

  #lookAtMarks(): void {
    const { tm, dataSpaceMap } = this.state;
    this.metadataLow?.look(tm.spaceMap.nrFree);
    this.dataLow?.look(dataSpaceMap.nrFree);
  }

  #commitFailed(cause: unknown): never {
    this.#blocks.setReadOnly();
    let shown = 'what is shown now is the last commit, read-only';
    try {
      this.abort();
    } catch {
      this.close();
      shown = 'and the last commit cannot be read either';
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommitError(
      `the transaction could not be committed to ${this.device.name} (${why}); ${shown}: see to the device, then open it again`,
      { cause },
    );
  }
}
