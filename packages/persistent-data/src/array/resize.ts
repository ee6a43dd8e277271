/**
 * Growing and shrinking an array: all blocks but the last stay full.
 *
 *   grow     the last block, unless it was full, is filled up to its new length; blocks are added behind it
 *   shrink   blocks that hold no element any more leave the index; the last one left is cut to its new length
 *
 * Three habits of the kernel are not copied. Shrinking to an exact multiple of a block's capacity drops the block that
 * becomes empty (there it stays in the tree, useless); and exactly the elements dropped are released (there the count
 * starts at the last one kept). Such a left-over block in an array that a kernel shrank is no obstacle: growing over it
 * replaces it, shrinking drops it. The third is told in array.ts.
 *
 * Format: docs/format/array-and-bitset.md, section 3.1.
 */
import { type Block, corrupt } from '../block/block.js';
import type { ValueType } from '../btree/value-type.js';
import type { PersistentArray } from './array.js';
import { ARRAY_STRUCTURE, arrayValueOffset, nrArrayEntries, setNrArrayEntries } from './array-block.js';

export function resizeArray<V>(array: PersistentArray<V>, oldLength: number, newLength: number, value: V): void {
  if (newLength > oldLength) grow(array, oldLength, newLength, value);
  else if (newLength < oldLength) shrink(array, newLength);
}

function grow<V>(array: PersistentArray<V>, oldLength: number, newLength: number, value: V): void {
  const { type, elementsPerBlock } = array;
  const oldTail = oldLength % elementsPerBlock;
  if (oldTail > 0) {
    const blockIndex = Math.floor(oldLength / elementsPerBlock);
    const nr = Math.min(elementsPerBlock, newLength - blockIndex * elementsPerBlock);
    array.tm.blocks.hold(() => extend(array.shadowBlock(blockIndex), type, oldTail, nr, value));
  }
  const nrBlocks = Math.ceil(newLength / elementsPerBlock);
  for (let blockIndex = Math.ceil(oldLength / elementsPerBlock); blockIndex < nrBlocks; blockIndex++) {
    const nr = Math.min(elementsPerBlock, newLength - blockIndex * elementsPerBlock);
    array.addBlock(blockIndex, nr, (block) => fill(block, type, 0, nr, value));
  }
}

function extend<V>(block: Block, type: ValueType<V>, oldNr: number, newNr: number, value: V): void {
  const stored = nrArrayEntries(block);
  if (stored !== oldNr) corrupt(block, ARRAY_STRUCTURE, 'nrEntries', stored, `${oldNr}, from the length of the array`);
  fill(block, type, oldNr, newNr, value);
  setNrArrayEntries(block, newNr);
  type.inc?.(block.view, arrayValueOffset(block, oldNr), newNr - oldNr);
}

/** Stores `value` in entries `begin`..`end` (exclusive): encoded once, then copied. */
function fill<V>(block: Block, type: ValueType<V>, begin: number, end: number, value: V): void {
  const from = arrayValueOffset(block, begin);
  type.encode(block.view, from, value);
  for (let nr = 1; nr < end - begin; nr *= 2) {
    const length = Math.min(nr, end - begin - nr) * type.size;
    block.bytes.copyWithin(from + nr * type.size, from, from + length);
  }
}

function shrink<V>(array: PersistentArray<V>, newLength: number): void {
  const { type, elementsPerBlock } = array;
  // To the end of the index, not of the array: what lies beyond is a left-over of the kernel's.
  array.index.removeRange(Math.ceil(newLength / elementsPerBlock), Number.MAX_SAFE_INTEGER);
  const newTail = newLength % elementsPerBlock;
  if (newTail === 0) return;
  array.tm.blocks.hold(() => {
    const block = array.shadowBlock(Math.floor(newLength / elementsPerBlock));
    const stored = nrArrayEntries(block);
    if (stored < newTail)
      corrupt(block, ARRAY_STRUCTURE, 'nrEntries', stored, `at least ${newTail}, from the length of the array`);
    if (stored > newTail) type.dec?.(block.view, arrayValueOffset(block, newTail), stored - newTail);
    setNrArrayEntries(block, newTail);
  });
}
