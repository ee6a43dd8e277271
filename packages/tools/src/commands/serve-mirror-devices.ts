/**
 * The legs and the log of a mirror that is to be served: opened, and looked at before anything is written, because a log that is
 * none, or is another mirror's, would have a leg copied over another that should not be.
 *
 * Format: docs/format/mirror-log.md, sections 2 and 3.
 */
import { statSync } from 'node:fs';
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import {
  CoreLog,
  checkMirrorLog,
  type DirtyLog,
  DiskLog,
  LegError,
  LogTooSmallError,
  MAX_LEGS,
  MIN_LEGS,
  MirrorDevice,
  type MirrorOptions,
  mirrorLogSize,
  NotALogError,
  nrRegionsOf,
} from '@pdata/mirror';
import { USAGE } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { closingAfter, type DataFileAdvice, refuseOneFile, withDataFile, withNewDataFile } from './serve-files.js';

export interface MirrorFiles {
  readonly legs: readonly string[];
  /** Undefined: the log is in memory. */
  readonly log: string | undefined;
}

export interface MirrorLayout {
  /** Sectors, a power of two. */
  readonly regionSize: number;
  /** Bytes; undefined: as much as the smallest leg has. */
  readonly size: number | undefined;
  readonly sync: 'sync' | 'nosync' | undefined;
  /** Begin a log on a device that holds something else. */
  readonly newLog: boolean;
  /** The log may be for another number of regions. */
  readonly isResized: boolean;
}

export interface OpenMirror {
  readonly mirror: MirrorDevice;
  /** Legs with more room than is used. */
  readonly larger: readonly string[];
}

/** What to do when somebody else uses a leg, or the log. */
export const IN_USE =
  'end what uses it first: deactivate the mirror (LVM: lvchange -an VG/LV), or stop the other server';
export const SAME_FILE = 'give each leg, and the log, a file or device of its own';

/** Opens the mirror for `work`, and closes it: with a log that calls clean what is, whatever `work` throws. */
export async function withMirror<T>(
  files: MirrorFiles,
  layout: MirrorLayout,
  options: Omit<MirrorOptions, 'legs' | 'log' | 'length'>,
  work: (open: OpenMirror) => Promise<T>,
): Promise<T> {
  refuseNrOfLegs(files.legs.length, { option: '--good-leg', legNr: options.goodLeg });
  refuseOneFile(
    {
      ...Object.fromEntries(files.legs.map((path, nr) => [`leg ${nr}`, path])),
      ...(files.log === undefined ? {} : { log: files.log }),
    },
    SAME_FILE,
  );
  return withLegs(files.legs, 'write', async (legs) => {
    const length = lengthOf(legs, layout);
    const sizes = {
      length,
      regionSize: layout.regionSize,
      ...(layout.sync === undefined ? {} : { sync: layout.sync }),
    };
    const larger = legs.filter(({ size }) => size > length * SECTOR_SIZE).map(({ name }) => name);
    return withLog(files.log, sizes, layout, async (log) => {
      const mirror = await opened({ ...options, log, length, legs: legs.map((device) => ({ device })) });
      return closingAfter(mirror, () => work({ mirror, larger }));
    });
  });
}

/** @throws {@link ToolError} as for a command line that makes no sense */
export function refuseNrOfLegs(nr: number, chosen: { readonly option: string; readonly legNr: number }): void {
  if (nr < MIN_LEGS || nr > MAX_LEGS) {
    throw new ToolError(
      'ERR_USAGE',
      `a mirror has ${MIN_LEGS} to ${MAX_LEGS} legs, not ${nr}`,
      { nextStep: 'give --leg FILE once for each leg' },
      { exitCode: USAGE },
    );
  }
  if (chosen.legNr < nr) return;
  throw new ToolError(
    'ERR_USAGE',
    `there is no leg ${chosen.legNr}: they are 0 to ${nr - 1}, in the order in which they are given`,
    { nextStep: `give ${chosen.option} the number of one of them` },
    { exitCode: USAGE },
  );
}

/** Opens all legs for `work`, and closes them afterwards. */
export function withLegs<T>(
  paths: readonly string[],
  mode: 'read' | 'write',
  work: (legs: readonly DataDevice[]) => Promise<T>,
): Promise<T> {
  const advice: DataFileAdvice = { what: 'leg', busy: IN_USE };
  const open = (legs: readonly DataDevice[]): Promise<T> => {
    const path = paths[legs.length];
    return path === undefined ? work(legs) : withDataFile(path, mode, advice, (leg) => open([...legs, leg]));
  };
  return open([]);
}

/** Bytes of the mirror: `size`, or what the smallest leg has. @throws {@link ToolError} when a leg has less */
export function sizeOf(legs: readonly DataDevice[], size: number | undefined): number {
  const smallest = legs.reduce((least, leg) => (leg.size < least.size ? leg : least));
  if (size !== undefined && size > smallest.size) {
    throw new ToolError('ERR_LEG', `a leg is too small: '${smallest.name}' has ${smallest.size} bytes, not ${size}`, {
      nextStep: 'give a smaller --size, or a larger leg',
    });
  }
  return size ?? smallest.size;
}

/** Sectors. */
function lengthOf(legs: readonly DataDevice[], { size, regionSize }: MirrorLayout): number {
  const length = sizeOf(legs, size) / SECTOR_SIZE;
  refuseRegions(length, regionSize);
  return length;
}

/** Both in sectors. @throws {@link ToolError} when regions are longer than the mirror, or too many */
export function refuseRegions(length: number, regionSize: number): void {
  if (length < regionSize) {
    throw new ToolError('ERR_OPTION', `a mirror of ${length} sectors has no region of ${regionSize} sectors`, {
      nextStep: 'give a smaller --region-sectors, or larger legs',
    });
  }
  try {
    nrRegionsOf(length, regionSize);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ToolError('ERR_OPTION', cause.message, { nextStep: 'give a larger --region-sectors' }, { cause });
  }
}

interface LogSizes {
  readonly length: number;
  readonly regionSize: number;
  readonly sync?: 'sync' | 'nosync';
}

async function withLog<T>(
  path: string | undefined,
  sizes: LogSizes,
  layout: MirrorLayout,
  work: (log: DirtyLog) => Promise<T>,
): Promise<T> {
  if (path === undefined) return work(new CoreLog(sizes));
  const advice: DataFileAdvice = {
    what: "log's device",
    busy: IN_USE,
    whenEmpty: 'remove it, and a log is made there',
  };
  const nrRegions = Math.ceil(sizes.length / sizes.regionSize);
  const use = (device: DataDevice): Promise<T> => work(diskLog(device, sizes, layout));
  if (statSync(path, { throwIfNoEntry: false }) === undefined)
    return withNewDataFile(path, mirrorLogSize(nrRegions, 4096), advice, use);
  return withDataFile(path, 'write', advice, async (device) => {
    await refuseAnotherLog(device, nrRegions, layout);
    return use(device);
  });
}

function diskLog(device: DataDevice, sizes: LogSizes, { newLog }: MirrorLayout): DiskLog {
  try {
    return new DiskLog(device, { ...sizes, overwrite: newLog });
  } catch (cause) {
    if (!(cause instanceof LogTooSmallError)) throw cause;
    const nextStep = 'give a larger log device, or larger regions: --region-sectors';
    throw new ToolError(cause.code, cause.message, { nextStep }, { cause });
  }
}

/** The log says how many regions it has, and not how large they are: with another size its bits would mean others. */
async function refuseAnotherLog(device: DataDevice, nrRegions: number, { isResized }: MirrorLayout): Promise<void> {
  const check = checkMirrorLog(device);
  let step = await check.next();
  while (!step.done) step = await check.next();
  const { nrRegions: nrDescribed } = step.value;
  if (nrDescribed === undefined || nrDescribed === nrRegions || isResized) return;
  throw new ToolError(
    'ERR_LOG_REGIONS',
    `the log on '${device.name}' is for ${nrDescribed} regions, and a mirror of this size and region size has ${nrRegions}`,
    {
      effect:
        'with another region size, its bits would speak of other places, and legs that differ would be taken for equal',
      nextStep:
        'give the --region-sectors, and the --size, that it was made with; only if the mirror has been resized, say --resized',
    },
  );
}

async function opened(options: MirrorOptions): Promise<MirrorDevice> {
  try {
    return await MirrorDevice.open(options);
  } catch (cause) {
    if (cause instanceof NotALogError) {
      const nextStep = "check that this is the log's device; to begin a log there, over what it holds, say --new-log";
      throw new ToolError(cause.code, cause.message.split(': ', 1)[0] as string, { nextStep }, { cause });
    }
    if (!(cause instanceof LegError)) throw cause;
    throw new ToolError(cause.code, cause.message, { nextStep: 'check the legs' }, { cause });
  }
}
