/** Runs maintenance to its end, for tests. */
import type { MetadataDevice } from '@pdata/device';
import type { CheckFinding } from '@pdata/persistent-data/maintenance';
import { type CheckOptions, type CheckSummary, checkClone } from '../src/maintenance/check/clone-check.js';
import { type DumpOptions, dumpClone, type RegionsSummary } from '../src/maintenance/dump/dump.js';
import { type RestoreSummary, restoreClone } from '../src/maintenance/restore/restore.js';
import type { CloneImage } from './clone-image.js';

/** Everything that `work` yields, and what it returns. */
export function finish<T, S>(work: Generator<T, S>): { readonly yielded: T[]; readonly summary: S } {
  const yielded: T[] = [];
  for (;;) {
    const step = work.next();
    if (step.done) return { yielded, summary: step.value };
    yielded.push(step.value);
  }
}

export interface CheckRun {
  readonly findings: readonly CheckFinding[];
  readonly summary: CheckSummary;
}

export function runCheck(device: MetadataDevice, options?: CheckOptions): CheckRun {
  const { yielded, summary } = finish(checkClone(device, options));
  return { findings: yielded, summary };
}

export const checked = (image: CloneImage, options?: CheckOptions): CheckRun =>
  runCheck(image.device({ readOnly: true }), options);

export type Verdict = 'clean' | 'leak' | 'shape' | 'fatal';

/** The worst severity found. */
export function verdictOf({ summary }: CheckRun): Verdict {
  if (summary.fatal > 0) return 'fatal';
  if (summary.shape > 0) return 'shape';
  return summary.leaks.metadata > 0 ? 'leak' : 'clean';
}

export interface Dumped {
  readonly text: string;
  readonly summary: RegionsSummary;
}

export function dumped(device: MetadataDevice, options?: DumpOptions): Dumped {
  const decoder = new TextDecoder();
  let text = '';
  const work = dumpClone(device, options);
  for (;;) {
    const step = work.next();
    if (step.done) return { text, summary: step.value };
    text += decoder.decode(step.value, { stream: true }); // now: its memory is used again
  }
}

export function restored(xml: string, device: MetadataDevice, pieceLength = 1 << 16): RestoreSummary {
  const bytes = new TextEncoder().encode(xml);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceLength) }, (_, i) =>
    bytes.subarray(i * pieceLength, (i + 1) * pieceLength),
  );
  return finish(restoreClone(pieces, device)).summary;
}
