/**
 * Frees leaked blocks: those with a count of 1 that a check has found nobody to refer to, every other count being exact.
 *
 * In a transaction (copied bitmaps, one superblock write): a crash leaves the metadata as it was, or repaired. A device without
 * room for the copies, likely when it was leaks that filled it, is changed in place instead: bitmaps, index entries, flush,
 * superblock, flush. A crash in between leaves some leaks freed and some hints too careful, unless the disk tears a block in two.
 *
 * Format: docs/format/space-maps.md, section 1.
 */
import { DeviceError, type MetadataDevice } from '@pdata/device';
import type { Block, BlockValidator } from '../../block/block.js';
import { nodeValidator } from '../../btree/node.js';
import { bitmapValidator, ENTRIES_PER_BITMAP } from '../../space-map/bitmap.js';
import { indexBlockValidator, readIndexEntry, writeIndexEntry } from '../../space-map/index-entry.js';
import { NoSpaceError } from '../../transaction/errors.js';
import type { SpaceMapKind } from './bitmap-comparison.js';
import type { BlockReader } from './block-reader.js';
import type { SpaceMapAudit } from './space-maps.js';

/** What only the target knows how to do. */
export interface LeakingMetadata {
  /** Opens the metadata for one transaction. */
  begin(): {
    /** One reference less to each of blocks `from` to `to` (exclusive) of the map. */
    dec(kind: SpaceMapKind, from: number, to: number): void;
    commit(): void;
  };
  /** Stores, in the superblock, how many blocks each map has allocated now; sealed, written, flushed. */
  rewriteSuperblock(nrAllocated: ReadonlyMap<SpaceMapKind, number>): void;
}

/** Byte offset of a bitmap's first entry. */
const ENTRIES_AT = 16;

/** @param maps as a check has left them, that found nothing worse than leaks */
export function freeLeaks(reader: BlockReader, maps: readonly SpaceMapAudit[], metadata: LeakingMetadata): void {
  try {
    const transaction = metadata.begin();
    for (const map of maps) {
      for (const { block, at } of leakyBitmaps(reader, map)) {
        for (const { from, to } of leakedRuns(block, at, map)) transaction.dec(map.kind, from, to);
      }
    }
    transaction.commit();
  } catch (error) {
    // Nothing but free blocks has been written so far.
    if (!(error instanceof NoSpaceError)) throw error;
    freeInPlace(reader, maps, metadata);
  }
}

function freeInPlace(reader: BlockReader, maps: readonly SpaceMapAudit[], metadata: LeakingMetadata): void {
  const { device } = reader;
  for (const map of maps) {
    for (const { block, at } of leakyBitmaps(reader, map)) {
      let nrFreed = 0;
      let firstFreed = ENTRIES_PER_BITMAP;
      for (const { from, to } of leakedRuns(block, at, map)) {
        const first = at * ENTRIES_PER_BITMAP;
        firstFreed = Math.min(firstFreed, from - first);
        nrFreed += to - from;
        for (let entry = from - first; entry < to - first; entry++) clearEntry(block, entry);
      }
      writeSealed(device, block, bitmapValidator);
      loosenHints(reader, map, at, nrFreed, firstFreed);
    }
  }
  device.flush();
  metadata.rewriteSuperblock(new Map(maps.map((map) => [map.kind, allocatedAfter(map)])));
}

/** The bitmaps that hold leaked blocks, each read anew; valid until the next one. */
function* leakyBitmaps(
  reader: BlockReader,
  { comparison, index }: SpaceMapAudit,
): Generator<{ readonly block: Block; readonly at: number }, void> {
  const leaky = comparison?.leaky;
  for (let i = 0; leaky !== undefined && i < leaky.length; i++) {
    const at = leaky.at(i);
    yield { block: readAgain(reader, index.blockNrs[at] as number, bitmapValidator), at };
  }
}

/** Runs of blocks in bitmap `at` with a count of 1 that nothing refers to. */
function* leakedRuns(
  { bytes }: Block,
  at: number,
  map: SpaceMapAudit,
): Generator<{ readonly from: number; readonly to: number }, void> {
  const counts = map.counts.ofBitmap(at);
  const first = at * ENTRIES_PER_BITMAP;
  const nr = Math.min(ENTRIES_PER_BITMAP, map.root.nrBlocks - first);
  let from = -1;
  for (let entry = 0; entry <= nr; entry++) {
    const raw = entry === nr ? 0 : ((bytes[ENTRIES_AT + (entry >>> 2)] as number) >>> ((entry & 3) << 1)) & 3;
    // Raw 2 is a count of 1: the pair's bits are swapped on disk.
    const isLeaked = raw === 2 && (counts?.[entry] ?? 0) === 0;
    if (isLeaked && from < 0) from = entry;
    if (!isLeaked && from >= 0) {
      yield { from: first + from, to: first + entry };
      from = -1;
    }
  }
}

function clearEntry({ bytes }: Block, entry: number): void {
  const at = ENTRIES_AT + (entry >>> 2);
  bytes[at] = (bytes[at] as number) & ~(3 << ((entry & 3) << 1));
}

/** Tells the index that `nrFreed` more entries of bitmap `at` are free, the first of them `firstFreed`. */
function loosenHints(reader: BlockReader, map: SpaceMapAudit, at: number, nrFreed: number, firstFreed: number): void {
  const validator = map.kind === 'data' ? nodeValidator : indexBlockValidator;
  const holder = readAgain(reader, map.index.holderNrs[at] as number, validator);
  const offset = map.index.holderOffsets[at] as number;
  const entry = readIndexEntry(holder.view, offset);
  entry.nrFree = Math.min(ENTRIES_PER_BITMAP, entry.nrFree + nrFreed);
  entry.noneFreeBefore = Math.min(entry.noneFreeBefore, firstFreed);
  writeIndexEntry(holder.view, offset, entry);
  writeSealed(reader.device, holder, validator);
}

const allocatedAfter = ({ comparison }: SpaceMapAudit): number =>
  (comparison?.nrAllocated ?? 0) - (comparison?.nrLeaked ?? 0);

/** A block that the check has read before; it must still be what it was. @throws {@link DeviceError}, {@link CorruptBlockError} */
export function readAgain(reader: BlockReader, blockNr: number, validator: BlockValidator): Block {
  const block = reader.readOne(blockNr);
  if (block instanceof DeviceError) throw block;
  validator.check(block);
  return block;
}

/** Past any cache and any transaction; not flushed. */
export function writeSealed(device: MetadataDevice, block: Block, validator: BlockValidator): void {
  validator.prepare(block);
  device.write(block.nr, block.bytes);
}
