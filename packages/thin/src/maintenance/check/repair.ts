/**
 * Puts right what can be put right without losing anything: leaked blocks are freed, the needs_check flag is cleared.
 *
 * Nothing is written unless the check found nothing worse than leaks. All counts are then known to be exact otherwise, so a
 * block with a count of 1 and no reference is free for sure. (Of the real tools, `--auto-repair` and
 * `--clear-needs-check-flag` both do both.)
 *
 * Leaks are freed in a transaction (copied bitmaps, one superblock write): a crash leaves the pool as it was, or repaired.
 * A metadata device without room for the copies, likely when it was leaks that filled it, is changed in place instead, as the
 * real tools always do it: bitmaps, index entries, flush, superblock, flush. A crash in between leaves some leaks freed and
 * some hints too careful, unless the disk tears a block in two.
 *
 * Format: docs/format/tools.md, section 2.
 */
import { DeviceError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import {
  type Block,
  BlockManager,
  type BlockValidator,
  bitmapValidator,
  claimDevice,
  ENTRIES_PER_BITMAP,
  indexBlockValidator,
  NoSpaceError,
  nodeValidator,
  readIndexEntry,
  writeIndexEntry,
} from '@pdata/persistent-data';
import type { BlockReader, SpaceMapAudit } from '@pdata/persistent-data/maintenance';
import {
  NEEDS_CHECK,
  readThinSuperblock,
  thinSuperblockValidator,
  writeThinSuperblock,
} from '../../format/superblock.js';
import { PoolState } from '../../metadata/pool-state.js';
import type { CheckFinding } from './findings.js';
import { type CheckOptions, type CheckSummary, ThinCheck } from './thin-check.js';

export interface RepairOptions extends Omit<CheckOptions, 'metadataSnapshot' | 'mappingRoot' | 'detailsRoot'> {
  /** Repair although nodes break rules that no reader depends on (findings of severity shape). */
  readonly ignoreNonFatal?: boolean;
}

/** The check before the repair, and what was done. */
export interface RepairSummary extends CheckSummary {
  /** Leaked blocks that were freed. */
  readonly repaired: { readonly data: number; readonly metadata: number };
  readonly needsCheckCleared: boolean;
}

const ENTRIES_AT = 16;

/**
 * Checks a pool's metadata, then frees leaked blocks and clears the needs_check flag. Yields the findings of the check.
 *
 * Writes nothing when a finding is worse than a leak. With `superblockOnly` or `skipMappings` leaks are not looked for, and
 * only the flag is cleared.
 *
 * @throws {@link ReadOnlyError} when `device` is open for reading only
 * @throws {@link DeviceBusyError} when this program has the device open for writing already
 * @throws {@link DeviceError} when the device refuses a write; the pool is then as before, or repaired in part
 */
export function* repairThin(
  device: MetadataDevice,
  options: RepairOptions = {},
): Generator<CheckFinding, RepairSummary, undefined> {
  if (device.readOnly) throw new ReadOnlyError(`repair refused: ${device.name} is open for reading only`);
  const unclaim = claimDevice(device);
  try {
    const check = new ThinCheck(device, options);
    const summary = yield* check.run();
    const nothing = { ...summary, repaired: { data: 0, metadata: 0 }, needsCheckCleared: false };
    if (summary.fatal > 0 || (summary.shape > 0 && options.ignoreNonFatal !== true)) return nothing;
    const hasLeaks = summary.leaks.data + summary.leaks.metadata > 0;
    if (hasLeaks) freeLeaks(check);
    else if (summary.needsCheck) rewriteSuperblock(device, check.reader, () => {});
    return { ...nothing, repaired: summary.leaks, needsCheckCleared: summary.needsCheck };
  } finally {
    unclaim();
  }
}

function freeLeaks(check: ThinCheck): void {
  try {
    freeInTransaction(check);
  } catch (error) {
    // Nothing but free blocks has been written so far.
    if (!(error instanceof NoSpaceError)) throw error;
    freeInPlace(check);
  }
}

function freeInTransaction({ reader, data, metadata }: ThinCheck): void {
  const pool = PoolState.open(new BlockManager(reader.device));
  for (const { block, at } of leakyBitmaps(reader, data)) {
    for (const { from, to } of leakedRuns(block, at, data)) pool.dataSpaceMap.dec(from, to);
  }
  for (const { block, at } of leakyBitmaps(reader, metadata)) {
    for (const { from, to } of leakedRuns(block, at, metadata)) pool.tm.dec(from, to);
  }
  pool.superblock.flags = withoutNeedsCheck(pool.superblock.flags);
  pool.commit();
}

function freeInPlace({ reader, data, metadata }: ThinCheck): void {
  const { device } = reader;
  for (const map of [data, metadata]) {
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
      if (map !== undefined) loosenHints(reader, map, at, nrFreed, firstFreed);
    }
  }
  device.flush();
  rewriteSuperblock(device, reader, (superblock) => {
    superblock.dataSpaceMap = { ...superblock.dataSpaceMap, nrAllocated: allocatedAfter(data) };
    superblock.metadataSpaceMap = { ...superblock.metadataSpaceMap, nrAllocated: allocatedAfter(metadata) };
  });
}

/** The bitmaps that hold leaked blocks, each read anew; valid until the next one. */
function* leakyBitmaps(
  reader: BlockReader,
  map: SpaceMapAudit | undefined,
): Generator<{ readonly block: Block; readonly at: number }, void> {
  const leaky = map?.comparison?.leaky;
  for (let i = 0; map !== undefined && leaky !== undefined && i < leaky.length; i++) {
    const at = leaky.at(i);
    yield { block: readAgain(reader, map.index.blockNrs[at] as number, bitmapValidator), at };
  }
}

/** Runs of blocks in bitmap `at` with a count of 1 that nothing refers to. */
function* leakedRuns(
  { bytes }: Block,
  at: number,
  map: SpaceMapAudit | undefined,
): Generator<{ readonly from: number; readonly to: number }, void> {
  if (map === undefined) return;
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

function rewriteSuperblock(
  device: MetadataDevice,
  reader: BlockReader,
  change: (superblock: ReturnType<typeof readThinSuperblock>) => void,
): void {
  const block = readAgain(reader, 0, thinSuperblockValidator);
  const superblock = readThinSuperblock(block);
  superblock.flags = withoutNeedsCheck(superblock.flags);
  change(superblock);
  writeThinSuperblock(block, superblock);
  writeSealed(device, block, thinSuperblockValidator);
  device.flush();
}

const withoutNeedsCheck = (flags: number): number => (flags & ~NEEDS_CHECK) >>> 0;

const allocatedAfter = (map: SpaceMapAudit | undefined): number =>
  (map?.comparison?.nrAllocated ?? 0) - (map?.comparison?.nrLeaked ?? 0);

/** A block that the check has read before; it must still be what it was. */
function readAgain(reader: BlockReader, blockNr: number, validator: BlockValidator): Block {
  const block = reader.readOne(blockNr);
  if (block instanceof DeviceError) throw block;
  validator.check(block);
  return block;
}

function writeSealed(device: MetadataDevice, block: Block, validator: BlockValidator): void {
  validator.prepare(block);
  device.write(block.nr, block.bytes);
}
