/**
 * clone_repair: new metadata from what can be read of damaged metadata.
 *
 * Reads forgivingly, as a repairing dump does, and builds what a restore of that dump would: all counts are new, and nothing is
 * leaked. A bit that cannot be read counts as not set. That is the safe side for what is *read*: the source's data is shown, never
 * what a destination happens to hold. It is not for what was *written*: data written to such a region since the clone was made is out of
 * sight, and hydration overwrites it from the source. So every such region is listed (`inDoubt`), for the caller to copy from the
 * destination first.
 *
 * The source is only read. The target's superblock is wiped first and written last, as by a restore.
 */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { wipeSuperblock } from '@pdata/persistent-data';
import type { Progress, WorkOptions } from '@pdata/persistent-data/maintenance';
import { RegionsProgress, type RegionsSummary, regionsSummary } from './dump/dump.js';
import { type OutlineOptions, readOutline, refuseGivenSizes } from './regions/outline.js';
import { regionRuns } from './regions/region-runs.js';
import { CloneBuild } from './restore/clone-build.js';

export interface RepairOptions extends WorkOptions, Omit<OutlineOptions, 'repair' | 'signal'> {}

export interface RepairSummary extends RegionsSummary {
  /** Blocks of the target in use. */
  readonly nrMetadataBlocks: number;
}

/**
 * Repairs the metadata on `source` to `target`, whose content is lost as soon as the source has proved readable.
 *
 * @returns progress, by array blocks read; the summary says what is in doubt
 * @throws {@link GeometryNeededError} when the superblock is lost and the sizes were not given; nothing is written then
 * @throws {@link NotFormattedError}, {@link UnsupportedMetadataError}, {@link GeometryError}; nothing is written then
 * @throws {@link ReadOnlyError}, {@link NoSpaceError}, {@link DeviceError} of the target
 * @throws {RangeError} at once, for sizes no clone can have, and when source and target are one device
 */
export function repairClone(
  source: MetadataDevice,
  target: MetadataDevice,
  options: RepairOptions = {},
): Generator<Progress, RepairSummary> {
  refuseGivenSizes(options);
  if (source === target)
    throw new RangeError(`a repair needs another device than ${source.name}: the input is never written`);
  if (target.readOnly) throw new ReadOnlyError(`cannot repair to ${target.name}: it is open for reading only`);
  return repair(source, target, options);
}

function* repair(
  source: MetadataDevice,
  target: MetadataDevice,
  options: RepairOptions,
): Generator<Progress, RepairSummary> {
  const outline = readOutline(source, { ...options, repair: true });
  const { regionSize, targetSize, nrRegions } = outline;
  const build = new CloneBuild(target);
  build.beginSuperblock({ regionSize, targetSize, nrRegions });
  wipeSuperblock(target);
  const told: Progress[] = [];
  const progress = new RegionsProgress(outline, {
    ...options,
    onProgress(state) {
      options.onProgress?.(state);
      told.push(state);
    },
  });
  for (const run of regionRuns(outline, progress.advance)) {
    build.regions(run);
    yield* told.splice(0);
  }
  const nrMetadataBlocks = build.commit();
  return { ...regionsSummary(outline, build.nrHydrated), nrMetadataBlocks };
}
