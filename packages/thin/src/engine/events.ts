/** What a pool tells whoever listens. A listener that throws disturbs neither the pool nor the other listeners. */
import type { PoolMode } from './pool-mode.js';

export interface ThinPoolEvents {
  /** The mode changed. `reason` is a sentence for people. */
  readonly mode: { readonly from: PoolMode; readonly to: PoolMode; readonly reason: string };
  /** An allocation found no more free data blocks than the low water mark; once until the next resume. */
  readonly dataLow: { readonly nrFree: number; readonly lowWaterMark: number };
  /** Free metadata blocks, those in reserve included, have come down to their low water mark; once until the next resume. */
  readonly metadataLow: { readonly nrFree: number; readonly lowWaterMark: number };
  /**
   * The transaction was thrown away: everything is as the last commit left it. Called synchronously, before anything else is
   * committed: who stages something alongside the pool forgets it now.
   */
  readonly abort: { readonly operation: string; readonly error: unknown };
  /** A commit is over. `changed` is false when it only flushed data. */
  readonly commit: { readonly changed: boolean };
  /** Something failed that nobody may be waiting for: a commit on time, a metadata operation. */
  readonly error: { readonly operation: string; readonly error: unknown };
}

export type ThinPoolListener<E extends keyof ThinPoolEvents> = (event: ThinPoolEvents[E]) => void;

export class PoolEvents {
  readonly #listeners = new Map<keyof ThinPoolEvents, Set<ThinPoolListener<never>>>();

  /** Returns what takes the listener off again. */
  on<E extends keyof ThinPoolEvents>(event: E, listener: ThinPoolListener<E>): () => void {
    let listeners = this.#listeners.get(event);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(event, listeners);
    }
    const own: ThinPoolListener<E> = (happened) => listener(happened); // one that is added twice is called twice
    listeners.add(own);
    return () => listeners.delete(own);
  }

  emit<E extends keyof ThinPoolEvents>(event: E, happened: ThinPoolEvents[E]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        (listener as ThinPoolListener<E>)(happened);
      } catch {
        // A listener's bug must not become a pool's: it may be in the middle of a transaction.
      }
    }
  }
}
