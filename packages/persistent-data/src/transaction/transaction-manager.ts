/**
 * Copy-on-write over the block manager: which blocks this transaction may write, and the two steps that commit it.
 *
 * A block reachable from the committed superblock is never overwritten. To change one is to *shadow* it: its content is
 * copied to a block that is free both now and in the last commit, and the path above it is shadowed likewise, up to the
 * superblock, whose single write makes all of it visible.
 *
 *   shadowed already   count > 1   what `shadow` does
 *   yes                no          hands out the block itself; nothing is copied or counted
 *   otherwise                      copies to a new block (count 1); the original loses one reference
 *
 * If the original was shared, the copy is one more reader of whatever it points at; `shadow` then has the caller's
 * `incChildren` count that. If it was not, the children simply change hands.
 *
 * A commit: `preCommit` (space map settled, every dirty block written, flush), then `commit` (superblock written, flush).
 * Between the two nothing may be allocated or counted. Two flushes, one superblock write; where a flush of the device is a
 * transaction itself, one flush. Both halves have an asynchronous form: nothing is changed until it has settled, all reads go on.
 *
 * A change that fails half-way (device full, device failing, counts that contradict it) leaves counts that belong to neither
 * state: from then on nothing can be changed, or committed. The target aborts: it drops the cache and opens a new manager.
 *
 * Beside that plain way there are savepoints (savepoint.ts), to which a transaction is rolled back, and `seal`, on which commits
 * stand that others need not wait for (commit-pipeline.ts).
 *
 * Not here: what the superblock says, and putting the roots into it; that is the target's.
 * Format: docs/format/block-and-transaction.md, sections 2 and 3.
 */
import { CorruptBlockError, invariant } from '@pdata/device';
import type { Block, BlockValidator } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import type { SpaceMapRoot } from '../space-map/root.js';
import { AbortRequiredError } from './errors.js';
import { Savepoint } from './savepoint.js';
import type { SealableSpaceMap, SealedCounts } from './space-map.js';

/** What the transaction manager asks of the map of its own device besides counting. */
export interface MetadataSpaceMapInTransaction extends SealableSpaceMap {
  /** What the superblock is to say after `settle`. */
  readonly root: SpaceMapRoot;
  /** `reached` is called when an allocation brings the free blocks down to `nrFree`, and again only after they rose above. */
  setThreshold(nrFree: number, reached: () => void): void;
  /** Blocks that `settle` would allocate now, at most. */
  readonly nrBlocksToSettle: number;
  /** Blocks that can be had before the commit: besides the free ones those that a growth has added. */
  readonly nrObtainable: number;
  /** Makes the two figures of free blocks exact where states are kept from before the last commit. O(blocks). */
  countFree(): void;
  /** Writes what is kept in memory into blocks, so that the map's root describes this transaction. */
  settle(): void;
  /** The committed state is now the current one. */
  committed(): void;
}

/** A state that stays as it is until it is released. */
export interface SealedState extends SealedCounts {
  /** What a superblock is to say of the space map; final when the state was settled. */
  readonly root: SpaceMapRoot;
}

/** Adds one reference to everything `copy` points at, because its original is still read by others. */
export type IncChildren = (copy: Block) => void;

export class TransactionManager {
  readonly blocks: BlockManager;
  /** Blocks allocated by this transaction, one bit each. */
  #shadows: Uint8Array;
  #spaceMap: MetadataSpaceMapInTransaction | undefined;
  /** Set between preCommit and commit. */
  #settled = false;
  /** What left this transaction half changed. An abort begins a new transaction manager. */
  #failure: unknown;
  /** The innermost savepoint there is. */
  #savepoint: Savepoint | undefined;

  constructor(blocks: BlockManager) {
    this.blocks = blocks;
    this.#shadows = new Uint8Array((blocks.nrBlocks + 7) >>> 3);
  }

  /** @internal Ties the knot; see space-map/metadata-space-map.ts. */
  attach(spaceMap: MetadataSpaceMapInTransaction): void {
    this.#spaceMap = spaceMap;
  }

  /** The reference counts of the metadata device. */
  get spaceMap(): MetadataSpaceMapInTransaction {
    invariant(this.#spaceMap !== undefined, 'transaction manager without its space map');
    return this.#spaceMap;
  }

  /** A new block full of zeros, with a count of 1. @throws {@link NoSpaceError} */
  newBlock(validator: BlockValidator): Block {
    this.#refuseLate();
    try {
      const nr = this.spaceMap.newBlock();
      this.#savepoint?.added(nr, this.#isShadow(nr));
      const block = this.blocks.zero(nr, validator);
      this.#addShadow(nr);
      return block;
    } catch (error) {
      return this.#failed(error);
    }
  }

  /**
   * Block `nr`, or its copy, for this transaction to write. The caller stores the number of what it gets where `nr` stood,
   * in a parent that it shadowed before, and does not touch `nr` again.
   *
   * @throws {@link NoSpaceError} when the metadata device is full
   * @throws {@link CorruptBlockError} when `validator` refuses `nr`
   */
  shadow(nr: number, validator: BlockValidator, incChildren: IncChildren | undefined): Block {
    this.#refuseLate();
    this.blocks.read(nr, validator); // what cannot be read is refused before anything is counted
    const shared = this.spaceMap.isShared(nr);
    if (!shared && this.#isShadow(nr)) {
      this.#savepoint?.changes(nr);
      return this.blocks.write(nr, validator);
    }
    this.#refuseOutside(nr, nr + 1);
    try {
      const copyNr = this.spaceMap.newBlock();
      this.#savepoint?.added(copyNr, this.#isShadow(copyNr));
      this.spaceMap.dec(nr);
      const copy = this.blocks.copy(nr, copyNr, validator);
      this.#addShadow(copyNr);
      if (shared) incChildren?.(copy);
      return copy;
    } catch (error) {
      return this.#failed(error);
    }
  }

  read(nr: number, validator: BlockValidator): Block {
    return this.blocks.read(nr, validator);
  }

  /** @throws {@link CorruptBlockError} for blocks outside the space map: their numbers came from a block */
  inc(begin: number, end = begin + 1): void {
    this.#refuseLate();
    this.#refuseOutside(begin, end);
    try {
      this.spaceMap.inc(begin, end);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** As {@link inc}. */
  dec(begin: number, end = begin + 1): void {
    this.#refuseLate();
    this.#refuseOutside(begin, end);
    try {
      this.spaceMap.dec(begin, end);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Takes notice that the device has grown; its space map is extended separately. */
  deviceGrew(): void {
    this.blocks.deviceGrew();
    const grown = new Uint8Array((this.blocks.nrBlocks + 7) >>> 3);
    grown.set(this.#shadows);
    this.#shadows = grown;
  }

  /**
   * Seals the state of now: its blocks are not written again, and none that it has in use is handed out, until it is
   * released. A transaction of its own begins. So a commit can be on its way, or a reader at work, while changes go on.
   *
   * @param settling whether the state is to be committed: the space map's root is final then
   */
  seal(settling: boolean): SealedState {
    this.#refuseLate();
    invariant(this.#savepoint === undefined, 'sealing a transaction that has a savepoint');
    try {
      if (settling) this.blocks.hold(() => this.spaceMap.settle());
    } catch (error) {
      this.#failed(error);
    }
    const { root } = this.spaceMap;
    const counts = this.spaceMap.seal();
    this.#shadows.fill(0);
    return { root, release: () => counts.release() };
  }

  /** A point of the transaction that it can be rolled back to, without touching what came before. They nest. */
  savepoint(): Savepoint {
    this.#refuseLate();
    const savepoint = new Savepoint(this.blocks, this.#savepoint, this.spaceMap.remember(), {
      ended: (outer) => {
        this.#savepoint = outer;
      },
      rolledBack: () => {
        this.#failure = undefined;
      },
    });
    this.#savepoint = savepoint;
    return savepoint;
  }

  /** First half of a commit: afterwards everything but the superblock is durable, and the space map's root is final. */
  preCommit(): void {
    this.#refuseLate();
    try {
      this.#settle();
      if (this.#needsFirstFlush) this.blocks.flush();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** As {@link preCommit}; the event loop is not held up by the flush. */
  async preCommitAsync(): Promise<void> {
    this.#refuseLate();
    try {
      this.#settle();
      if (this.#needsFirstFlush) await this.blocks.flushAsync();
    } catch (error) {
      this.#failed(error);
    }
  }

  /**
   * Second half: the superblock in block 0 is handed to `fill`, written and flushed. When this returns the transaction is
   * durable, and the next one has begun.
   *
   * @param how `formatting`: block 0 is not read, and handed to `fill` full of zeros
   */
  commit(validator: BlockValidator, fill: (superblock: Block) => void, how: { formatting?: boolean } = {}): void {
    this.#refuseUnsettled();
    try {
      fill(how.formatting ? this.blocks.zero(0, validator) : this.blocks.write(0, validator));
      this.blocks.flush();
    } catch (error) {
      this.#failed(error);
    }
    this.#begin();
  }

  /** As {@link commit}; the event loop is not held up by the flush. */
  async commitAsync(validator: BlockValidator, fill: (superblock: Block) => void): Promise<void> {
    this.#refuseUnsettled();
    try {
      fill(this.blocks.write(0, validator));
      await this.blocks.flushAsync();
    } catch (error) {
      this.#failed(error);
    }
    this.#begin();
  }

  /** Without it the superblock could reach the device before what it names. */
  get #needsFirstFlush(): boolean {
    return this.blocks.device.flushIsAtomic !== true;
  }

  #settle(): void {
    this.blocks.hold(() => this.spaceMap.settle());
    this.#settled = true;
  }

  #begin(): void {
    this.#settled = false;
    this.#shadows.fill(0);
    this.spaceMap.committed();
  }

  #refuseUnsettled(): void {
    this.#refuseHalfDone();
    invariant(this.#settled, 'commit without preCommit');
  }

  #refuseLate(): void {
    this.#refuseHalfDone();
    // An allocation after the space map was written would be lost with the commit.
    invariant(!this.#settled, 'the transaction changed between preCommit and commit');
  }

  /** What has been changed since the last savepoint, or the last commit, is half done: `why`. */
  fail(why: unknown): void {
    this.#failure ??= why;
  }

  /** @throws {@link AbortRequiredError} when a change failed half-way, and nothing has been rolled back since */
  requireWhole(): void {
    this.#refuseHalfDone();
  }

  #refuseHalfDone(): void {
    if (this.#failure === undefined) return;
    throw new AbortRequiredError(
      'an earlier change of this transaction failed half-way: abort it, that is, open again from the superblock',
      {
        cause: this.#failure,
      },
    );
  }

  /** Blocks may have been allocated that nothing leads to, or counted once too often: this must not be committed. */
  #failed(error: unknown): never {
    this.#failure ??= error;
    throw error;
  }

  #refuseOutside(begin: number, end: number): void {
    const { nrBlocks } = this.spaceMap;
    if (begin >= 0 && end <= nrBlocks && begin <= end && Number.isInteger(begin) && Number.isInteger(end)) return;
    const outside = begin < nrBlocks && begin >= 0 ? nrBlocks : begin;
    throw new CorruptBlockError({
      structure: 'reference to a metadata block',
      blockNr: outside,
      field: 'block number',
      found: outside,
      expected: `below ${nrBlocks}, the size of the space map`,
    });
  }

  #isShadow(nr: number): boolean {
    return (((this.#shadows[nr >>> 3] as number) >>> (nr & 7)) & 1) === 1;
  }

  #addShadow(nr: number): void {
    this.#shadows[nr >>> 3] = (this.#shadows[nr >>> 3] as number) | (1 << (nr & 7));
  }
}
