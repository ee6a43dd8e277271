/**
 * Writes the space map of a restored pool's data device from finished counts: each bitmap once, then the two trees in bulk.
 * Counting through the map itself would shadow, look up and insert once a mapping.
 *
 * Format: docs/format/space-maps.md, section 1.
 */
import {
  BTreeBuilder,
  bitmapValidator,
  ENTRIES_PER_BITMAP,
  indexEntryType,
  nrBitmapsFor,
  refCountType,
  type SpaceMapRoot,
  type TransactionManager,
} from '@pdata/persistent-data';
import type { DataCounts } from './data-counts.js';

/** Byte offset of the first pair in a bitmap. */
const PAIRS_AT = 16;
/** A count as its pair of bits, high bit first: 0, 1, 2, and 3 for more. */
const PAIR_OF = [0b00, 0b10, 0b01, 0b11] as const;

/** @throws {@link NoSpaceError} when the metadata device has no room for it */
export function buildDataSpaceMap(tm: TransactionManager, counts: DataCounts): SpaceMapRoot {
  const index = new BTreeBuilder(tm, indexEntryType);
  const overflow = new BTreeBuilder(tm, refCountType);
  let nrAllocated = 0;
  for (let bitmapNr = 0; bitmapNr < nrBitmapsFor(counts.nrBlocks); bitmapNr++) {
    const bitmap = tm.newBlock(bitmapValidator);
    const blockNr = bitmap.nr;
    const chunk = counts.chunk(bitmapNr);
    let nrUsed = 0;
    let noneFreeBefore = 0;
    if (chunk) {
      for (let entry = 0; entry < ENTRIES_PER_BITMAP; entry++) {
        const count = chunk[entry] as number;
        if (count === 0) continue;
        if (entry === noneFreeBefore) noneFreeBefore++;
        nrUsed++;
        bitmap.bytes[PAIRS_AT + (entry >>> 2)]! |= (PAIR_OF[Math.min(count, 3)] as number) << ((entry & 3) << 1);
      }
      // The bitmap is complete: only now may other blocks be asked for.
      for (let entry = 0; entry < ENTRIES_PER_BITMAP; entry++) {
        if ((chunk[entry] as number) < 3) continue;
        const block = bitmapNr * ENTRIES_PER_BITMAP + entry;
        overflow.add(block, counts.count(block));
      }
    }
    nrAllocated += nrUsed;
    index.add(bitmapNr, { blockNr, nrFree: ENTRIES_PER_BITMAP - nrUsed, noneFreeBefore });
  }
  const bitmapRoot = index.finish().root;
  const refCountRoot = overflow.finish().root;
  return { nrBlocks: counts.nrBlocks, nrAllocated, bitmapRoot, refCountRoot };
}
