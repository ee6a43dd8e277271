/**
 * What a log does not say of its mirror: how long it is, and how large its regions are. Without them regions have numbers only.
 */
import { checkRegionSize, nrRegionsOf } from '../format/limits.js';

export interface MirrorGeometry {
  /** Sectors, a power of two. Says where the regions are. */
  readonly regionSize?: number;
  /** Of the mirror, in sectors; needs `regionSize`. Says how many regions there are now, and how long the last one is. */
  readonly length?: number;
}

export interface WorkOptions {
  /** Called now and then, with what has been read of the log's bytes. */
  readonly onProgress?: (progress: { readonly stage: string; readonly done: number; readonly total: number }) => void;
  /** Looked at wherever progress is told; when aborted, the work throws its `reason`. */
  readonly signal?: AbortSignal;
}

/** Regions of the mirror as it is now; undefined when that is not known. @throws {RangeError} for what no mirror can have */
export function nrRegionsNow({ regionSize, length }: MirrorGeometry): number | undefined {
  if (length !== undefined) {
    if (regionSize === undefined) throw new RangeError('the length of a mirror says nothing without its region size');
    return nrRegionsOf(length, regionSize);
  }
  const expected = regionSize === undefined ? undefined : checkRegionSize(regionSize);
  if (expected !== undefined) throw new RangeError(`region size of ${regionSize} sectors: expected ${expected}`);
  return undefined;
}

/** Sectors from `begin` to before `end`. */
export interface SectorRange {
  readonly begin: number;
  readonly end: number;
}

/** Where regions are; undefined when that is not known. The last is as long as the length says, or else whole. */
export function sectorsOfRegions(begin: number, end: number, geometry: MirrorGeometry): SectorRange | undefined {
  const { regionSize, length } = geometry;
  if (regionSize === undefined) return undefined;
  return { begin: begin * regionSize, end: Math.min(end * regionSize, length ?? Number.POSITIVE_INFINITY) };
}
