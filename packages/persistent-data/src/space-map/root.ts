/**
 * The record by which a superblock remembers a space map: 32 bytes in a field of 128, the rest zero.
 *
 *   offset  size   field
 *        0     8   nrBlocks       blocks managed
 *        8     8   nrAllocated    blocks with a count of 1 or more
 *       16     8   bitmapRoot     data kind: root of the index tree; metadata kind: the index block
 *       24     8   refCountRoot   root of the reference-count tree (always exists, may be an empty leaf)
 *
 * Format: docs/format/space-maps.md, section 1.1.
 */
import { setU64At, u64At } from '../block/block.js';

/** Bytes a superblock keeps for the record. */
export const SPACE_MAP_ROOT_SIZE = 128;

export interface SpaceMapRoot {
  readonly nrBlocks: number;
  readonly nrAllocated: number;
  readonly bitmapRoot: number;
  readonly refCountRoot: number;
}

export const readSpaceMapRoot = (view: DataView, at: number): SpaceMapRoot => ({
  nrBlocks: u64At(view, at),
  nrAllocated: u64At(view, at + 8),
  bitmapRoot: u64At(view, at + 16),
  refCountRoot: u64At(view, at + 24),
});

/** Stores the record and zeroes the rest of its field. */
export function writeSpaceMapRoot(view: DataView, at: number, root: SpaceMapRoot): void {
  for (let i = 0; i < SPACE_MAP_ROOT_SIZE; i += 4) view.setUint32(at + i, 0, true);
  setU64At(view, at, root.nrBlocks);
  setU64At(view, at + 8, root.nrAllocated);
  setU64At(view, at + 16, root.bitmapRoot);
  setU64At(view, at + 24, root.refCountRoot);
}
