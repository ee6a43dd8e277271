/**
 * Reference counts for every block of a device, and the choice of free ones.
 *
 * Declared here, beside the transaction manager that needs it, and implemented above the btree that its implementations
 * need: this interface is where that knot is cut. Two implementations, one contract (test/space-map-contract.ts):
 * space-map/metadata-space-map.ts for the blocks of the metadata device itself, space-map/data-space-map.ts for any other.
 *
 * The rule both keep: a block is handed out only if it is free now *and* was free in the last commit. What this
 * transaction freed is still reached by the superblock on disk, and a crash now must find it whole. The same goes for
 * every other state that was sealed and not released: commits on their way to the disk, of which a crash may bring back
 * any, and states that somebody still reads.
 *
 * Ranges are `begin` inclusive, `end` exclusive. Block numbers outside the map are a `RangeError`.
 */
export interface SpaceMap {
  /** Blocks managed, growth of this transaction included. */
  readonly nrBlocks: number;
  /** Blocks that can still be handed out in this transaction, at most; freed ones come back with the commit. */
  readonly nrFree: number;
  /** Blocks with a count of 1 or more. */
  readonly nrAllocated: number;
  /** References to `blockNr`, everything pending included. */
  count(blockNr: number): number;
  /** Whether the count is above 1. */
  isShared(blockNr: number): boolean;
  /** @throws {@link CountRangeError} when a count would pass 2^32 - 1, which the kernel lets wrap */
  inc(begin: number, end?: number): void;
  /** @throws {@link CountRangeError} for a count that is 0 already */
  dec(begin: number, end?: number): void;
  setCount(blockNr: number, count: number): void;
  /** A block that was free, now with a count of 1. @throws {@link NoSpaceError} */
  newBlock(): number;
  /** Adds `nr` blocks at the end. */
  extend(nr: number): void;
}

/** A state of a space map that somebody can still come back to, or is reading. */
export interface SealedCounts {
  /** From here on, what only this state has in use may be handed out again. Once; a second call does nothing. */
  release(): void;
}

/** What both space maps offer besides counting to those who keep more states than the last commit. */
export interface SealableSpaceMap extends SpaceMap {
  /**
   * Keeps the state of now: until it is released, no block that it has in use is handed out. Every block that it reaches has
   * to stay as it is, the map's own included: the transaction manager's `seal` sees to that.
   */
  seal(): SealedCounts;
  /** The state sealed last, or committed, or opened: for whoever is to release it. */
  latestSealed(): SealedCounts;
  /** What the map keeps in memory as it is now; the function returned puts it back, the blocks having been put back. */
  remember(): () => void;
}
