/**
 * The blocks of a store as a graph: for every kind of block, its validator, and where in it the numbers of other blocks stand. What
 * walks a whole store (check, compact, statistics) stands on this, and needs to know nothing else of the formats.
 */
import {
  ARRAY_STRUCTURE,
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueSize,
  nrArrayEntries,
} from '../array/array-block.js';
import type { Block, BlockValidator } from '../block/block.js';
import { corrupt, u64At } from '../block/block.js';
import { isLeaf, nodeValidator, nrEntries, valueOffset, valueSize } from '../btree/node.js';
import { bitmapValidator } from '../space-map/bitmap.js';
import type { UnitPlace } from './codec.js';
import { NEXT_AT, overflowValidator } from './overflow.js';
import { chainOffset, isPageLeaf, nrPageEntries, pageChildOffset, pageValidator, placeOf } from './page-node.js';

/** What a walk is told of a block: the blocks it names, and the units it names. */
export interface Visitor {
  /** A u64 at `at` of the block names a block of that kind. */
  block(at: number, kind: BlockKind): void;
  /** A reference to a unit of a space map. */
  unit(map: string, unit: number): void;
}

export interface BlockKind {
  readonly validator: BlockValidator;
  /** Reports what `block` names. */
  visit(block: Block, visitor: Visitor): void;
}

/** Reports what a value at `at` names. */
type ValueVisit = (block: Block, at: number, visitor: Visitor) => void;

/** Bytes of a value that names one block. */
const POINTER_SIZE = 8;

/** The nodes of a kernel's btree. @param size bytes of a value, at least: `value` looks no further */
export function btreeKind(value?: ValueVisit, size = POINTER_SIZE): BlockKind {
  const kind: BlockKind = {
    validator: nodeValidator,
    visit(block, visitor) {
      const leaf = isLeaf(block);
      if (leaf && value === undefined) return;
      if (leaf && valueSize(block) < size)
        corrupt(block, 'btree node', 'valueSize', valueSize(block), `at least ${size}`);
      for (let i = 0; i < nrEntries(block); i++) {
        const at = valueOffset(block, i);
        if (!leaf) visitor.block(at, kind);
        else value?.(block, at, visitor);
      }
    },
  };
  return kind;
}

/**
 * The nodes of a page tree, and the chains of its long values. `value` sees those that are in a leaf.
 * @param size bytes of a value, at least: `value` looks no further
 */
export function pageKind(value?: ValueVisit, size = POINTER_SIZE): BlockKind {
  const place = { at: 0, length: 0, chain: 0 };
  const kind: BlockKind = {
    validator: pageValidator,
    visit(block, visitor) {
      const leaf = isPageLeaf(block);
      for (let i = 0; i < nrPageEntries(block); i++) {
        if (!leaf) visitor.block(pageChildOffset(block, i), kind);
        else if (chainOffset(block, i) !== 0) visitor.block(chainOffset(block, i), chainKind);
        else if (value !== undefined) {
          const { at, length } = placeOf(block, i, place);
          if (length < size) corrupt(block, 'page node', `length of value ${i}`, length, `at least ${size}`);
          value(block, at, visitor);
        }
      }
    },
  };
  return kind;
}

const chainKind: BlockKind = {
  validator: overflowValidator,
  visit(block, visitor) {
    if (u64At(block.view, NEXT_AT) !== 0) visitor.block(NEXT_AT, chainKind);
  },
};

/** A chain that is named from outside a tree. */
export const overflowKind = chainKind;

export function arrayKind(elementSize: number, value?: ValueVisit): BlockKind {
  const blocks: BlockKind = {
    validator: arrayBlockValidator,
    visit(block, visitor) {
      if (value === undefined) return;
      const size = arrayValueSize(block);
      if (size !== elementSize) corrupt(block, ARRAY_STRUCTURE, 'valueSize', size, elementSize);
      for (let i = 0; i < nrArrayEntries(block); i++) value(block, ARRAY_VALUES_AT + elementSize * i, visitor);
    },
  };
  return btreeKind((_, at, visitor) => visitor.block(at, blocks));
}

/** A bitmap of a space map. */
export const bitmapKind: BlockKind = { validator: bitmapValidator, visit: () => {} };
/** The index tree of a data space map: the bitmap's number comes first in an entry. */
export const spaceMapIndexKind: BlockKind = btreeKind((_, at, visitor) => visitor.block(at, bitmapKind));
/** The reference-count tree of any space map. */
export const refCountKind: BlockKind = btreeKind();

/** Reports the units that a value of a fixed size names; undefined when it names none. */
export function unitVisit(units: readonly UnitPlace[]): ValueVisit | undefined {
  if (units.length === 0) return undefined;
  return (block, at, visitor) => {
    for (const { map, offset } of units) {
      const stored = u64At(block.view, at + offset);
      if (stored > 0) visitor.unit(map, stored - 1);
    }
  };
}
