/**
 * What a clone is behind its interface: which regions are hydrated, how that becomes durable, failures, modes.
 *
 * *Commit.* The set of regions hydrated so far is sealed; the destination is flushed; the sealed set is committed. In this
 * order, for a bit on disk says "the destination holds this region": a region that is hydrated while the flush runs is not
 * covered by it, and goes into the next commit. Nothing else waits for a commit; who asks for one while one is running is
 * covered by the next.
 *
 * *Failure.* Whatever of the three fails, the metadata is again as the last commit left it, the clone is read-only, and regions
 * that were hydrated since are read from the source again. From then on no flush succeeds: what was acknowledged is lost.
 *
 * Not here: what requests do (region-io.ts), background hydration (background-hydration.ts).
 * Format: docs/format/clone.md, sections 3, 4 and 7.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { AbortedChangesError, CommitTimer, inWords, Listeners, SharedRun } from '@pdata/device/engine';
import type { CloneMetadata } from '../metadata/clone-metadata.js';
import { type CloneMode, modeInWords } from './clone-mode.js';
import { CloneModeError } from './errors.js';
import type { CloneEvents } from './events.js';
import { Hydrations } from './hydrations.js';
import type { CloneDevices, CloneSettings } from './options.js';

export class CloneCore {
  readonly name: string;
  readonly source: DataDevice;
  readonly destination: DataDevice;
  readonly settings: CloneSettings;
  readonly metadata: CloneMetadata;
  readonly events = new Listeners<CloneEvents>();
  readonly hydrations = new Hydrations();
  /** Bytes of a region; the last one may be shorter. */
  readonly regionBytes: number;
  /** Bytes. */
  readonly size: number;
  readonly nrRegions: number;
  /** Whether discards go down to the destination. */
  readonly passesDiscards: boolean;
  readonly #commits = new SharedRun(() => this.#commit());
  readonly #timer: CommitTimer;
  /** Nothing is written to any device, the destination included. */
  readonly #readOnly: boolean;
  #mode: CloneMode;
  /** Everything is hydrated and committed: from then on nothing needs to be looked up. */
  #isDone: boolean;
  #isCommitting = false;
  #nrAborts = 0;
  /** What an abort was caused by; then nothing can be made durable any more. */
  #lostBy: unknown;

  constructor(
    name: string,
    metadata: CloneMetadata,
    { source, destination }: CloneDevices,
    settings: CloneSettings,
    { readOnly }: { readonly readOnly: boolean },
  ) {
    this.name = name;
    this.metadata = metadata;
    this.source = source;
    this.destination = destination;
    this.settings = settings;
    this.regionBytes = metadata.regionSize * SECTOR_SIZE;
    this.size = metadata.targetSize * SECTOR_SIZE;
    this.nrRegions = metadata.nrRegions;
    this.passesDiscards =
      !settings.noDiscardPassdown && !destination.readOnly && destination.hints.discardGranularity > 0;
    this.#readOnly = readOnly;
    this.#mode = readOnly || metadata.readOnly ? 'read_only' : 'write';
    this.#isDone = metadata.isComplete;
    this.#timer = new CommitTimer(settings, () => void this.#commitOnTime());
  }

  get mode(): CloneMode {
    return this.#mode;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  isHydrated(region: number): boolean {
    return this.#isDone || this.metadata.isHydrated(region);
  }

  /** The byte behind the end of region `region`. */
  endOf(region: number): number {
    return Math.min((region + 1) * this.regionBytes, this.size);
  }

  /** Failed transactions so far. A region that was hydrated before the last one may not be any more. */
  get nrAborts(): number {
    return this.#nrAborts;
  }

  /** Whether there is something that the last commit does not have. */
  get hasUncommitted(): boolean {
    return this.#lostBy !== undefined || this.#isCommitting || this.metadata.hasChanges;
  }

  /** @throws {@link CloneModeError} when nothing works any more */
  refuseFailed(): void {
    if (this.#mode !== 'fail') return;
    throw new CloneModeError(
      `${this.name} has failed: its metadata cannot be read; see to the device, check it, and open the clone again`,
    );
  }

  /** @throws {@link CloneModeError} when no region can be hydrated any more */
  refuseUnhydratable(): void {
    this.refuseFailed();
    if (this.#mode === 'write') return;
    throw new CloneModeError(`${this.name} is read-only: only what is hydrated can be written; open the clone again`);
  }

  /** The destination holds regions `begin`..`end` (exclusive) from now on. Does no I/O. */
  markHydrated(begin: number, end: number): void {
    this.refuseUnhydratable();
    this.metadata.setRangeHydrated(begin, end);
    this.#timer.begin();
  }

  /** Makes all that was hydrated or written before this call durable. */
  commit(): Promise<void> {
    return this.#commits.run();
  }

  /** Commits without being asked, where time would do it a little later. */
  commitSoon(): void {
    if (this.settings.commitPeriod > 0) void this.#commitOnTime();
  }

  /** For good. Commits first, and flushes what was written to the destination. */
  async close(): Promise<void> {
    this.#timer.stop();
    try {
      if (!this.#readOnly) await this.commit();
    } finally {
      await this.#commits.idle();
      this.metadata.close();
    }
  }

  async #commit(): Promise<void> {
    this.#timer.clear(); // what was hydrated until now is in this one
    this.refuseFailed();
    if (this.#lostBy !== undefined) {
      throw new AbortedChangesError(
        `${this.name} has lost what was written to regions that were not hydrated before the last commit: ` +
          `${inWords(this.#lostBy)}; open it again to go on`,
        { cause: this.#lostBy },
      );
    }
    if (!this.metadata.hasChanges) await this.destination.flush();
    else {
      this.#isCommitting = true;
      try {
        await this.#commitHydrated();
      } finally {
        this.#isCommitting = false;
      }
    }
  }

  async #commitHydrated(): Promise<void> {
    let operation = 'seal the hydrated regions';
    try {
      this.metadata.preCommit();
      operation = 'flush the destination device';
      await this.destination.flush();
      operation = 'commit';
      await this.metadata.commitAsync();
    } catch (error) {
      this.#throwAway(operation, error);
      throw error;
    }
    if (!this.metadata.isComplete) return;
    this.#isDone = true; // nothing was left to commit before, so nobody has been told

    this.events.emit('complete', { nrRegions: this.nrRegions });
  }

  async #commitOnTime(): Promise<void> {
    const begin = performance.now();
    await this.commit().catch((error) => this.events.emit('error', { operation: 'commit on time', error }));
    this.#timer.took(performance.now() - begin);
  }

  #throwAway(operation: string, error: unknown): void {
    this.#nrAborts++;
    this.#lostBy = error;
    this.#timer.stop();
    this.events.emit('error', { operation, error });
    try {
      this.#goBack();
      this.#setMode('read_only', `${operation} failed: ${inWords(error)}`);
    } catch {
      this.#setMode('fail', `${operation} failed, and the metadata cannot be read any more`);
    }
  }

  /** To the last commit. A commit that fails has done so by itself. */
  #goBack(): void {
    if (this.metadata.readOnly)
      this.metadata.isHydrated(0); // throws when there is nothing to go back to
    else {
      this.metadata.setReadOnly();
      this.metadata.abort();
    }
  }

  #setMode(to: CloneMode, why: string): void {
    const from = this.#mode;
    if (from === to) return;
    this.#mode = to;
    this.events.emit('mode', { from, to, reason: `switching clone to ${modeInWords(to)} mode: ${why}` });
  }
}
