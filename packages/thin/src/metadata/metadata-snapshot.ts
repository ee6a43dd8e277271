/**
 * A metadata snapshot: a copy of the superblock at another block, whose trees user space may read while the pool goes on.
 *
 * Nothing but the superblock is copied: the two tree roots gain a reference, so that later changes shadow them, and the
 * blocks the copy can reach stay as they are until the release. The space-map roots in the copy are zero.
 *
 * Format: docs/format/thin.md, section 5.
 */
import { CorruptBlockError } from '@pdata/device';
import { BTree, SPACE_MAP_ROOT_SIZE, subtreeType } from '@pdata/persistent-data';
import { deviceDetailsType } from '../format/device-details.js';
import {
  DATA_SPACE_MAP_AT,
  METADATA_SPACE_MAP_AT,
  readThinSuperblock,
  thinSuperblockValidator,
} from '../format/superblock.js';
import { deleteMappings } from './devices.js';
import type { PoolState } from './pool-state.js';

/** To be called right after a commit, so that block 0 describes the current roots; the snapshot is real with the next one. */
export function reserve(state: PoolState): void {
  const { tm, superblock } = state;
  tm.blocks.hold(() => {
    // Shadowing gives up a reference to its original, and block 0 is to keep its own.
    tm.inc(0);
    const copy = tm.shadow(0, thinSuperblockValidator, undefined);
    copy.bytes.fill(0, DATA_SPACE_MAP_AT, DATA_SPACE_MAP_AT + SPACE_MAP_ROOT_SIZE);
    copy.bytes.fill(0, METADATA_SPACE_MAP_AT, METADATA_SPACE_MAP_AT + SPACE_MAP_ROOT_SIZE);
    tm.inc(state.mappings.root);
    tm.inc(state.details.root);
    superblock.heldRoot = copy.nr;
  });
}

export function release(state: PoolState): void {
  const { tm, superblock } = state;
  const { heldRoot } = superblock;
  if (heldRoot === 0) return;
  const held = readThinSuperblock(tm.read(heldRoot, thinSuperblockValidator));
  if (held.heldRoot !== 0) {
    throw new CorruptBlockError({
      structure: 'metadata snapshot',
      blockNr: heldRoot,
      field: 'held root',
      found: held.heldRoot,
      expected: 0,
    });
  }
  superblock.heldRoot = 0;
  deleteTwoLevels(state, held.mappingRoot);
  new BTree(tm, deviceDetailsType, held.detailsRoot).delete();
  tm.dec(heldRoot);
}

/** The upper tree first, noting the roots it gives up; then each tree below, as far as nobody else reads it. */
function deleteTwoLevels(state: PoolState, root: number): void {
  const roots: number[] = [];
  const type = subtreeType(state.tm);
  const noting = {
    ...type,
    dec: (view: DataView, at: number, count: number) => {
      for (let i = 0; i < count; i++) roots.push(type.decode(view, at + type.size * i));
    },
  };
  new BTree(state.tm, noting, root).delete();
  for (const subtree of roots) deleteMappings(state, subtree);
}
