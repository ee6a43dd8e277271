/**
 * What a check notes of the metadata blocks that are nodes of trees: some forty bytes each, in arrays indexed by block number.
 *
 * One set serves all trees of a check, because a block is a node of one kind of tree only (block-census.ts sees to that).
 */

export class NodeNotes {
  /** Leaf: number of entries. Internal node: its place in the walker's list. */
  readonly slot: Int32Array;
  readonly flags: Uint8Array;
  /** Lowest key of a node; highest key below it, once settled. */
  readonly lowest: Float64Array;
  readonly highest: Float64Array;
  /** The tightest bounds that parents set: no key below `from`, none at or above `below` (0: none set). */
  readonly from: Float64Array;
  readonly below: Float64Array;

  constructor(nrBlocks: number) {
    this.slot = new Int32Array(nrBlocks);
    this.flags = new Uint8Array(nrBlocks);
    this.lowest = new Float64Array(nrBlocks);
    this.highest = new Float64Array(nrBlocks);
    this.from = new Float64Array(nrBlocks);
    this.below = new Float64Array(nrBlocks);
  }
}

export const IS_INTERNAL = 1;
/** Cannot be used: unreadable, not a node, not of this tree. */
export const IS_BAD = 2;
export const HAS_PARENT = 4;
/** Fewer entries than a node below a parent must have. */
export const IS_THIN = 8;
export const IS_SETTLED = 16;
export const IS_ON_PATH = 32;
/** Its keys are not where its parents say. */
export const IS_MISPLACED = 64;
/** Was accepted as a root. */
export const IS_ROOT = 128;
