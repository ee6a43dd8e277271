/**
 * Reference counts for every block of a device, and the choice of free ones.
 *
 * Declared here, beside the transaction manager that needs it, and implemented above the btree that its implementations
 * need: this interface is where that knot is cut. Two implementations, one contract (test/space-map-contract.ts):
 * space-map/metadata-space-map.ts for the blocks of the metadata device itself, space-map/data-space-map.ts for any other.
 *
 * The rule both keep: a block is handed out only if it is free now *and* was free in the last commit. What this
 * transaction freed is still reached by the superblock on disk, and a crash now must find it whole.
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
