/** Runs of data blocks. */
import type { ThinMetadata } from '../metadata/thin-metadata.js';

/** Data blocks `begin`..`end` (exclusive). */
export interface DataRun {
  readonly begin: number;
  readonly end: number;
}

/** The data blocks of a part of a thin device. */
export function runsOf(metadata: ThinMetadata, thinId: number, begin: number, end: number): DataRun[] {
  const runs: DataRun[] = [];
  for (const range of metadata.mappedRanges(thinId, begin, end)) {
    runs.push({ begin: range.dataBegin, end: range.dataBegin + range.end - range.begin });
  }
  return runs;
}

/** The parts of `runs` that have no references. */
export function unused(metadata: ThinMetadata, runs: readonly DataRun[]): DataRun[] {
  const free: DataRun[] = [];
  for (const { begin, end } of runs) {
    for (let at = begin; at < end; ) {
      let next = at;
      while (next < end && metadata.dataBlockCount(next) === 0) next++;
      if (next > at) free.push({ begin: at, end: next });
      at = next + 1;
    }
  }
  return free;
}
