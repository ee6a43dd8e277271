/**
 * Compares the legs of a mirror that is not in use, region by region; and, when asked, copies from one leg what differs on the others.
 *
 * With a log it tells two kinds of difference apart: in a region that the log does not call clean legs may differ, and the next start copies
 * it; in one that it calls clean they must not, and nothing would ever repair that. Without a log every difference counts.
 *
 * Nothing is written unless `repairFrom` is given, and the log never is: a region that was repaired and not clean is copied once more.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { LegError } from '../engine/errors.js';
import type { MirrorLeg } from '../engine/options.js';
import { MAX_LEGS, MIN_LEGS, nrRegionsOf } from '../format/limits.js';
import type { RegionRun } from '../format/region-bits.js';
import { headerProblem } from './check-mirror-log.js';
import { LogDamageError } from './log-damage-error.js';
import { bitRuns, headerOf } from './log-reading.js';
import type { WorkOptions } from './mirror-geometry.js';

export interface VerifyMirrorOptions extends WorkOptions {
  /** 2 to 9. Only read, unless `repairFrom` is given. */
  readonly legs: readonly MirrorLeg[];
  /** Sectors, a power of two. */
  readonly regionSize: number;
  /** Sectors of the mirror. Default: what every leg has room for. */
  readonly length?: number;
  /** The log's device; only read. */
  readonly log?: DataDevice;
  /** Number of the leg whose content the others get where they differ. */
  readonly repairFrom?: number;
}

/** A region in which legs differ. */
export interface RegionDifference {
  readonly regionNr: number;
  /** The first sector of the mirror that differs. */
  readonly firstSector: number;
  /** Sectors that differ, on any leg. */
  readonly nrSectors: number;
  /** Legs that differ from leg 0, or from the leg that is repaired from. */
  readonly legs: readonly number[];
  /** The log does not call the region clean: legs may differ there. */
  readonly isExpected: boolean;
  readonly isRepaired: boolean;
}

export interface VerifySummary {
  readonly nrRegions: number;
  readonly nrDiffering: number;
  /** Of those, regions in which legs must not differ; without a log all. */
  readonly nrUnexpected: number;
  readonly nrRepaired: number;
}

/** Bytes of each leg that are compared at once. */
const PIECE = 2 ** 20;

/**
 * Yields each region in which legs differ, in order, and returns a summary. When repaired, the legs are flushed at the end.
 *
 * @throws {RangeError} for legs, sizes or a leg to repair from that make no sense
 * @throws {@link LegError} when a leg is too small
 * @throws {@link LogDamageError} when the log cannot be used
 * @throws {@link DeviceError} when a leg cannot be read, or, when repairing, written
 * @throws the reason of `signal`, when it is aborted
 */
export async function* verifyMirror(
  options: VerifyMirrorOptions,
): AsyncGenerator<RegionDifference, VerifySummary, undefined> {
  const { legs, regionSize, log, repairFrom, signal, onProgress } = options;
  const length = lengthOf(options);
  const nrRegions = nrRegionsOf(length, regionSize);
  const reference = repairFrom ?? 0;
  const clean = log === undefined ? undefined : await CleanRegions.of(log, nrRegions);
  const buffers = legs.map(() => new Uint8Array(Math.min(PIECE, regionSize * SECTOR_SIZE)));
  const summary = { nrRegions, nrDiffering: 0, nrUnexpected: 0, nrRepaired: 0 };
  for (let regionNr = 0; regionNr < nrRegions; regionNr++) {
    signal?.throwIfAborted();
    onProgress?.({ stage: 'regions', done: regionNr, total: nrRegions });
    const found = await compareRegion(regionNr, length, options, reference, buffers);
    const isClean = clean === undefined || (await clean.has(regionNr));
    if (found === undefined) continue;
    summary.nrDiffering++;
    if (isClean) summary.nrUnexpected++;
    if (repairFrom !== undefined) summary.nrRepaired++;
    yield { regionNr, ...found, isExpected: !isClean, isRepaired: repairFrom !== undefined };
  }
  if (summary.nrRepaired > 0) await Promise.all(legs.map(({ device }) => device.flush()));
  return summary;
}

type Difference = Pick<RegionDifference, 'firstSector' | 'nrSectors' | 'legs'>;

/** Compares, and repairs, a region piece by piece. */
async function compareRegion(
  regionNr: number,
  length: number,
  { legs, regionSize, repairFrom }: VerifyMirrorOptions,
  reference: number,
  buffers: readonly Uint8Array[],
): Promise<Difference | undefined> {
  const end = Math.min(length, (regionNr + 1) * regionSize);
  const pieceSectors = (buffers[0] as Uint8Array).byteLength / SECTOR_SIZE;
  const differing = new Set<number>();
  const sectors: number[] = [];
  for (let begin = regionNr * regionSize; begin < end; begin += pieceSectors) {
    const nrBytes = Math.min(pieceSectors, end - begin) * SECTOR_SIZE;
    const pieces = buffers.map((buffer) => buffer.subarray(0, nrBytes));
    const at = ({ offset = 0 }: MirrorLeg): number => (offset + begin) * SECTOR_SIZE;
    await Promise.all(legs.map((leg, nr) => leg.device.read(at(leg), pieces[nr] as Uint8Array)));
    const right = pieces[reference] as Uint8Array;
    const wrong = legs.flatMap((_, nr) => {
      const found = sectorsThatDiffer(right, pieces[nr] as Uint8Array);
      for (const sector of found) sectors.push(begin + sector);
      return found.length === 0 ? [] : [nr];
    });
    for (const nr of wrong) differing.add(nr);
    if (repairFrom === undefined) continue;
    await Promise.all(wrong.map((nr) => (legs[nr] as MirrorLeg).device.write(at(legs[nr] as MirrorLeg), right)));
  }
  if (differing.size === 0) return undefined;
  return {
    firstSector: Math.min(...sectors),
    nrSectors: new Set(sectors).size,
    legs: [...differing].sort((a, b) => a - b),
  };
}

/** Numbers of the sectors, within the piece. Four bytes at a time. */
function sectorsThatDiffer(a: Uint8Array, b: Uint8Array): number[] {
  if (a === b) return [];
  const [wordsA, wordsB] = [wordsOf(a), wordsOf(b)];
  const sectors: number[] = [];
  for (let at = 0; at < wordsA.length; at++) {
    if (wordsA[at] === wordsB[at]) continue;
    const sector = Math.floor(at / WORDS_OF_SECTOR);
    sectors.push(sector);
    at = (sector + 1) * WORDS_OF_SECTOR - 1;
  }
  return sectors;
}

const WORDS_OF_SECTOR = SECTOR_SIZE / 4;
const wordsOf = ({ buffer, byteOffset, byteLength }: Uint8Array): Int32Array =>
  new Int32Array(buffer, byteOffset, byteLength / 4);

/** The clean bits of a log, asked in order of regions. */
class CleanRegions {
  readonly #runs: AsyncGenerator<RegionRun, void>;
  #run: RegionRun | undefined;

  private constructor(runs: AsyncGenerator<RegionRun, void>) {
    this.#runs = runs;
  }

  static async of(log: DataDevice, nrRegions: number): Promise<CleanRegions> {
    const header = await headerOf(log);
    const problem = headerProblem(log, header, nrRegions);
    if (problem !== undefined) throw new LogDamageError(log.name, problem);
    return new CleanRegions(bitRuns(log, Math.min(nrRegions, header.nrRegions)));
  }

  async has(regionNr: number): Promise<boolean> {
    while (this.#run === undefined || this.#run.end <= regionNr) {
      const next = await this.#runs.next();
      if (next.done) return false;
      this.#run = next.value;
    }
    return this.#run.value;
  }
}

function lengthOf({ legs, length, repairFrom }: VerifyMirrorOptions): number {
  if (legs.length < MIN_LEGS || legs.length > MAX_LEGS)
    throw new RangeError(`${legs.length} legs: a mirror has ${MIN_LEGS} to ${MAX_LEGS}`);
  if (repairFrom !== undefined && legs[repairFrom] === undefined)
    throw new RangeError(`there is no leg ${repairFrom}: they are 0 to ${legs.length - 1}`);
  const room = legs.map(({ device, offset = 0 }) => device.size / SECTOR_SIZE - offset);
  const sectors = length ?? Math.min(...room);
  const small = room.findIndex((each) => each < sectors);
  if (small >= 0)
    throw new LegError(`leg ${small} is too small: it has room for ${room[small]} sectors, and ${sectors} are needed`);
  for (const [nr, { device, offset = 0 }] of legs.entries()) {
    const other = legs.findIndex(
      (leg, otherNr) => otherNr < nr && leg.device === device && Math.abs((leg.offset ?? 0) - offset) < sectors,
    );
    if (other >= 0)
      throw new LegError(`legs ${nr} and ${other} are the same: ${device.name}; of course they are equal`);
  }
  return sectors;
}
