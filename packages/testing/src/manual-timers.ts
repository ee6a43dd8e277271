import type { Timers } from '@pdata/device/engine';

/** Time that passes when a test says so. */
export class ManualTimers implements Timers {
  #now = 0;
  #due: { at: number; work: () => void }[] = [];

  set(work: () => void, ms: number): object {
    const timer = { at: this.#now + ms, work };
    this.#due.push(timer);
    return timer;
  }

  clear(timer: unknown): void {
    this.#due = this.#due.filter((other) => other !== timer);
  }

  get nrWaiting(): number {
    return this.#due.length;
  }

  pass(ms: number): void {
    this.#now += ms;
    for (const timer of this.#due.filter(({ at }) => at <= this.#now)) {
      this.clear(timer);
      timer.work();
    }
  }
}
