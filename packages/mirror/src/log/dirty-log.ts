/**
 * What a mirror remembers of its regions: which are known to be equal on all legs, and which a restart has to copy again.
 *
 * A region is `regionSize` sectors; its number is the sector within the mirror divided by that. A log keeps three bits for each:
 *
 *   clean        no write can be under way, and all legs are equal. The only bit that survives a restart
 *   in sync      all legs are equal but for writes that are under way
 *   recovering   somebody is copying it
 *
 * Rules that every log keeps; the first three are those of section 12 of the format, so that a cluster is no special case:
 *   1. A region is clean only if it is in sync: `clear` on any other has no effect, `setRegionSync(r, false)` takes the bit away.
 *   2. `mark` and `clear` change memory; `flush` makes it durable: marks before it resolves, and clean bits only
 *      after a flush of all legs that began after the `clear`.
 *   3. `flush` does nothing when no persistent bit has changed. Calls at once share what they can.
 *   4. Once a flush of a leg has failed, nothing becomes clean any more, until `trustLegFlushes`. What an earlier flush of the legs had
 *      covered stays clean, for that the leg has not lost; the kernel calls everything dirty then.
 *   5. A region is handed out for recovery once, until the search begins anew (`searchAgain`, `resume`): a copy that fails is
 *      not tried for ever, as in the kernel. What falls out of sync behind the search waits for that too.
 *   6. Calls take effect in the order in which they are made, whenever they are answered.
 *
 * Three kinds: in memory (core-log.ts), the kernel's on a device (disk-log.ts), shared by several nodes (cluster/cluster-log.ts).
 * Not here: pending writes and what holds them back (region-hash/), copying (engine/).
 * Format: docs/format/mirror-log.md, sections 3 and 4.
 */

/**
 * Flushes all legs; what the log needs of its mirror. Resolves with the numbers of the legs that failed; recording their errors is the
 * mirror's. Never rejects.
 */
export type FlushLegs = () => Promise<readonly number[]>;

/** `A` healthy; `D` a read or a write of the log's device failed; `F` a flush of it. */
export type LogHealth = 'A' | 'D' | 'F';

export interface LogStatus {
  readonly kind: DirtyLog['kind'];
  readonly health: LogHealth;
  /** Name of the log's device; missing when it has none. */
  readonly device?: string;
  /** A flush of a leg has failed: nothing becomes clean any more. */
  readonly hasLostLegFlush: boolean;
  readonly nrRegions: number;
  /** Regions in sync, as far as this node knows. */
  readonly syncCount: number;
}

/**
 * What a flushed mark has found, and what stays so until it is cleared:
 *
 *   in sync       the write goes to all legs
 *   not in sync   the write goes to the default leg; nobody copies the region before the mark is cleared, except this node, which
 *                 knows of its own writes
 *   refused       another node is copying the region: there is no mark, and the write has to wait
 */
export type MarkOutcome = 'in sync' | 'not in sync' | 'refused';

export interface DirtyLog {
  readonly kind: 'core' | 'disk' | 'cluster';
  /** Sectors, a power of two. */
  readonly regionSize: number;
  readonly nrRegions: number;
  /** Regions in sync. In a cluster, as of the last answer that this node got. */
  readonly syncCount: number;

  /**
   * Begins or goes on: reads what was kept, and hands out resync work from the first region on. To be called before anything
   * else, and again after a suspend. A device that cannot be read or written is no rejection: the log is then of health `D` or `F`,
   * with no region in sync when it could not be read.
   *
   * Rejects with a {@link NotALogError} or an {@link UnsupportedLogError} when the device holds something else; it is left as it is.
   */
  resume(flushLegs: FlushLegs): Promise<void>;
  /** No more resync work from here on. */
  presuspend(): Promise<void>;
  /** All I/O has ended: what is pending in memory goes out. Rejects as `flush` does. */
  postsuspend(): Promise<void>;
  /** Lets go of everything; the log's device stays open, it is the caller's. Does not flush. */
  close(): Promise<void>;

  /** undefined: not known without waiting (a cluster's log); ask {@link queryInSync}. */
  isInSync(regionNr: number): boolean | undefined;
  queryInSync(regionNr: number): Promise<boolean>;
  /**
   * Whether every leg is known to hold all of the region durably: it has been cleared, and a flush of the legs has followed.
   * Where that is not known (a core log, which flushes no legs; a cluster's), false.
   */
  isClean(regionNr: number): boolean;

  /** A write is about to be sent. Durable when the next `flush` has resolved. */
  mark(regionNr: number): void;
  /** The last write has ended, or the region has been copied. */
  clear(regionNr: number): void;
  /**
   * Makes durable what `mark` and `clear` have changed; marks of any region of which `mark` was called before, when it resolves.
   * Rejects with a {@link LogFailedError} when the log's device fails; what was to be written stays to be written.
   */
  flush(): Promise<void>;
  /** What the mark of a region has found, once it has been flushed. Sending a write without asking makes legs differ. */
  markOutcome(regionNr: number): MarkOutcome;

  /** The next region to copy, which is recovering from here on; undefined when there is none now. */
  nextResyncWork(): Promise<number | undefined>;
  /** The next search for resync work begins at region 0: what failed, and what fell out of sync behind the search, is handed out again. */
  searchAgain(): Promise<void>;
  /** Ends the recovery of a region, whatever it was; counts transitions only. */
  setRegionSync(regionNr: number, inSync: boolean): Promise<void>;
  /**
   * The leg whose flush failed is gone, and every region of which it may have lost something has been set not in sync: regions
   * become clean again.
   */
  trustLegFlushes(): Promise<void>;

  status(): LogStatus;
  /** The log's part of the kernel's status line: `1 core`, `3 disk LOG.img A`. */
  statusText(): string;
  /** The log's part of the kernel's table line: `core 1 128`, `disk 2 LOG.img 128`. */
  tableText(): string;
}
