/**
 * The check of a disk log: whether the kernel, and pdata, would take it for what it is, and what a restart would copy.
 *
 * A log has no checksum and says every region once, so little can be wrong with it, and all of that is in its first bytes and its size. What
 * it says cannot be checked without the legs. A bit that is 0 says that the region was being written to, or not in sync: the
 * log does not know which, and a restart copies either.
 *
 * Severities are those of the other checks: `fatal` is a log that must not be used, `shape` one that breaks a rule nobody depends on.
 * Format: docs/format/mirror-log.md, sections 2 and 3.
 */
import type { DataDevice } from '@pdata/device';
import { MAX_REGIONS } from '../format/limits.js';
import {
  isKnownVersion,
  LOG_MAGIC,
  LOG_VERSION,
  type LogHeader,
  logSize,
  OLD_LOG_VERSION,
} from '../format/log-layout.js';
import { bitRuns, hasStrayBits, headerOf } from './log-reading.js';
import { type MirrorGeometry, nrRegionsNow, sectorsOfRegions, type WorkOptions } from './mirror-geometry.js';

export interface LogCheckOptions extends WorkOptions, MirrorGeometry {}

/** One fault. Its texts are complete sentences for people; match on the other fields. */
export interface LogFinding {
  readonly severity: 'fatal' | 'shape';
  readonly structure: 'log header' | 'clean bits';
  /** In the words of docs/format. */
  readonly field: 'magic' | 'version' | 'nr_regions' | 'size' | 'padding';
  /** What is wrong. */
  readonly message: string;
  /** What it means. */
  readonly effect: string;
  /** What to do. */
  readonly nextStep: string;
}

/** Something that matters to whoever uses the log, and is no fault. */
export type LogNotice = Omit<LogFinding, 'severity'>;

export interface LogCheckSummary {
  /** No findings. Notices do not count. */
  readonly clean: boolean;
  readonly fatal: number;
  readonly shape: number;
  readonly notices: readonly LogNotice[];
  /** This, and what follows, is missing when the log cannot be used. */
  readonly version?: number;
  /** Regions that the log describes. */
  readonly nrRegions?: number;
  /** Regions that a restart takes for equal on all legs, of the mirror as it is now. */
  readonly nrInSync?: number;
  /** Regions that a restart copies, of the mirror as it is now. */
  readonly nrToCopy?: number;
  /** The same in sectors; missing when the region size is not given. */
  readonly sectorsToCopy?: number;
}

/**
 * Checks a log without writing to it. Yields what is wrong as it is found, and returns a summary.
 *
 * @throws {RangeError} when no mirror can have the length or the region size
 * @throws {@link DeviceError} when the device cannot be read
 * @throws the reason of `signal`, when it is aborted
 */
export async function* checkMirrorLog(
  device: DataDevice,
  options: LogCheckOptions = {},
): AsyncGenerator<LogFinding, LogCheckSummary, undefined> {
  const nrNow = nrRegionsNow(options);
  const header = await headerOf(device);
  const problem = headerProblem(device, header, nrNow);
  if (problem !== undefined) {
    yield { severity: 'fatal', ...problem };
    return { clean: false, fatal: 1, shape: 0, notices: [] };
  }
  const { version, nrRegions } = header;
  const shape = (await hasStrayBits(device, nrRegions)) ? 1 : 0;
  if (shape > 0) yield { severity: 'shape', ...STRAY_BITS };

  const nrRestarted = nrNow ?? nrRegions;
  let nrInSync = 0;
  let sectorsInSync = 0;
  for await (const { begin, end, value } of bitRuns(device, Math.min(nrRegions, nrRestarted), options)) {
    if (!value) continue;
    nrInSync += end - begin;
    const sectors = sectorsOfRegions(begin, end, options);
    if (sectors !== undefined) sectorsInSync += sectors.end - sectors.begin;
  }
  const all = sectorsOfRegions(0, nrRestarted, options);
  return {
    clean: shape === 0,
    fatal: 0,
    shape,
    notices: noticesOf(header, nrNow),
    version,
    nrRegions,
    nrInSync,
    nrToCopy: nrRestarted - nrInSync,
    ...(all !== undefined && { sectorsToCopy: all.end - sectorsInSync }),
  };
}

type Problem = Omit<LogFinding, 'severity'>;
const CHECK_DEVICE =
  "Check that this is the log's device: it is the first device in the mirror line of `dmsetup table`.";

const STRAY_BITS: Problem = {
  structure: 'clean bits',
  field: 'padding',
  message: 'Bits are set behind the last region, where the kernel keeps zeros.',
  effect: 'None as the mirror is. Nothing that keeps this log has written them.',
  nextStep: 'Nothing needs to be done: they are zeroed when the mirror is activated.',
};

/** What keeps the log from being used, if anything does. */
export function headerProblem(device: DataDevice, header: LogHeader, nrNow: number | undefined): Problem | undefined {
  const { magic, version, nrRegions } = header;
  const structure = 'log header';
  if (magic !== LOG_MAGIC) {
    return {
      structure,
      field: 'magic',
      message: `The magic is ${hex(magic)}, expected ${hex(LOG_MAGIC)}.`,
      effect:
        magic === 0
          ? 'This is no log, or a device that has been zeroed for one: the kernel begins a new log here, and copies everything.'
          : 'This is no log. The kernel would begin a new one here, over what there is.',
      nextStep: CHECK_DEVICE,
    };
  }
  if (!isKnownVersion(version)) {
    return {
      structure,
      field: 'version',
      message: `The version is ${version}, expected ${LOG_VERSION}, or ${OLD_LOG_VERSION}.`,
      effect: 'What the log says cannot be known. The kernel would copy everything, and zero its bits.',
      nextStep: 'Use the log with what has written it; or zero its first sector, and let everything be copied.',
    };
  }
  if (nrRegions === 0 || nrRegions > MAX_REGIONS) {
    const found = nrRegions > Number.MAX_SAFE_INTEGER ? `about ${nrRegions}` : `${nrRegions}`;
    return {
      structure,
      field: 'nr_regions',
      message: `The number of regions is ${found}, expected 1 to ${MAX_REGIONS}.`,
      effect: 'No mirror has so many: the header is damaged, and what the bits mean is not known.',
      nextStep: 'Zero the first sector of the log, and let everything be copied.',
    };
  }
  return sizeProblem(device, nrRegions, 'The log has lost its end', CHECK_DEVICE) ?? geometryProblem(device, nrNow);
}

/** The mirror of now has more regions than the device has room for. */
function geometryProblem(device: DataDevice, nrNow: number | undefined): Problem | undefined {
  if (nrNow === undefined) return undefined;
  const nextStep = 'Give the mirror a larger log device, or larger regions.';
  return sizeProblem(device, nrNow, 'The log is too small for the mirror', nextStep);
}

function sizeProblem(device: DataDevice, nrRegions: number, what: string, nextStep: string): Problem | undefined {
  const size = logSize(nrRegions);
  if (device.size >= size) return undefined;
  return {
    structure: 'clean bits',
    field: 'size',
    message: `${what}: ${nrRegions} regions need ${size} bytes, and the device has ${device.size}.`,
    effect: 'The kernel does not activate a mirror with such a log.',
    nextStep,
  };
}

function noticesOf({ version, nrRegions }: LogHeader, nrNow: number | undefined): LogNotice[] {
  const notices: LogNotice[] = [];
  if (version === OLD_LOG_VERSION) {
    notices.push({
      structure: 'log header',
      field: 'version',
      message: `The version is ${OLD_LOG_VERSION}, an old one.`,
      effect: `None: version ${LOG_VERSION} means the same, and the log gets it when the mirror is activated.`,
      nextStep: 'Nothing needs to be done.',
    });
  }
  if (nrNow !== undefined && nrNow !== nrRegions) {
    notices.push({
      structure: 'log header',
      field: 'nr_regions',
      message: `The log describes ${nrRegions} regions, and the mirror as given has ${nrNow}.`,
      effect:
        nrNow > nrRegions
          ? `The ${nrNow - nrRegions} regions from ${nrRegions} on are copied when the mirror is activated.`
          : `What the log says of regions from ${nrNow} on is lost when the mirror is activated.`,
      nextStep:
        'Nothing needs to be done if the mirror has been resized; otherwise check its length and its region size.',
    });
  }
  return notices;
}

const hex = (nr: number): string => `0x${nr.toString(16).padStart(8, '0')}`;
