/** What a clone tells whoever listens. */
import type { Listener } from '@pdata/device/engine';
import type { CloneMode } from './clone-mode.js';

export interface CloneEvents {
  /** The mode changed. `reason` is a sentence for people. */
  readonly mode: { readonly from: CloneMode; readonly to: CloneMode; readonly reason: string };
  /**
   * A commit has completed the last region: the destination holds everything, and the source is not needed any more. Once; never
   * of a clone that was complete when it was opened.
   */
  readonly complete: { readonly nrRegions: number };
  /** Something failed that nobody may be waiting for: a copy in the background, a commit on time. */
  readonly error: { readonly operation: string; readonly error: unknown };
}

export type CloneListener<E extends keyof CloneEvents> = Listener<CloneEvents, E>;
