/**
 * What a pool is behind its interface: the metadata and how it may be changed, commits, failures, modes.
 *
 * *Changes.* Everything that changes the metadata is behind a gate that a commit closes: from the allocation of a data
 * block to the insertion of its mapping, so that no commit ever contains a data block that nothing maps, and a crash leaks
 * nothing. Reading goes on meanwhile, and so does writing to blocks that a volume has for itself.
 *
 * *Commit.* Gate closed; data device flushed, so that what the metadata is about to make reachable is durable; metadata
 * committed; what was discarded passed down to the data device, for no state that a crash could bring back needs it now; gate
 * opened. Who asks for a commit while one is running is covered by the next.
 *
 * *Failure.* A change that fails half-way and a commit that fails throw the whole transaction away: the metadata is again
 * as the last commit left it, volumes with changes in it cannot be flushed any more, needs_check is set, the pool is read-only.
 *
 * Not here: what requests do (block-io.ts, provisioning.ts, discards.ts), what may be asked of a pool (thin-pool.ts).
 * Format: docs/format/thin.md, sections 6 to 9.
 */
import { ClosedError, type DataDevice, type MetadataDevice, SECTOR_SIZE } from '@pdata/device';
import {
  AbortedChangesError,
  BlockBuffers,
  CommitTimer,
  Gate,
  inWords,
  Listeners,
  SharedRun,
} from '@pdata/device/engine';
import { MAX_METADATA_BLOCKS, NoSpaceError } from '@pdata/persistent-data';
import { CommitError, ResizeError } from '../metadata/errors.js';
import { type OpenThinMetadataOptions, ThinMetadata } from '../metadata/thin-metadata.js';
import { PoolModeError } from './errors.js';
import type { ThinPoolEvents } from './events.js';
import { FreedBlocks } from './freed-blocks.js';
import type { OpenThin } from './open-thin.js';
import type { PoolSettings } from './options.js';
import { canChange, modeInWords, type PoolMode } from './pool-mode.js';
import { SpaceWaiters } from './space-waiters.js';

/** Bytes; data blocks are copied in pieces of at most so many. */
const LARGEST_BUFFER = 2 ** 20;
/** Bytes in buffers of one kind, about. */
const BUFFERED = 16 * 2 ** 20;
/** Metadata blocks that a request's changes and their commit take, with much to spare. */
const MOST_OF_A_CHANGE = 32;
/** With so many blocks in reserve a change that may begin has room to end, and to be committed. */
const ENOUGH_RESERVE = 2 * MOST_OF_A_CHANGE;

export class PoolCore {
  readonly data: DataDevice;
  readonly settings: PoolSettings;
  readonly events = new Listeners<ThinPoolEvents>();
  /** Bytes of a data block. */
  readonly blockSize: number;
  /** Thin devices with open volumes. */
  readonly opened = new Map<number, OpenThin>();
  /** Between allocating a data block and mapping it, and around every other change, one is inside. */
  readonly changes = new Gate();
  /** Writes that wait for a free data block. */
  readonly space: SpaceWaiters;
  /** What discards freed in this transaction. */
  readonly freed = new FreedBlocks();
  /** For blocks that are copied. */
  readonly buffers: BlockBuffers;
  /** For blocks that are zeroed: full of zeros when they are given back. */
  readonly zeroBuffers: BlockBuffers;
  /** Whether discards go down to the data device. */
  readonly passesDiscards: boolean;
  /** Whether the data device zeroes blocks quicker than it writes them. */
  readonly zeroesQuickly: boolean;

  readonly #metadataDevice: MetadataDevice;
  readonly #metadataOptions: OpenThinMetadataOptions;
  readonly #commits = new SharedRun(() => this.#commit());
  readonly #dataFlushes = new SharedRun(() => this.data.flush());
  readonly #timer: CommitTimer;
  /** When a commit on time began, if there is one. */
  #onTimeSince: number | undefined;
  #metadata: ThinMetadata;
  #mode: PoolMode;
  #needsCheck = false;
  #closed = false;
  #nrChanges = 0;
  #nrCommitted = 0;
  #nrAborts = 0;
  /** Those that took others' changes with them. */
  #nrLosses = 0;
  #dataLowTold = false;
  #metadataLowTold = false;
  /** The transaction consists of one request's changes. */
  #alone = false;

  constructor(
    metadata: ThinMetadata,
    metadataDevice: MetadataDevice,
    data: DataDevice,
    settings: PoolSettings,
    metadataOptions: OpenThinMetadataOptions,
  ) {
    this.#metadata = metadata;
    this.#metadataDevice = metadataDevice;
    this.#metadataOptions = metadataOptions;
    this.data = data;
    this.settings = settings;
    this.blockSize = metadata.dataBlockSize * SECTOR_SIZE;
    this.#mode = settings.readOnly || metadata.readOnly || metadata.needsCheck ? 'read_only' : 'write';
    this.#timer = new CommitTimer(settings, () => void this.#commitOnTime());
    this.space = new SpaceWaiters(settings.timers, settings.noSpaceTimeout);
    const bufferSize = Math.min(this.blockSize, LARGEST_BUFFER);
    const nrBuffers = BUFFERED / bufferSize;
    this.buffers = new BlockBuffers(bufferSize, nrBuffers);
    this.zeroBuffers = new BlockBuffers(bufferSize, nrBuffers);
    const { discardGranularity, fastZeroes } = data.hints;
    this.zeroesQuickly = fastZeroes;
    this.passesDiscards =
      !settings.ignoreDiscard &&
      !settings.noDiscardPassdown &&
      !data.readOnly &&
      discardGranularity > 0 &&
      this.blockSize % discardGranularity === 0;
    this.#watchMetadata();
  }

  get metadata(): ThinMetadata {
    return this.#metadata;
  }

  get mode(): PoolMode {
    return this.#mode;
  }

  get needsCheck(): boolean {
    return this.#needsCheck || this.#metadata.needsCheck;
  }

  /** Whether writes that find no free data block fail at once: as asked for, or because others waited too long. */
  get errorIfNoSpace(): boolean {
    return this.settings.errorIfNoSpace || this.space.timedOut;
  }

  /** Changes so far, those that were thrown away with a transaction included. */
  get nrChanges(): number {
    return this.#nrChanges;
  }

  /** Transactions thrown away so far: a data block that was allocated before the last one is nobody's any more. */
  get nrAborts(): number {
    return this.#nrAborts;
  }

  /** Metadata blocks that are free and not kept back. */
  get nrUsableMetadataBlocks(): number {
    return Math.max(0, this.#metadata.nrFreeMetadataBlocks - this.#metadata.metadataReserve);
  }

  /** Free metadata blocks, those in reserve included, at which listeners are told. */
  get metadataLowWaterMark(): number {
    return Math.min(1024, Math.floor(this.#metadata.nrMetadataBlocks / 4));
  }

  get closed(): boolean {
    return this.#closed;
  }

  refuseClosed(): void {
    if (this.#closed) throw new ClosedError(`the pool on ${this.#metadataDevice.name} is closed`);
  }

  /** @throws {@link PoolModeError} when nothing works any more */
  refuseFailed(): void {
    if (this.#mode !== 'fail') return;
    throw new PoolModeError(
      `the pool on ${this.#metadataDevice.name} has failed: its metadata cannot be read; see to the device, check it, and open the pool again`,
    );
  }

  /** @throws {@link PoolModeError} when requests may not change the metadata */
  refuseUnchangeable(): void {
    this.refuseClosed();
    this.refuseFailed();
    if (canChange(this.#mode)) return;
    throw new PoolModeError(
      `the pool on ${this.#metadataDevice.name} is in ${this.#mode.replaceAll('_', ' ')} mode: ${this.#whatToDo()}`,
    );
  }

  #whatToDo(): string {
    if (this.needsCheck) return 'it needs a check; check the metadata, and open it again';
    if (this.#mode === 'out_of_metadata_space') return 'grow its metadata device';
    return 'no block can be provisioned, and nothing created or deleted';
  }

  /**
   * Runs `work`, which changes the metadata, inside the gate. While metadata blocks are few it is alone there, after a commit:
   * then nothing else is lost when it turns out not to fit.
   */
  async changing<T>(work: () => T | Promise<T>): Promise<T> {
    while (!this.#isShortOfMetadata) {
      if (!this.changes.tryEnter()) await this.changes.enter();
      try {
        if (!this.#isShortOfMetadata) return await work();
      } finally {
        this.changes.leave();
      }
    }
    return this.changingAlone(work);
  }

  /** As {@link changing}, in a transaction that consists of `work`'s changes: so an abort takes nothing else with it. */
  changingAlone<T>(work: () => T | Promise<T>): Promise<T> {
    return this.exclusively(async () => {
      if (this.#nrChanges !== this.#nrCommitted && canChange(this.#mode)) await this.commitExclusively();
      this.#alone = true;
      try {
        return await work();
      } finally {
        this.#alone = false;
      }
    });
  }

  /** Where the reserve alone would not be enough for a change and its commit. */
  get #isShortOfMetadata(): boolean {
    if (!canChange(this.#mode)) return false; // nothing will be changed
    const { nrFreeMetadataBlocks, metadataReserve } = this.#metadata;
    return metadataReserve < ENOUGH_RESERVE && nrFreeMetadataBlocks < metadataReserve + MOST_OF_A_CHANGE;
  }

  /**
   * Runs a change of the metadata, inside the gate. One that fails half-way throws the transaction away.
   * @param thin the thin device that has changed by it
   */
  change<T>(operation: string, thin: OpenThin | undefined, work: (metadata: ThinMetadata) => T): T {
    let result: T;
    try {
      result = work(this.#metadata);
    } catch (error) {
      if (!this.#metadata.abortRequired) throw error;
      if (this.#alone && error instanceof NoSpaceError) {
        this.abortExclusively(operation, error);
        this.setMode('out_of_metadata_space', 'a change did not fit');
        throw error;
      }
      this.#throwAway(operation, error, () => this.#metadata.abort());
      throw new AbortedChangesError(
        `${operation} failed, and everything since the last commit was thrown away with it: ${inWords(error)}`,
        { cause: error },
      );
    }
    this.#nrChanges++;
    if (thin !== undefined) thin.lastChange = this.#nrChanges;
    this.#timer.begin();
    return result;
  }

  /** A free data block, with one reference. Inside the gate. @throws {@link NoSpaceError} */
  allocate(): number {
    const { nrFreeDataBlocks } = this.#metadata;
    const block = this.change('allocate a data block', undefined, (metadata) => metadata.allocateDataBlock());
    if (!this.#dataLowTold && nrFreeDataBlocks <= this.settings.lowWaterMark) {
      this.#dataLowTold = true;
      this.events.emit('dataLow', { nrFree: nrFreeDataBlocks, lowWaterMark: this.settings.lowWaterMark });
    }
    if (this.nrUsableMetadataBlocks === 0) void this.commit().catch(() => {}); // the mode tells
    return block;
  }

  /** Transactions thrown away so far that others' changes were lost with. */
  get nrLosses(): number {
    return this.#nrLosses;
  }

  /**
   * Makes all that was changed or written before this call durable; rejects when any of it was thrown away.
   * @param nrLosses from before the changes that it is about: a commit that somebody else began may have failed since then
   */
  async commit(nrLosses = this.#nrLosses): Promise<void> {
    await this.#commits.run();
    if (nrLosses !== this.#nrLosses)
      throw new AbortedChangesError(
        'what was to be committed was thrown away with a transaction that failed meanwhile',
      );
  }

  /** Makes all data durable that was written before this call, not what makes it reachable. */
  flushData(): Promise<void> {
    return this.#dataFlushes.run();
  }

  /** Whether the thin device has changes that the last commit does not have. */
  hasUncommitted(thin: OpenThin): boolean {
    return thin.lastChange > this.#nrCommitted;
  }

  /** Runs `work` while nobody else changes anything. */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    await this.changes.close();
    try {
      return await work();
    } finally {
      this.changes.open();
      this.#lookAtSpace();
    }
  }

  /** A commit by whoever has the gate closed. */
  async commitExclusively(): Promise<void> {
    this.refuseFailed();
    const nrChanges = this.#nrChanges;
    const nothingNew = nrChanges === this.#nrCommitted;
    try {
      await this.data.flush();
    } catch (error) {
      // With nothing to be committed nothing depends on it: it is the matter of whoever asked.
      if (!nothingNew) this.#throwAway('flush the data device before a commit', error, () => this.#metadata.abort());
      throw error;
    }
    let changed: boolean;
    try {
      changed = await this.#metadata.commitAsync();
    } catch (error) {
      if (error instanceof CommitError) this.#throwAway('commit', error, () => this.#openAgain());
      throw error;
    }
    this.#nrCommitted = nrChanges;
    await this.freed.passDown(this.#metadata, this.data, this.blockSize);
    this.events.emit('commit', { changed });
  }

  /** Undoes what was changed since a commit by whoever has the gate closed, and has lost nothing else by it. */
  abortExclusively(operation: string, error: unknown): void {
    this.#nrAborts++;
    this.#nrChanges = this.#nrCommitted;
    try {
      this.#metadata.abort();
    } catch {
      this.setMode('fail', `metadata operation '${operation}' failed, and the metadata cannot be read any more`);
    }
    this.events.emit('abort', { operation, error });
  }

  /** No data block is free, not even after a commit: requests wait, or fail. */
  outOfDataSpace(): void {
    if (this.#mode === 'write') this.setMode('out_of_data_space', 'no data block is free');
  }

  setMode(to: PoolMode, reason: string): void {
    const from = this.#mode;
    if (from === to || from === 'fail') return;
    this.#mode = to;
    if (to === 'out_of_data_space' && !this.settings.errorIfNoSpace) {
      this.space.begin(() => this.#tellMode(to, to, 'writes have waited too long'));
    }
    this.#tellMode(from, to, reason);
    if (to !== 'out_of_data_space') this.space.retry(); // those who wait find out
  }

  #tellMode(from: PoolMode, to: PoolMode, why: string): void {
    const reason = `switching pool to ${modeInWords(to, this.errorIfNoSpace)} mode: ${why}`;
    this.events.emit('mode', { from, to, reason });
  }

  /** Grows into devices that have grown, and leaves the modes that this ends. The gate is closed. */
  async resumeExclusively(): Promise<void> {
    this.refuseFailed();
    const wanted = {
      data: Math.floor(this.data.size / this.blockSize),
      metadata: Math.min(this.#metadataDevice.nrBlocks, MAX_METADATA_BLOCKS),
    };
    const had = { data: this.#metadata.nrDataBlocks, metadata: this.#metadata.nrMetadataBlocks };
    if (wanted.data < had.data)
      throw new ResizeError(`pool target (${wanted.data} blocks) too small: expected ${had.data}`);
    if (wanted.metadata < had.metadata)
      throw new ResizeError(`metadata device (${wanted.metadata} blocks) too small: expected ${had.metadata}`);
    this.#dataLowTold = false;
    this.#metadataLowTold = false;
    const grows = { data: wanted.data > had.data, metadata: wanted.metadata > had.metadata };
    if (this.needsCheck && (grows.data || grows.metadata)) {
      const what = grows.data ? 'data' : 'metadata';
      const error = new ResizeError(`unable to grow the ${what} device until repaired.`);
      this.events.emit('error', { operation: 'resume', error });
    }
    if (this.settings.readOnly || this.#metadata.readOnly || this.needsCheck || this.#mode === 'read_only') return;
    if (grows.metadata || grows.data) await this.#growExclusively(wanted, grows);
    if (this.#mode === 'out_of_data_space') this.setMode('write', 'the pool was resumed');
  }

  /**
   * First the metadata: what is added there can be used when it is committed, and the data need some of it. Each is a
   * transaction of its own: nothing else is lost when there is too little room for it.
   */
  async #growExclusively(
    wanted: { readonly data: number; readonly metadata: number },
    grows: { readonly data: boolean; readonly metadata: boolean },
  ): Promise<void> {
    if (this.#nrChanges !== this.#nrCommitted) await this.commitExclusively();
    this.#alone = true;
    try {
      if (grows.metadata) {
        this.change('grow the metadata', undefined, (metadata) => metadata.resizeMetadata(wanted.metadata));
        this.#watchMetadata();
        await this.commitExclusively();
        if (this.#mode === 'out_of_metadata_space') this.setMode('write', 'the metadata device has grown');
      }
      if (grows.data) {
        this.change('grow the data', undefined, (metadata) => metadata.resizeData(wanted.data));
        await this.commitExclusively();
      }
    } finally {
      this.#alone = false;
    }
  }

  /** Volumes have been closed. Commits, and lets go of the metadata. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer.stop();
    try {
      // In the other modes, too: they take writes in place, and may have been entered with changes that are to be committed.
      if (this.#mode !== 'fail') await this.commit();
      await this.#commits.idle();
      await this.#dataFlushes.idle();
    } finally {
      if (this.#needsCheck && this.#mode !== 'fail') this.#storeNeedsCheck();
      this.#metadata.close();
    }
  }

  async #commit(): Promise<void> {
    await this.exclusively(async () => {
      this.#timer.clear(); // what was changed until now is in this one
      await this.commitExclusively();
      // Before those who waited change something, and the time begins to run.
      if (this.#onTimeSince !== undefined) this.#timer.took(performance.now() - this.#onTimeSince);
      this.#onTimeSince = undefined;
    });
  }

  /** What takes long, making the data durable, is done first, while others go on; the commit's own flush has less to do. */
  async #commitOnTime(): Promise<void> {
    this.#onTimeSince = performance.now();
    await this.flushData().catch(() => {}); // the commit's will fail, too
    if (this.#closed) return;
    await this.commit().catch((error) => this.events.emit('error', { operation: 'commit on time', error }));
  }

  /** After a commit there may be space again, or none left. */
  #lookAtSpace(): void {
    if (!canChange(this.#mode)) return;
    if (this.nrUsableMetadataBlocks === 0) this.setMode('out_of_metadata_space', 'no free metadata blocks');
    else if (this.#mode === 'out_of_data_space' && this.#metadata.nrFreeDataBlocks > 0)
      this.setMode('write', 'data blocks are free again');
  }

  #throwAway(operation: string, error: unknown, restore: () => void): void {
    this.#nrAborts++;
    this.#nrLosses++;
    for (const thin of this.opened.values()) if (this.hasUncommitted(thin)) thin.abortedBy = error;
    this.#nrCommitted = this.#nrChanges;
    this.freed.forget();
    this.events.emit('error', { operation, error });
    let lost: unknown;
    try {
      restore();
    } catch (cause) {
      lost = cause;
    }
    this.events.emit('abort', { operation, error });
    if (lost === undefined) {
      this.#needsCheck = true;
      this.#storeNeedsCheck();
      if (this.#isReadable()) {
        this.setMode('read_only', `metadata operation '${operation}' failed: ${inWords(error)}`);
        return;
      }
    }
    this.setMode('fail', `metadata operation '${operation}' failed, and the metadata cannot be read any more`);
  }

  /** After a commit that failed nothing else helps: which of the two states is on the device is found out by reading it. */
  #openAgain(): void {
    this.#metadata.close();
    this.#metadata = ThinMetadata.open(this.#metadataDevice, this.#metadataOptions);
    this.#watchMetadata();
  }

  /** As good as it can be had: a device that takes no writes cannot be told, and can still be read. */
  #storeNeedsCheck(): void {
    try {
      if (this.#metadata.needsCheck) return;
      this.#metadata.setNeedsCheck();
      this.#metadata.commit();
    } catch (error) {
      this.events.emit('error', { operation: 'set needs_check', error });
      try {
        this.#openAgain();
      } catch {
        // #isReadable will say so
      }
    }
  }

  #isReadable(): boolean {
    try {
      return this.#metadata.time >= 0;
    } catch {
      return false;
    }
  }

  #watchMetadata(): void {
    const lowWaterMark = this.metadataLowWaterMark;
    this.#metadata.onMetadataLow(lowWaterMark, () => {
      if (this.#metadataLowTold) return;
      this.#metadataLowTold = true;
      this.events.emit('metadataLow', { nrFree: this.#metadata.nrFreeMetadataBlocks, lowWaterMark });
    });
  }
}
