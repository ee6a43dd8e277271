/**
 * Puts right what can be put right without losing anything: leaked blocks are freed, the needs_check flag is cleared.
 *
 * Nothing is written unless the check found nothing worse than leaks. All counts are then known to be exact otherwise, so a
 * block with a count of 1 and no reference is free for sure. (Of the real tools, `--auto-repair` and
 * `--clear-needs-check-flag` both do both.)
 *
 * How leaks are freed, also where there is no room for a transaction: `freeLeaks` of @pdata/persistent-data/maintenance.
 *
 * Format: docs/format/tools.md, section 2.
 */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { BlockManager, claimDevice } from '@pdata/persistent-data';
import { type BlockReader, freeLeaks, readAgain, writeSealed } from '@pdata/persistent-data/maintenance';
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
    if (hasLeaks) freeAll(check);
    else if (summary.needsCheck) rewriteSuperblock(device, check.reader, () => {});
    return { ...nothing, repaired: summary.leaks, needsCheckCleared: summary.needsCheck };
  } finally {
    unclaim();
  }
}

function freeAll({ reader, data, metadata }: ThinCheck): void {
  const { device } = reader;
  const maps = [data, metadata].filter((map) => map !== undefined);
  freeLeaks(reader, maps, {
    begin() {
      const pool = PoolState.open(new BlockManager(device));
      return {
        dec: (kind, from, to) => (kind === 'data' ? pool.dataSpaceMap : pool.tm).dec(from, to),
        commit() {
          pool.superblock.flags = withoutNeedsCheck(pool.superblock.flags);
          pool.commit();
        },
      };
    },
    rewriteSuperblock(nrAllocated) {
      rewriteSuperblock(device, reader, (superblock) => {
        const { dataSpaceMap, metadataSpaceMap } = superblock;
        superblock.dataSpaceMap = { ...dataSpaceMap, nrAllocated: nrAllocated.get('data') ?? 0 };
        superblock.metadataSpaceMap = { ...metadataSpaceMap, nrAllocated: nrAllocated.get('metadata') ?? 0 };
      });
    },
  });
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
