/** Time, in hands that a test can take over. */

export interface Timers {
  set(work: () => void, ms: number): unknown;
  clear(timer: unknown): void;
}

/** The most that {@link systemTimers} can wait, in milliseconds: longer ones would be taken for 1 ms. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** `setTimeout` and `clearTimeout`. */
export const systemTimers: Timers = {
  set(work, ms) {
    const timer: unknown = setTimeout(work, ms);
    // An engine that waits to commit must not keep a program from ending; close() commits.
    if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') {
      timer.unref();
    }
    return timer;
  },
  clear: (timer) => clearTimeout(timer as Parameters<typeof clearTimeout>[0]),
};
