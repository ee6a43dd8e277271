/**
 * The resync: copies what is not in sync, region after region, from the default leg to all others.
 *
 * The log says what is to be copied, the region hash when: new writes to a region wait from the moment it was chosen, and those that were
 * admitted before end first. A copy that fails, or is called off, leaves its region not in sync; it is tried again when the log's
 * search begins anew. While a leg is away there is nothing to copy: no region could be in sync.
 *
 * Format: docs/format/mirror-log.md, section 7.
 */
import type { Leg } from './legs.js';
import type { MirrorCore } from './mirror-core.js';
import { LARGEST_PIECE } from './options.js';

/** Milliseconds after which a cluster's log is asked again: what other nodes do may have become ours. */
const ASK_AGAIN_MS = 1000;
/** Milliseconds: shorter pauses are saved up. */
const SHORTEST_PAUSE = 5;

export class Recovery {
  readonly #core: MirrorCore;
  /** Bytes a second. */
  rate: number;
  #isStopped = true;
  /** Chosen, and not copied yet. */
  readonly #chosen = new Set<number>();
  /** Copied or called off, and the log is being told. */
  #nrEnding = 0;
  #isPumping = false;
  #isPumpDue = false;
  /** What the pauses have not made up for yet, in milliseconds. */
  #debt = 0;
  #endPauses: (() => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  #askAgain: unknown;
  readonly #buffers: Uint8Array[] = [];

  constructor(core: MirrorCore, rate: number) {
    this.#core = core;
    this.rate = rate;
    core.wakeRecovery = () => this.#wake();
  }

  /** A region is being copied, or is about to be. */
  get isActive(): boolean {
    return this.#core.hash.nrRecovering > 0 || this.#nrEnding > 0 || this.#isPumping;
  }

  start(): void {
    this.#isStopped = false;
    this.#wake();
  }

  /** Calls off what is under way. Writes that wait for a region that is copied are released; those for one that is not wait for their own end. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#askAgain !== undefined) this.#core.settings.timers.clear(this.#askAgain);
    this.#askAgain = undefined;
    for (const end of this.#endPauses.splice(0)) end();
    this.#wake();
    await this.untilIdle();
  }

  /** Resolves when there is nothing to copy now: all regions are in sync, or copying them has failed, or a leg is away. */
  async untilIdle(): Promise<void> {
    while (this.isActive) await new Promise<void>((idle) => this.#idleWaiters.push(idle));
  }

  #wake(): void {
    this.#isPumpDue = true;
    if (!this.#isPumping) void this.#pump();
  }

  /** One at a time; asks for regions and begins to copy those that are quiesced. */
  async #pump(): Promise<void> {
    this.#isPumping = true;
    while (this.#isPumpDue) {
      this.#isPumpDue = false;
      await this.#releaseCalledOff();
      if (!this.#isStopped && this.#core.legs.isComplete) await this.#prepare();
      for (let nr = this.#core.hash.takeQuiesced(); nr !== undefined; nr = this.#core.hash.takeQuiesced())
        void this.#recover(nr);
    }
    this.#isPumping = false;
    this.#tellIfIdle();
  }

  async #prepare(): Promise<void> {
    const { hash, settings, log } = this.#core;
    while (!this.#isStopped && hash.nrRecovering < settings.resyncRegions) {
      const regionNr = await hash.prepareRecovery().catch((error) => {
        this.#core.logFailed(error);
        return undefined;
      });
      if (regionNr === undefined) break;
      this.#chosen.add(regionNr);
    }
    if (hash.nrRecovering === 0 && log.kind === 'cluster' && log.syncCount < log.nrRegions) this.#wakeLater();
  }

  /** A write failed in a region that was about to be copied: the writes that wait for the copy need not wait any more. */
  async #releaseCalledOff(): Promise<void> {
    const { hash } = this.#core;
    const calledOff = [...this.#chosen].filter((regionNr) => hash.stateOf(regionNr) !== 'recovering');
    if (calledOff.length === 0) return;
    for (const regionNr of calledOff) this.#chosen.delete(regionNr);
    await this.#core.update({ keepIdle: true });
  }

  #wakeLater(): void {
    this.#askAgain ??= this.#core.settings.timers.set(() => {
      this.#askAgain = undefined;
      this.#wake();
    }, ASK_AGAIN_MS);
  }

  async #recover(regionNr: number): Promise<void> {
    const { hash, settings } = this.#core;
    const isCopied = !this.#isStopped && (await this.#copy(regionNr));
    this.#chosen.delete(regionNr);
    this.#nrEnding++;
    hash.recoveryDone(regionNr, isCopied);
    // Cleared together with others: a flush of the legs for each would take longer than the copy.
    await this.#core.update({ keepIdle: settings.clearPeriod > 0 });
    this.#nrEnding--;
    this.#core.somethingRests();
    this.#wake();
  }

  /** @returns whether all legs have the region now */
  async #copy(regionNr: number): Promise<boolean> {
    const { legs, regionBytes, size } = this.#core;
    const source = legs.default;
    const others = legs.all.filter((leg) => leg !== source);
    const end = Math.min(size, (regionNr + 1) * regionBytes);
    const buffer = this.#buffers.pop() ?? new Uint8Array(Math.min(LARGEST_PIECE, regionBytes));
    try {
      for (let at = regionNr * regionBytes; at < end; at += buffer.byteLength) {
        if (this.#isStopped) return false;
        const begun = performance.now();
        const bytes = buffer.subarray(0, Math.min(buffer.byteLength, end - at));
        if (!(await this.#copyPiece(source, others, at, bytes))) return false;
        await this.#pause(bytes.byteLength, performance.now() - begun);
      }
      return true;
    } finally {
      this.#buffers.push(buffer);
    }
  }

  async #copyPiece(source: Leg, others: readonly Leg[], at: number, bytes: Uint8Array): Promise<boolean> {
    const attempt = async (leg: Leg, work: Promise<void>): Promise<boolean> => {
      try {
        await work;
        return true;
      } catch (error) {
        this.#core.legFailed(leg, 'sync', error);
        return false;
      }
    };
    if (!(await attempt(source, source.device.read(source.offset + at, bytes)))) return false;
    const written = others.map((leg) => attempt(leg, leg.device.write(leg.offset + at, bytes)));
    return (await Promise.all(written)).every((isWritten) => isWritten);
  }

  /** So that `nrBytes`, which took `ms`, make up the rate and no more. */
  async #pause(nrBytes: number, ms: number): Promise<void> {
    if (this.rate === Number.POSITIVE_INFINITY || this.#isStopped) return;
    this.#debt += (nrBytes / this.rate) * 1000 - ms;
    if (this.#debt < SHORTEST_PAUSE) {
      this.#debt = Math.max(this.#debt, -1000);
      return;
    }
    const { timers } = this.#core.settings;
    const pause = this.#debt;
    this.#debt = 0;
    await new Promise<void>((resolve) => {
      const timer = timers.set(end, pause);
      this.#endPauses.push(end);
      const forget = (): void => {
        this.#endPauses = this.#endPauses.filter((other) => other !== end);
      };
      function end(): void {
        timers.clear(timer);
        forget();
        resolve();
      }
    });
  }

  #tellIfIdle(): void {
    if (this.isActive) return;
    for (const idle of this.#idleWaiters.splice(0)) idle();
  }
}
