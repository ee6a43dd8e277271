/**
 * Writes that wait for a free data block: until there is one, until time is up, or until nobody wants to wait any more.
 *
 * Format: docs/format/thin.md, section 8, `no_space_timeout`.
 */
import type { Timers } from '@pdata/device/engine';
import { NoSpaceError } from '@pdata/persistent-data';

interface Waiter {
  readonly owner: object;
  readonly retry: () => void;
  readonly fail: (error: NoSpaceError) => void;
}

export class SpaceWaiters {
  readonly #timers: Timers;
  readonly #timeout: number;
  #waiters: Waiter[] = [];
  #timer: unknown;
  #timedOut = false;
  readonly #gone = new WeakSet<object>();

  /** @param timeout milliseconds, 0: for ever */
  constructor(timers: Timers, timeout: number) {
    this.#timers = timers;
    this.#timeout = timeout;
  }

  get nr(): number {
    return this.#waiters.length;
  }

  /** Whether time is up, so that nobody waits any more until {@link retry}. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  /** The time begins to run. `expired` is called when it is up, before those who wait are told. */
  begin(expired: () => void): void {
    if (this.#timeout === 0 || this.#timer !== undefined || this.#timedOut) return;
    this.#timer = this.#timers.set(() => {
      this.#timer = undefined;
      this.#timedOut = true;
      expired();
      this.#fail(`there was none for ${this.#timeout} ms`);
    }, this.#timeout);
  }

  /** Resolves when it is worth another try. */
  wait(owner: object): Promise<void> {
    return new Promise((retry, fail) => {
      if (this.#gone.has(owner)) fail(givenUp('the volume is being closed'));
      else this.#waiters.push({ owner, retry, fail });
    });
  }

  /** There may be space, or another reason to fail. */
  retry(): void {
    if (this.#timer !== undefined) this.#timers.clear(this.#timer);
    this.#timer = undefined;
    this.#timedOut = false;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { retry } of waiters) retry();
  }

  /** A volume is closed: it does not wait any more. */
  leave(owner: object): void {
    this.#gone.add(owner);
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((waiter) => waiter.owner !== owner);
    for (const waiter of waiters) if (waiter.owner === owner) waiter.fail(givenUp('the volume is being closed'));
  }

  #fail(why: string): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { fail } of waiters) fail(givenUp(why));
  }
}

const givenUp = (why: string): NoSpaceError =>
  new NoSpaceError(
    'data',
    `a write that waited for a free data block was given up: ${why}; grow the pool's data device, or discard`,
  );
