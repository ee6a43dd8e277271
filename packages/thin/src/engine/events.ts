/** What a pool tells whoever listens. A listener that throws disturbs neither the pool nor the other listeners. */
import type { Listener } from '@pdata/device/engine';
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

export type ThinPoolListener<E extends keyof ThinPoolEvents> = Listener<ThinPoolEvents, E>;
