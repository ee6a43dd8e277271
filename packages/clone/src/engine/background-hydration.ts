/**
 * Hydration in the background: one region after the other is copied while no request is in flight, from a place that moves on
 * to the end and begins again at the front. It never gives up.
 *
 * Adjacent regions are copied as one, up to the batch size; the threshold limits how many regions are being hydrated, by whomever,
 * when it begins another one. A request pauses it: copies that are on their way end, and no other begins before all requests have.
 *
 * What could not be copied is left for the next round, which begins a second later. When one copy after the other fails, which is
 * what a source does that has gone away, it rests for a second as well.
 *
 * Format: docs/format/clone.md, section 6.
 */
import { BlockBuffers, othersTurn } from '@pdata/device/engine';
import type { CloneCore } from './clone-core.js';
import { HydrationError } from './errors.js';
import { copyInWords, copyRegions, LARGEST_PIECE } from './region-copy.js';
import { SourceExtents } from './source-extents.js';

/** Bytes in buffers, at most. */
const BUFFERED = 16 * 2 ** 20;
/** Milliseconds. */
const REST = 1000;
/** Bytes copied without a turn of the event loop, which devices in memory and small requests to cached files do not need. */
const MOST_A_TURN = 4 * 2 ** 20;
/** Copies that fail one after the other before it rests. */
const MOST_FAILURES = 16;

export class BackgroundHydration {
  readonly #core: CloneCore;
  readonly #extents: SourceExtents;
  #buffers: BlockBuffers;
  /** The next region to look at. */
  #next = 0;
  #nrRequests = 0;
  #nrFailures = 0;
  #isStopped = false;
  #nrBytesThisTurn = 0;
  #turn: Promise<void> | undefined;
  #timer: unknown;

  constructor(core: CloneCore) {
    this.#core = core;
    this.#extents = new SourceExtents(core.source, core.size);
    this.#buffers = this.#newBuffers();
  }

  /** A request has begun that pauses it. */
  requestBegins(): void {
    this.#nrRequests++;
  }

  requestEnds(): void {
    this.#nrRequests--;
    if (this.#nrRequests === 0) this.wake();
  }

  /** The batch size has changed. */
  batchSizeChanged(): void {
    this.#buffers = this.#newBuffers();
  }

  /** Begins no copies any more, until {@link resume}; those on their way go on. */
  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== undefined) this.#core.settings.timers.clear(this.#timer);
    this.#timer = undefined;
  }

  resume(): void {
    this.#isStopped = false;
    this.wake();
  }

  /** Begins as many copies as may be. */
  wake(): void {
    const { hydrations, settings, nrRegions, metadata } = this.#core;
    while (this.#mayGoOn && this.#timer === undefined && hydrations.nrRegions < settings.hydrationThreshold) {
      const begin = this.#nextFree();
      if (begin === nrRegions) {
        this.#next = 0;
        if (metadata.nrHydrated === nrRegions)
          this.#core.commitSoon(); // nobody need wait longer for the end
        else if (metadata.nrHydrated + hydrations.nrRegions < nrRegions) this.#rest(); // some have failed
        return;
      }
      const room = settings.hydrationThreshold - hydrations.nrRegions;
      const most = Math.min(room, Math.max(1, settings.hydrationBatchSize));
      let end = begin + 1;
      while (end - begin < most && end < nrRegions && this.#isFree(end)) end++;
      this.#next = end;
      void this.#copy(begin, end);
    }
  }

  get #mayGoOn(): boolean {
    const { settings, mode, isDone } = this.#core;
    return settings.hydrates && !this.#isStopped && mode === 'write' && !isDone && this.#nrRequests === 0;
  }

  /** The next region to copy; the number of regions when there is none up to the end. */
  #nextFree(): number {
    const { metadata, hydrations } = this.#core;
    let region = metadata.nextUnhydrated(this.#next);
    while (hydrations.of(region) !== undefined) region = metadata.nextUnhydrated(region + 1);
    return region;
  }

  #isFree(region: number): boolean {
    return !this.#core.isHydrated(region) && this.#core.hydrations.of(region) === undefined;
  }

  async #copy(begin: number, end: number): Promise<void> {
    const core = this.#core;
    try {
      await core.hydrations.run(begin, end, () => copyRegions(core, begin, end, this.#buffers, this.#extents));
      this.#nrFailures = 0;
    } catch (cause) {
      if (core.mode !== 'write') return;
      const error = new HydrationError(`${core.name}: ${copyInWords(begin, end, cause)}`, { cause });
      core.events.emit('error', { operation: 'background hydration', error });
      if (++this.#nrFailures >= MOST_FAILURES) this.#rest();
    }
    await this.#othersTurn((end - begin) * core.regionBytes);
    this.wake();
  }

  /** So many bytes more were copied. */
  async #othersTurn(nrBytes: number): Promise<void> {
    this.#nrBytesThisTurn += nrBytes;
    this.#turn ??= othersTurn().then(() => {
      this.#turn = undefined;
      this.#nrBytesThisTurn = 0;
    });
    if (this.#nrBytesThisTurn >= MOST_A_TURN) await this.#turn;
  }

  #rest(): void {
    this.#nrFailures = 0;
    if (this.#isStopped) return;
    const { timers } = this.#core.settings;
    this.#timer ??= timers.set(() => {
      this.#timer = undefined;
      this.wake();
    }, REST);
  }

  #newBuffers(): BlockBuffers {
    const { regionBytes, settings } = this.#core;
    const size = Math.min(LARGEST_PIECE, regionBytes * Math.max(1, settings.hydrationBatchSize));
    return new BlockBuffers(size, Math.floor(BUFFERED / size));
  }
}
