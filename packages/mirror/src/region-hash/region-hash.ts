/**
 * Which writes may go where, and when a region may be copied or called clean: every such decision of a mirror is made here.
 *
 *   admitWrites ──▶ to all legs, to the default leg, or held back ──▶ writeEnded
 *   prepareRecovery ──▶ (writes end) ──▶ takeQuiesced ──▶ copying ──▶ recoveryDone
 *   update: what has been copied or has come to rest is told to the log; gives back the writes that were held back
 *
 * An entry exists for a region with something to remember; any other is as the log has it.
 *
 *   clean        in sync, no write pending
 *   dirty        in sync, writes pending, or not yet cleared
 *   nosync       not in sync, with or without writes pending
 *   recovering   chosen to be copied: new writes are held back, those admitted before end first
 *
 * Rules; each has been broken by somebody once:
 *   1. A write that ends on a region that is not in sync leaves it so. Only a copy puts a region in sync.
 *   2. Writes to regions not in sync are marked in the log too, when the first is admitted, and cleared when the last has ended, so that
 *      other nodes know of them. The clear makes the region clean only if it is in sync, which is for the log to know.
 *   3. After a copy the region is reported in sync before it is cleared.
 *   4. A copy that fails leaves the region not in sync, and is not tried again by itself.
 *   5. A region is copied only when no write to it is in flight, here or on any other node.
 *   6. Where an admitted write goes is decided by what its mark has found (`markOutcome`), not by what was known before: another
 *      node may have copied the region in between.
 *   7. A write that failed on a leg is reported by `markNosync` before `writeEnded`, else its region would be cleared.
 *
 * Calls may overlap; the mirror's worker is expected to be one loop all the same. Flushes and discards concern no region and do not come here.
 * Format: docs/format/mirror-log.md, sections 5, 6, 7 and 12.
 */
import { invariant, type StoreError } from '@pdata/device';
import type { DirtyLog } from '../log/dirty-log.js';

export type RegionState = 'clean' | 'dirty' | 'nosync' | 'recovering';

export interface RegionHashOptions<W> {
  /** The region of a write; no write crosses the border of one. */
  readonly regionOf: (write: W) => number;
  /** Called when there is something for {@link RegionHash.update} or {@link RegionHash.takeQuiesced}: wake the worker. Synchronous, may be called often. */
  readonly onWork?: () => void;
}

/** What became of a batch of writes. Held back ones are in none of the lists: `update` gives them back. */
export interface AdmittedWrites<W> {
  /** Marked: send to all legs, then `writeEnded` each. */
  readonly toAllLegs: readonly W[];
  /** Not in sync, marked: send to the default leg alone, then `writeEnded` each. */
  readonly toDefaultLeg: readonly W[];
  /** Another node is copying their regions: not admitted; hand them in again a little later (the kernel: after 200 ms). */
  readonly later: readonly W[];
  /** The log could not be flushed: the marks are not durable. Whether to send the writes all the same is the mirror's policy; `writeEnded` each in any case. */
  readonly logFailure: StoreError | undefined;
}

export interface UpdateOptions {
  /** Leave regions that have come to rest marked, to save the log a write if they are written to again soon. Default false. */
  readonly keepIdle?: boolean;
}

export interface UpdateOutcome<W> {
  /** Writes that had been held back: hand them in again. */
  readonly released: readonly W[];
  /** Regions that are in sync now, because they have been copied. */
  readonly recovered: readonly number[];
  /** Regions whose copying failed or was called off. */
  readonly failed: readonly number[];
  /** The log could not be flushed. */
  readonly logFailure: StoreError | undefined;
}

export class RegionHash<W> {
  constructor(_log: DirtyLog, _options: RegionHashOptions<W>) {
    invariant(false, 'to be written');
  }

  /** As the log has it when nothing is remembered; a region of which the log does not know (a cluster's) is `nosync`. */
  declare stateOf: (regionNr: number) => RegionState;
  /** Writes admitted and not ended. */
  declare nrPending: (regionNr: number) => number;
  /** Regions between `prepareRecovery` and the `update` that ends their recovery. */
  declare readonly nrRecovering: number;
  /** Regions at rest that are still marked: what `update` would clear. */
  declare readonly nrIdle: number;

  /** Decides where each write goes: marks regions, flushes the log once. Never rejects because of the log. */
  declare admitWrites: (writes: readonly W[]) => Promise<AdmittedWrites<W>>;
  /** A write that was admitted has ended on all legs that it was sent to. */
  declare writeEnded: (regionNr: number) => void;
  /** A write failed on a leg: the region is not in sync from here on; a recovery that waits for its writes is called off. */
  declare markNosync: (regionNr: number) => Promise<void>;
  /** A leg failed a flush, so what it had acknowledged may be lost: every region whose writes end from here on is not in sync. */
  declare legFlushFailed: () => void;

  /** Asks the log for a region to copy; from here on writes to it are held back. undefined: nothing to do now. */
  declare prepareRecovery: () => Promise<number | undefined>;
  /** A region whose writes have all ended: copy it now, then {@link recoveryDone}. */
  declare takeQuiesced: () => number | undefined;
  declare recoveryDone: (regionNr: number, copied: boolean) => void;
  /** Tells the log what has been copied and what has come to rest, and flushes it once. */
  declare update: (options?: UpdateOptions) => Promise<UpdateOutcome<W>>;
}
