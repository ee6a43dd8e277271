/**
 * What all parts of a mirror share: its legs, its log, the state of its regions, and the rules for what has failed.
 *
 * Invariants:
 *   1. What was acknowledged is on all legs that are present while its region is in sync, and on the default leg while it is not.
 *   2. So the default leg changes by itself only while everything is in sync. The kernel changes it with `keep_log` whenever it fails, and
 *      then answers with, and copies, what has missed writes; and without `handle_errors` it never does, and a reload copies it
 *      over what the others have taken since. Its status line shows neither.
 *   3. A region is in sync only while no leg is away that lacks something of it.
 *   4. Whoever works on the legs for a client is behind `gate`; who closes it is alone with them.
 *
 * Format: docs/format/mirror-log.md, sections 5 to 9.
 */
import { DeviceError, SECTOR_SIZE } from '@pdata/device';
import { CommitTimer, Gate, inWords, Listeners, SharedRun } from '@pdata/device/engine';
import type { DirtyLog, FlushLegs } from '../log/dirty-log.js';
import { RegionHash, type UpdateOptions } from '../region-hash/region-hash.js';
import type { MirrorEvents } from './events.js';
import type { Leg, LegErrorKind, Legs } from './legs.js';
import type { MirrorSettings } from './options.js';
import type { Part } from './region-write.js';

export class MirrorCore {
  readonly settings: MirrorSettings;
  readonly legs: Legs;
  readonly log: DirtyLog;
  /** Bytes. */
  readonly size: number;
  /** Bytes of a region. */
  readonly regionBytes: number;
  readonly events = new Listeners<MirrorEvents>();
  readonly gate = new Gate();
  hash: RegionHash<Part>;
  /** All regions are in sync, as far as the last look at it showed. */
  isInSync = false;
  /** A leg has failed, and the legs have not been changed since. */
  hasLegFailure = false;
  /** How often regions at rest have been cleared. */
  nrClears = 0;
  /** Takes back writes that were held back for a recovery. */
  readmit: (writes: readonly Part[]) => void = () => {};
  /** Something may be to be copied. */
  wakeRecovery: () => void = () => {};
  readonly #idle: CommitTimer;
  /** Regions that the log is being told of. */
  #nrFalling = 0;
  readonly #legFlush = new SharedRun(() => this.#flushPresentLegs());
  #updating: Promise<unknown> = Promise.resolve();
  #isUpdateDue = false;

  constructor(settings: MirrorSettings, legs: Legs, log: DirtyLog, size: number) {
    this.settings = settings;
    this.legs = legs;
    this.log = log;
    this.size = size;
    this.regionBytes = log.regionSize * SECTOR_SIZE;
    this.hash = this.#newHash();
    const { clearPeriod, timers } = settings;
    this.#idle = new CommitTimer({ commitPeriod: clearPeriod, timers }, () => void this.#clearIdle());
  }

  /** Holds back writes that a leg or the log has not taken. */
  get holds(): boolean {
    return this.settings.handleErrors && !this.settings.keepLog;
  }

  /** The log begins, or goes on after a suspend. Rejects as {@link DirtyLog.resume}. */
  async resumeLog(): Promise<void> {
    await this.log.resume(this.#flushForLog);
    this.hash = this.#newHash();
    this.isInSync = this.log.syncCount === this.log.nrRegions;
    const { health } = this.log.status();
    if (health !== 'A')
      this.logFailed(new DeviceError(`the log cannot be ${health === 'D' ? 'read or written' : 'flushed'}`));
  }

  legFailed(leg: Leg, kind: LegErrorKind, error: unknown): void {
    this.hasLegFailure = true;
    if (!leg.fail(kind)) return;
    this.events.emit('legFailure', { legNr: leg.nr, kind, error });
    const next = this.legs.firstGood;
    if (leg.nr === this.legs.defaultNr && this.isInSync && next !== undefined) this.moveDefault(next.nr);
  }

  logFailed(error: unknown): void {
    this.events.emit('logFailure', { error });
  }

  moveDefault(to: number): void {
    const from = this.legs.defaultNr;
    if (from === to) return;
    this.legs.defaultNr = to;
    this.events.emit('defaultLeg', { from, to });
  }

  /** A write to the region was not taken by all legs. Resolves when the log knows. */
  async fallOutOfSync(regionNr: number): Promise<void> {
    this.isInSync = false;
    this.#nrFalling++;
    try {
      await this.hash.markNosync(regionNr);
    } catch (error) {
      this.logFailed(error);
    } finally {
      this.#nrFalling--;
    }
  }

  /**
   * A leg has perhaps not kept what it had acknowledged: every region that was written to since the log last called it clean is not in
   * sync any more. The others were flushed before that.
   */
  async distrustUnclean(): Promise<void> {
    const { log } = this;
    for (let regionNr = 0; regionNr < log.nrRegions; regionNr++)
      if (log.isInSync(regionNr) && !log.isClean(regionNr)) await this.fallOutOfSync(regionNr);
  }

  /**
   * Makes durable what the legs have acknowledged. With `keepLog` it is enough that the default leg has done it, which is another one
   * perhaps since the flush failed; otherwise any that fails is an error, as in the kernel.
   */
  async flushForClient(): Promise<void> {
    const failed = await this.#flushLegs();
    if (failed.size === 0) return;
    const { keepLog, name } = this.settings;
    if (keepLog && !failed.has(this.legs.defaultNr)) return;
    const [[legNr, cause]] = [...failed] as [[number, unknown]];
    throw new DeviceError(`cannot flush leg ${legNr} of ${name}: ${inWords(cause)}`, { cause });
  }

  /** Tells the log what was copied and what has come to rest. One after the other; never rejects because of the log. */
  update(options: UpdateOptions = {}): Promise<void> {
    const run = this.#updating.then(() => this.#update(options));
    this.#updating = run.catch(() => {});
    return run;
  }

  /** Clears what is at rest before long, or, if that is due, at once. */
  somethingRests(): void {
    if (this.hash.nrIdle === 0) return;
    if (this.settings.clearPeriod > 0) this.#idle.begin();
    else if (!this.#isUpdateDue) {
      this.#isUpdateDue = true;
      queueMicrotask(() => {
        this.#isUpdateDue = false;
        void this.update();
      });
    }
  }

  /** No timer goes off any more. */
  stop(): void {
    this.#idle.stop();
  }

  #newHash(): RegionHash<Part> {
    return new RegionHash<Part>(this.log, {
      regionOf: ({ regionNr }) => regionNr,
      onWork: () => {
        this.somethingRests();
        this.wakeRecovery();
      },
    });
  }

  async #clearIdle(): Promise<void> {
    this.#idle.clear();
    const begun = performance.now();
    await this.update();
    this.#idle.took(performance.now() - begun);
    this.somethingRests();
  }

  async #update(options: UpdateOptions): Promise<void> {
    await this.#tellLog(options);
    if (!this.isInSync && this.#areAllInSync && (await this.#becomeInSync())) {
      await this.#tellLog({}); // who hears that the mirror is in sync finds that on the log, too
      this.events.emit('inSync', { nrRegions: this.log.nrRegions });
    }
  }

  async #tellLog(options: UpdateOptions): Promise<void> {
    if (!options.keepIdle) this.nrClears++;
    const { released, recovered, logFailure } = await this.hash.update(options);
    if (logFailure !== undefined) this.logFailed(logFailure);
    const { nrRegions, syncCount } = this.log;
    for (const regionNr of recovered) this.events.emit('resync', { regionNr, syncCount, nrRegions });
    if (released.length > 0) this.readmit(released);
  }

  get #areAllInSync(): boolean {
    return this.log.syncCount === this.log.nrRegions && this.#nrFalling === 0;
  }

  /** From here on any leg may become the default one: so what was copied to it has to be durable, as what it was copied from may be. */
  async #becomeInSync(): Promise<boolean> {
    if ((await this.#flushLegs()).size > 0 || !this.#areAllInSync) return false;
    this.isInSync = true;
    this.hasLegFailure = false;
    for (const leg of this.legs.present) leg.forgive();
    await this.hash.trustLegFlushes(); // what a leg may have lost has been copied to it again
    return true;
  }

  readonly #flushForLog: FlushLegs = async () => [...(await this.#flushLegs()).keys()];

  /** Legs that failed, and why. */
  async #flushLegs(): Promise<ReadonlyMap<number, unknown>> {
    try {
      await this.#legFlush.run();
      return NONE_FAILED;
    } catch (error) {
      if (error instanceof FailedFlush) return error.failed;
      throw error;
    }
  }

  async #flushPresentLegs(): Promise<void> {
    const failed = new Map<number, unknown>();
    await Promise.all(
      this.legs.present.map(async (leg) => {
        try {
          await leg.device.flush();
        } catch (error) {
          failed.set(leg.nr, error);
        }
      }),
    );
    if (failed.size === 0) return;
    this.hash.legFlushFailed();
    const isNews = [...failed.keys()].some((legNr) => !this.legs.at(legNr).has('flush'));
    for (const [legNr, error] of failed) this.legFailed(this.legs.at(legNr), 'flush', error);
    if (isNews) await this.distrustUnclean(); // what is written from now on, the hash distrusts
    throw new FailedFlush(failed);
  }
}

const NONE_FAILED: ReadonlyMap<number, unknown> = new Map();

/** Tells those who share a flush of the legs how it went. Does not leave this file. */
class FailedFlush extends Error {
  constructor(readonly failed: ReadonlyMap<number, unknown>) {
    super('a leg could not be flushed');
  }
}
