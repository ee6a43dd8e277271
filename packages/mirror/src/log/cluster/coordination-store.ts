/**
 * What the nodes that write to one mirror share: which regions are in sync, which node has writes under way where, and who copies
 * what. Implement it on whatever can put requests of several nodes into one order and keep the result: a replicated log, or a
 * database. `coordinationStoreConformance` of `@pdata/testing` says whether it does what is asked here.
 *
 * A store guarantees (the numbers are those of the format):
 *   1. All requests of all nodes take effect in one order, each as a whole, each once.
 *   2. What `update` has answered is durable, and every later answer to any node knows it.
 *   3. A clear takes away this node's mark. The region becomes clean when no node has a mark there and it is in sync.
 *   4. A region is handed out for copying to one node at a time, the same again to a node that asks again; never one on which another
 *      node has a mark; nothing to a node whose copying is stopped.
 *   5. While a node copies a region, `isRecovering` says so to the others, and their marks are refused. A region that somebody
 *      waits for is handed out first.
 *   6. The end of a copy takes effect everywhere before anybody is told that the region is free.
 *   7. When all regions are in sync, every node is told so. A node that has failed leaves its marks as "not in sync".
 *   8. Nothing is handed out before `startCopying`, nor after `stopCopying`.
 *
 * What it must be able to rely on: a node that is declared failed cannot write to any leg any more (it was fenced: cut off from the legs,
 * or reset) before its marks are turned into anything. A store cannot do that by itself; whoever tells it of a failure must have.
 *
 * {@link ClusterState} is all of this as a plain state machine: who can order requests and keep them has only to feed it.
 * Format: docs/format/mirror-log.md, section 13.
 */
import type { MarkOutcome } from '../dirty-log.js';

export interface CoordinationStore {
  /** For messages, and the log's part of the table line: what names this mirror in the store. */
  readonly name: string;
  readonly nrRegions: number;
  /**
   * Begins a session of this node. An earlier session of the same node, in this process or in one that has died, counts as
   * failed: it has lost its marks, and its requests are refused.
   */
  join(nodeId: string): Promise<CoordinationSession>;
}

/** A change of one region by one node. */
export type RegionChange =
  | { readonly op: 'clear'; readonly regionNr: number }
  | {
      readonly op: 'mark';
      readonly regionNr: number;
      /** Refuse the mark unless the region is in sync; and if it is not, have it copied soon. */
      readonly onlyInSync: boolean;
    };

/** What one node asks. Everything rejects with a {@link SessionLostError} once the session has ended, for whatever reason. */
export interface CoordinationSession {
  readonly nodeId: string;
  /** Regions in sync, as of the last answer. */
  readonly syncCount: number;
  /** Applies the changes in order, all at one place of the common order. One outcome for each mark, in order. */
  update(changes: readonly RegionChange[]): Promise<readonly MarkOutcome[]>;
  startCopying(): Promise<void>;
  stopCopying(): Promise<void>;
  /** A region that this node is to copy; ended by `setRegionSync`. */
  nextResyncWork(): Promise<number | undefined>;
  /** `true` only from the node that copies it, and only as the end of that. */
  setRegionSync(regionNr: number, inSync: boolean): Promise<void>;
  /** What has been tried and has failed is handed out again. */
  searchAgain(): Promise<void>;
  /** A leg has lost a flush: no region becomes clean any more. */
  legFlushFailed(): Promise<void>;
  trustLegFlushes(): Promise<void>;
  isInSync(regionNr: number): Promise<boolean>;
  /** Whether another node is copying it. */
  isRecovering(regionNr: number): Promise<boolean>;
  /** Ends the session in order. Marks that are left count as those of a failed node. */
  leave(): Promise<void>;
}
