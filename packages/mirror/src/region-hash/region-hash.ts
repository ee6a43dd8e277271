/**
 * Which writes may go where, and when a region may be copied or called clean: every such decision of a mirror is made here.
 *
 *   admitWrites ──▶ to all legs, to the default leg, or held back ──▶ writeEnded
 *   prepareRecovery ──▶ (writes end) ──▶ takeQuiesced ──▶ copying ──▶ recoveryDone
 *   update: what has been copied or has come to rest is told to the log; gives back the writes that were held back
 *
 * An entry exists for a region with something to remember; any other is as the log has it.
 *
 *   clean        in sync, no write pending
 *   dirty        in sync, writes pending, or not yet cleared
 *   nosync       not in sync, with or without writes pending
 *   recovering   chosen to be copied: new writes are held back, those admitted before end first
 *
 * Rules; each has been broken by somebody once:
 *   1. A write that ends on a region that is not in sync leaves it so. Only a copy puts a region in sync.
 *   2. Writes to regions not in sync are marked in the log too, when the first is admitted, and cleared when the last has ended, so that
 *      other nodes know of them. The clear makes the region clean only if it is in sync, which is for the log to know.
 *   3. After a copy the region is reported in sync before it is cleared.
 *   4. A copy that fails leaves the region not in sync, and is not tried again by itself.
 *   5. A region is copied only when no write to it is in flight, here or on any other node.
 *   6. Where an admitted write goes is decided by what its mark has found (`markOutcome`), not by what was known before: another
 *      node may have copied the region in between.
 *   7. A write that failed on a leg is reported by `markNosync` before `writeEnded`, else its region would be cleared.
 *
 * Calls may overlap; the mirror's worker is expected to be one loop all the same. Flushes and discards concern no region and do not come here.
 * Format: docs/format/mirror-log.md, sections 5, 6, 7 and 12.
 */
import { invariant, StoreError } from '@pdata/device';
import type { DirtyLog } from '../log/dirty-log.js';

export type RegionState = 'clean' | 'dirty' | 'nosync' | 'recovering';

export interface RegionHashOptions<W> {
  /** The region of a write; no write crosses the border of one. */
  readonly regionOf: (write: W) => number;
  /** Called when there is something for {@link RegionHash.update} or {@link RegionHash.takeQuiesced}: wake the worker. Synchronous, may be called often. */
  readonly onWork?: () => void;
}

/** What became of a batch of writes. Held back ones are in none of the lists: `update` gives them back. */
export interface AdmittedWrites<W> {
  /** Marked: send to all legs, then `writeEnded` each. */
  readonly toAllLegs: readonly W[];
  /** Not in sync, marked: send to the default leg alone, then `writeEnded` each. */
  readonly toDefaultLeg: readonly W[];
  /** Another node is copying their regions: not admitted; hand them in again a little later (the kernel: after 200 ms). */
  readonly later: readonly W[];
  /** The log could not be flushed: the marks are not durable. Whether to send the writes all the same is the mirror's policy; `writeEnded` each in any case. */
  readonly logFailure: StoreError | undefined;
}

export interface UpdateOptions {
  /**
   * Leave regions that have come to rest, or have been copied, marked: it saves a flush of the legs and writes of the log while more is
   * to come. The next update without this clears them all. Default false.
   */
  readonly keepIdle?: boolean;
}

export interface UpdateOutcome<W> {
  /** Writes that had been held back: hand them in again. */
  readonly released: readonly W[];
  /** Regions that are in sync now, because they have been copied. */
  readonly recovered: readonly number[];
  /** Regions whose copying failed or was called off. */
  readonly failed: readonly number[];
  /** The log could not be told, or not be flushed. */
  readonly logFailure: StoreError | undefined;
}

/**
 * What is under way of a recovery:
 *
 *   'draining'   writes admitted before are to end
 *   'quiesced'   they have; nobody has begun to copy
 *   'copying'    between `takeQuiesced` and `recoveryDone`
 *   'copied', 'failed'   the next `update` tells the log
 */
type RecoveryPhase = 'draining' | 'quiesced' | 'copying' | 'copied' | 'failed';

interface Entry<W> {
  /** Writes admitted and not ended. */
  nrPending: number;
  /** The log has been told of a write, and not yet that it is over. */
  isMarked: boolean;
  /** The mark has been flushed: who writes need not wait for the log. */
  isDurable: boolean;
  /** It has been copied, and not yet cleared. */
  isCopied: boolean;
  recovery: RecoveryPhase | undefined;
  /** It came out of sync while it was copied: the copy counts for nothing. */
  isSpoilt: boolean;
  /** Writes that wait for the end of the recovery. */
  held: W[];
}

export class RegionHash<W> {
  readonly #log: DirtyLog;
  readonly #regionOf: (write: W) => number;
  readonly #onWork: () => void;
  readonly #entries = new Map<number, Entry<W>>();
  /** At rest and marked: to be cleared. */
  readonly #idle = new Set<number>();
  /** To be set not in sync, because a leg has lost a flush that may have covered them. */
  readonly #suspects = new Set<number>();
  #quiesced: number[] = [];
  /** Of phase copied or failed, in that order of ending. */
  #ended: number[] = [];
  /** Recoveries called off since the last update. */
  #calledOff: number[] = [];
  #released: W[] = [];
  /** For each `prepareRecovery` under way, the regions that were reported not in sync meanwhile. */
  readonly #asking = new Set<Set<number>>();
  #nrRecovering = 0;
  #hasLostLegFlush = false;

  constructor(log: DirtyLog, { regionOf, onWork = () => {} }: RegionHashOptions<W>) {
    this.#log = log;
    this.#regionOf = regionOf;
    this.#onWork = onWork;
  }

  /** As the log has it when nothing is remembered; what the log does not know (a cluster's) is `nosync`. */
  stateOf(regionNr: number): RegionState {
    const entry = this.#entries.get(regionNr);
    if (entry?.recovery !== undefined) return 'recovering';
    if (this.#log.isInSync(regionNr) !== true) return 'nosync';
    return entry === undefined ? 'clean' : 'dirty';
  }

  /** Writes admitted and not ended. */
  nrPending(regionNr: number): number {
    return this.#entries.get(regionNr)?.nrPending ?? 0;
  }

  /** Regions between `prepareRecovery` and the `update` that ends their recovery. */
  get nrRecovering(): number {
    return this.#nrRecovering;
  }

  /** Regions at rest that are still marked: what `update` would clear. */
  get nrIdle(): number {
    return this.#idle.size;
  }

  /**
   * Decides where each write goes: marks regions, and flushes the log once if a mark is not durable yet. Failures of the log are in the
   * outcome.
   */
  async admitWrites(writes: readonly W[]): Promise<AdmittedWrites<W>> {
    const admitted: W[] = [];
    const fresh: Entry<W>[] = [];
    for (const write of writes) {
      const entry = this.#admitOrHold(write);
      if (entry === undefined) continue;
      admitted.push(write);
      if (!entry.isDurable) fresh.push(entry);
    }
    const logFailure = fresh.length === 0 ? undefined : await this.#makeDurable(fresh);
    const toAllLegs: W[] = [];
    const toDefaultLeg: W[] = [];
    const later: W[] = [];
    for (const write of admitted) {
      const regionNr = this.#regionOf(write);
      const outcome = this.#log.markOutcome(regionNr);
      if (outcome === 'refused') {
        this.#withdraw(regionNr);
        later.push(write);
        continue;
      }
      // Said once more: a write of another batch that was refused before may have been withdrawn in between.
      this.#entryOf(regionNr).isMarked = true;
      (outcome === 'in sync' ? toAllLegs : toDefaultLeg).push(write);
    }
    return { toAllLegs, toDefaultLeg, later, logFailure };
  }

  /**
   * Marks regions that are likely to be written to before long, from `begin` to before `end`, those that are in sync and at rest: a write
   * that comes when this has resolved need not wait for the log. They are idle until then. Never rejects.
   */
  async markAhead(begin: number, end: number): Promise<void> {
    const marked: Entry<W>[] = [];
    for (let regionNr = begin; regionNr < Math.min(end, this.#log.nrRegions); regionNr++) {
      if (this.#entries.has(regionNr) || this.#log.isInSync(regionNr) !== true) continue;
      const entry = this.#entryOf(regionNr);
      this.#log.mark(regionNr);
      entry.isMarked = true;
      this.#rest(regionNr, entry);
      marked.push(entry);
    }
    if (marked.length === 0) return;
    await undefined; // whoever marks in this turn shares the flush
    await this.#makeDurable(marked); // who writes there tries it again
    this.#onWork();
  }

  /** A write that was admitted has ended on all legs that it was sent to. */
  writeEnded(regionNr: number): void {
    const entry = this.#entries.get(regionNr);
    invariant(entry !== undefined && entry.nrPending > 0, 'a write ends that was not admitted');
    // One that is to be copied is not in sync as it is; the log must not be told so while it is copied.
    if (this.#hasLostLegFlush && entry.recovery === undefined) this.#suspects.add(regionNr);
    this.#oneLess(regionNr, entry);
  }

  /** A write failed on a leg: the region is not in sync from here on; a recovery that waits for its writes is called off. */
  async markNosync(regionNr: number): Promise<void> {
    const entry = this.#entries.get(regionNr);
    if (entry?.recovery === 'draining') {
      this.#calledOff.push(regionNr);
      this.#endRecovery(entry);
      this.#onWork();
    } else if (entry?.recovery !== undefined) {
      entry.isSpoilt = true; // to tell the log now would let another node copy it at the same time
      return;
    }
    await this.#reportNosync(regionNr);
  }

  /** A leg failed a flush, so what it had acknowledged may be lost: every region whose writes end from here on is not in sync. */
  legFlushFailed(): void {
    this.#hasLostLegFlush = true;
  }

  /** The leg whose flush failed is gone, and every region of which it may have lost something has been set not in sync. */
  async trustLegFlushes(): Promise<void> {
    this.#hasLostLegFlush = false;
    await this.#log.trustLegFlushes();
  }

  /**
   * Asks the log for a region to copy; from here on writes to it are held back. undefined: nothing to do now.
   * Rejects with a {@link LogFailedError} when the log (a cluster's) cannot be asked.
   */
  async prepareRecovery(): Promise<number | undefined> {
    const reported = new Set<number>();
    this.#asking.add(reported);
    const asked = this.#log.nextResyncWork().finally(() => this.#asking.delete(reported));
    const regionNr = await asked;
    // A report that was made after the question has ended the recovery before we knew of it: others may have the region by now.
    if (regionNr === undefined || reported.has(regionNr)) return undefined;
    const entry = this.#entryOf(regionNr);
    if (entry.recovery !== undefined) return undefined; // a cluster's log repeats what this node has already
    this.#nrRecovering++;
    this.#idle.delete(regionNr);
    entry.recovery = 'draining';
    if (entry.nrPending === 0) this.#quiesce(regionNr, entry);
    return regionNr;
  }

  /** A region whose writes have all ended: copy it now, then {@link recoveryDone}. */
  takeQuiesced(): number | undefined {
    const regionNr = this.#quiesced.shift();
    if (regionNr !== undefined) this.#entryOf(regionNr).recovery = 'copying';
    return regionNr;
  }

  /** @param copied whether all legs hold the region now */
  recoveryDone(regionNr: number, copied: boolean): void {
    const entry = this.#entries.get(regionNr);
    invariant(entry?.recovery === 'copying', 'a recovery ends that has not begun');
    entry.recovery = copied && !entry.isSpoilt ? 'copied' : 'failed';
    this.#ended.push(regionNr);
    this.#onWork();
  }

  /** Tells the log what has been copied and what has come to rest, and flushes it once. Failures of the log are in the outcome. */
  async update({ keepIdle = false }: UpdateOptions = {}): Promise<UpdateOutcome<W>> {
    const recovered: number[] = [];
    const failed = this.#calledOff;
    this.#calledOff = [];
    let logFailure: StoreError | undefined;
    for (const regionNr of this.#take(this.#suspects)) {
      if (this.#entries.get(regionNr)?.recovery !== undefined) continue; // a copy has begun since
      const failure = await failureOf(() => this.#reportNosync(regionNr));
      logFailure ??= failure;
    }
    for (const regionNr of this.#takeEnded()) {
      const entry = this.#entryOf(regionNr);
      const copied = entry.recovery === 'copied' && !entry.isSpoilt;
      // In sync first, then cleared: the clear of a region that is not in sync has no effect.
      const failure = await failureOf(() => this.#log.setRegionSync(regionNr, copied));
      logFailure ??= failure;
      (copied && failure === undefined ? recovered : failed).push(regionNr);
      this.#endRecovery(entry);
      entry.isCopied = copied;
      this.#rest(regionNr, entry);
    }
    if (!keepIdle) this.#clearIdle();
    const released = this.#released;
    this.#released = [];
    const failure = await failureOf(() => this.#log.flush());
    return { released, recovered, failed, logFailure: logFailure ?? failure };
  }

  async #makeDurable(entries: readonly Entry<W>[]): Promise<StoreError | undefined> {
    const failure = await failureOf(() => this.#log.flush());
    if (failure === undefined) for (const entry of entries) entry.isDurable = entry.isMarked;
    return failure;
  }

  /** @returns undefined when the write is held back */
  #admitOrHold(write: W): Entry<W> | undefined {
    const regionNr = this.#regionOf(write);
    const entry = this.#entryOf(regionNr);
    if (entry.recovery !== undefined) {
      entry.held.push(write);
      return undefined;
    }
    entry.nrPending++;
    this.#idle.delete(regionNr);
    if (!entry.isMarked) this.#log.mark(regionNr);
    entry.isMarked = true;
    return entry;
  }

  /** The write was not sent, and the log holds no mark for it. */
  #withdraw(regionNr: number): void {
    const entry = this.#entryOf(regionNr);
    entry.isMarked = false;
    entry.isDurable = false;
    this.#oneLess(regionNr, entry);
  }

  #oneLess(regionNr: number, entry: Entry<W>): void {
    entry.nrPending--;
    if (entry.nrPending > 0) return;
    if (entry.recovery === 'draining') this.#quiesce(regionNr, entry);
    else this.#rest(regionNr, entry);
    this.#onWork();
  }

  #quiesce(regionNr: number, entry: Entry<W>): void {
    entry.recovery = 'quiesced';
    this.#quiesced.push(regionNr);
  }

  /** Nothing is under way any more: to be cleared if that is due, else to be forgotten. */
  #rest(regionNr: number, entry: Entry<W>): void {
    if (entry.isMarked || entry.isCopied) this.#idle.add(regionNr);
    else this.#entries.delete(regionNr);
  }

  #endRecovery(entry: Entry<W>): void {
    entry.recovery = undefined;
    entry.isSpoilt = false;
    this.#nrRecovering--;
    this.#released.push(...entry.held);
    entry.held = [];
  }

  #reportNosync(regionNr: number): Promise<void> {
    for (const reported of this.#asking) reported.add(regionNr);
    return this.#log.setRegionSync(regionNr, false);
  }

  #clearIdle(): void {
    for (const regionNr of this.#take(this.#idle)) {
      this.#log.clear(regionNr);
      this.#entries.delete(regionNr);
    }
  }

  #takeEnded(): number[] {
    const ended = this.#ended;
    this.#ended = [];
    return ended;
  }

  #take(regions: Set<number>): number[] {
    const taken = [...regions];
    regions.clear();
    return taken;
  }

  #entryOf(regionNr: number): Entry<W> {
    let entry = this.#entries.get(regionNr);
    if (entry === undefined) {
      entry = {
        nrPending: 0,
        isMarked: false,
        isDurable: false,
        isCopied: false,
        recovery: undefined,
        isSpoilt: false,
        held: [],
      };
      this.#entries.set(regionNr, entry);
    }
    return entry;
  }
}

/** Why the log could not do it; anything but a {@link StoreError} is a bug, and goes on its way. */
async function failureOf(action: () => Promise<void>): Promise<StoreError | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
}
