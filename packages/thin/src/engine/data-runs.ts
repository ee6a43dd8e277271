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

/** The parts of `runs` that have no references, in order, neighbours as one, however they came. */
export function unused(metadata: ThinMetadata, runs: readonly DataRun[]): DataRun[] {
  const free: DataRun[] = [];
  let [begin, end] = [0, 0]; // the run that is being made
  for (const run of runs.toSorted((a, b) => a.begin - b.begin)) {
    for (let block = Math.max(run.begin, end); block < run.end; block++) {
      if (metadata.dataBlockCount(block) !== 0) continue;
      if (block !== end) {
        if (end > begin) free.push({ begin, end });
        begin = block;
      }
      end = block + 1;
    }
  }
  if (end > begin) free.push({ begin, end });
  return free;
}
