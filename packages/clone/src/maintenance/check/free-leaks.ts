/**
 * Puts right, in place, what can be put right without losing anything: leaked blocks are freed.
 *
 * Nothing is written unless the check found nothing worse than leaks. All counts are then known to be exact otherwise, so a
 * block with a count of 1 and no reference is free for sure. How: `freeLeaks` of @pdata/persistent-data/maintenance.
 */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { BlockManager, claimDevice } from '@pdata/persistent-data';
import { type CheckFinding, freeLeaks, readAgain, writeSealed } from '@pdata/persistent-data/maintenance';
import { cloneSuperblockValidator, readCloneSuperblock, writeCloneSuperblock } from '../../format/superblock.js';
import { CloneState } from '../../metadata/clone-state.js';
import { DirtyRegions } from '../../metadata/dirty-regions.js';
import { type CheckOptions, type CheckSummary, CloneCheck } from './clone-check.js';

export interface FreeLeaksOptions extends Omit<CheckOptions, 'superblockOnly' | 'bitsetRoot'> {
  /** Free leaks although nodes break rules that no reader depends on (findings of severity shape). */
  readonly ignoreNonFatal?: boolean;
}

/** The check before, and what was done. */
export interface FreeLeaksSummary extends CheckSummary {
  /** Leaked blocks that were freed. */
  readonly freed: number;
}

/**
 * Checks a clone's metadata, then frees leaked blocks. Yields the findings of the check. Writes nothing when a finding is worse
 * than a leak; that is for {@link repairClone}.
 *
 * @throws {@link ReadOnlyError} when `device` is open for reading only
 * @throws {@link DeviceBusyError} when this program has the device open for writing already
 * @throws {@link DeviceError} when the device refuses a write; the metadata is then as before, or repaired in part
 */
export function* freeCloneLeaks(
  device: MetadataDevice,
  options: FreeLeaksOptions = {},
): Generator<CheckFinding, FreeLeaksSummary, undefined> {
  if (device.readOnly) throw new ReadOnlyError(`repair refused: ${device.name} is open for reading only`);
  const unclaim = claimDevice(device);
  try {
    const check = new CloneCheck(device, options);
    const summary = yield* check.run();
    const mayWrite = summary.fatal === 0 && (summary.shape === 0 || options.ignoreNonFatal === true);
    if (!mayWrite || summary.leaks.metadata === 0) return { ...summary, freed: 0 };
    freeAll(check);
    return { ...summary, freed: summary.leaks.metadata };
  } finally {
    unclaim();
  }
}

function freeAll({ reader, metadata }: CloneCheck): void {
  if (metadata === undefined) return;
  const { device } = reader;
  freeLeaks(reader, [metadata], {
    begin() {
      const blocks = new BlockManager(device);
      const state = CloneState.openAt(blocks, readCloneSuperblock(blocks.read(0, cloneSuperblockValidator)));
      return { dec: (_, from, to) => state.tm.dec(from, to), commit: () => state.commit(new DirtyRegions(0)) };
    },
    rewriteSuperblock(nrAllocated) {
      const block = readAgain(reader, 0, cloneSuperblockValidator);
      const superblock = readCloneSuperblock(block);
      superblock.metadataSpaceMap = {
        ...superblock.metadataSpaceMap,
        nrAllocated: nrAllocated.get('metadata') ?? 0,
      };
      writeCloneSuperblock(block, superblock);
      writeSealed(device, block, cloneSuperblockValidator);
      device.flush();
    },
  });
}
