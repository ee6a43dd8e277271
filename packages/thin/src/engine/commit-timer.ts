/** Sees to it that what was changed is committed before long, if nobody asks for it earlier. */
import type { PoolSettings } from './options.js';

export class CommitTimer {
  readonly #settings: PoolSettings;
  readonly #due: () => void;
  #timer: unknown;
  #stopped = false;

  constructor(settings: PoolSettings, due: () => void) {
    this.#settings = settings;
    this.#due = due;
  }

  /** Something has changed: the time begins to run, unless it does already. */
  begin(): void {
    const { commitPeriod, timers } = this.#settings;
    if (this.#timer === undefined && commitPeriod > 0 && !this.#stopped)
      this.#timer = timers.set(this.#due, commitPeriod);
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
