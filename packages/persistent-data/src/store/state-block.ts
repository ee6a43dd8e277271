/**
 * One state of a store: a table of its collections in one block. Whoever holds a reference to the block holds the state; so a
 * snapshot is one count, however large the store, and whoever changes a state that others hold copies the table first, which
 * counts the root of every collection once more.
 *
 *   offset  size   field
 *        0     4   checksum       see block/block.ts; constant 411557
 *        4     4   nrEntries      up to 127
 *        8     8   blockNr        the block this content is meant for
 *       16    16   reserved       zero
 *       32  32 n   entries        in ascending order of their ids
 *
 *   entry      0     4   collectionId   as in the directory
 *              4     4   reserved       zero
 *              8     8   root           of the collection's tree
 *             16     8   length         entries, elements, bits or trees
 *             24     8   reserved       zero
 *
 * Format: docs/format/store.md, section 3.
 */
import {
  type Block,
  type BlockValidator,
  checkHomeAndChecksum,
  corrupt,
  sealHomeAndChecksum,
  setU64At,
  u64At,
} from '../block/block.js';

const STRUCTURE = 'state table';
const STATE_CHECKSUM_XOR = 411557;
const AT = { nrEntries: 4, blockNr: 8, entries: 32 } as const;
const ENTRY_SIZE = 32;
export const MAX_COLLECTIONS = 127;

export interface StateEntry {
  readonly collectionId: number;
  readonly root: number;
  readonly length: number;
}

export const nrStateEntries = ({ view }: Block): number => view.getUint32(AT.nrEntries, true);
const entryAt = (index: number): number => AT.entries + ENTRY_SIZE * index;
/** Where entry `index` names its collection's root. */
export const stateRootOffset = (index: number): number => entryAt(index) + 8;
const stateLengthOffset = (index: number): number => entryAt(index) + 16;
export const stateIdAt = ({ view }: Block, index: number): number => view.getUint32(entryAt(index), true);

export function readState(block: Block): StateEntry[] {
  const { view } = block;
  return Array.from({ length: nrStateEntries(block) }, (_, index) => ({
    collectionId: stateIdAt(block, index),
    root: u64At(view, stateRootOffset(index)),
    length: u64At(view, stateLengthOffset(index)),
  }));
}

/** Replaces the whole table. */
export function writeState(block: Block, entries: readonly StateEntry[]): void {
  const { view, bytes } = block;
  bytes.fill(0, AT.entries);
  view.setUint32(AT.nrEntries, entries.length, true);
  entries.forEach(({ collectionId, root, length }, index) => {
    view.setUint32(entryAt(index), collectionId, true);
    setU64At(view, stateRootOffset(index), root);
    setU64At(view, stateLengthOffset(index), length);
  });
}

/** Replaces root and length of a collection that is in the table. */
export function updateState(block: Block, collectionId: number, root: number, length: number): void {
  const nr = nrStateEntries(block);
  for (let index = 0; index < nr; index++) {
    if (stateIdAt(block, index) !== collectionId) continue;
    setU64At(block.view, stateRootOffset(index), root);
    setU64At(block.view, stateLengthOffset(index), length);
    return;
  }
  refuseMissingCollection(block.nr, collectionId);
}

/** The current state, and every clone, has what the directory says. */
export function refuseMissingCollection(stateNr: number, collectionId: number): never {
  corrupt({ nr: stateNr }, STRUCTURE, `collection ${collectionId}`, 'missing', 'an entry');
}

/** A table may name only what the directory knows. */
export function refuseUnknownCollection(stateNr: number, collectionId: number): never {
  corrupt({ nr: stateNr }, STRUCTURE, 'collection', collectionId, 'an id that the directory knows');
}

export const stateValidator: BlockValidator = {
  structure: STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, STRUCTURE, AT.blockNr, STATE_CHECKSUM_XOR);
    const nr = nrStateEntries(block);
    if (nr > MAX_COLLECTIONS) corrupt(block, STRUCTURE, 'nrEntries', nr, `at most ${MAX_COLLECTIONS}`);
    for (let index = 0; index < nr; index++) {
      const length = u64At(block.view, stateLengthOffset(index));
      if (!Number.isSafeInteger(length))
        corrupt(block, STRUCTURE, `length of entry ${index}`, `about ${length}`, 'at most 2^53 - 1');
    }
    for (let index = 1; index < nr; index++) {
      const [before, id] = [stateIdAt(block, index - 1), stateIdAt(block, index)];
      if (id <= before) corrupt(block, STRUCTURE, `id of entry ${index}`, id, `above ${before}`);
    }
  },
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, STATE_CHECKSUM_XOR),
};
