/**
 * Sees to it that what was changed is committed before long, if nobody asks for it earlier.
 *
 * A commit waits for the data device, and those who write to fresh blocks wait for the commit. Over a disk that is slower than
 * they are, one a second would take half of their time (500 ms of each second, 4 KiB random writes to a fresh thin volume over
 * a file, 2026-11). So the next one does not come before ten times as long as the last one took.
 */
import type { Timers } from './timers.js';

/** Milliseconds between two commits on time, at most, whatever they take. */
const LONGEST_PAUSE = 30_000;

export interface CommitTimerSettings {
  /** Milliseconds from a change to its commit; 0: never. */
  readonly commitPeriod: number;
  readonly timers: Timers;
}

export class CommitTimer {
  readonly #settings: CommitTimerSettings;
  readonly #due: () => void;
  #timer: unknown;
  #stopped = false;
  #pause = 0;

  constructor(settings: CommitTimerSettings, due: () => void) {
    this.#settings = settings;
    this.#due = due;
  }

  /** Something has changed: the time begins to run, unless it does already. */
  begin(): void {
    const { commitPeriod, timers } = this.#settings;
    if (this.#timer !== undefined || commitPeriod === 0 || this.#stopped) return;
    this.#timer = timers.set(this.#due, Math.max(commitPeriod, this.#pause));
  }

  /** A commit on time took so many milliseconds. */
  took(ms: number): void {
    this.#pause = Math.min(LONGEST_PAUSE, 10 * ms);
  }

  /** A commit begins. */
  clear(): void {
    if (this.#timer !== undefined) this.#settings.timers.clear(this.#timer);
    this.#timer = undefined;
  }

  /** For good. */
  stop(): void {
    this.clear();
    this.#stopped = true;
  }
}
