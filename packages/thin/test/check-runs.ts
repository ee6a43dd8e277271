/** Runs checks and repairs to their end, for tests. */
import type { MetadataDevice } from '@pdata/device';
import type { CheckFinding } from '../src/maintenance/check/findings.js';
import { type RepairOptions, type RepairSummary, repairThin } from '../src/maintenance/check/repair.js';
import { type CheckOptions, type CheckSummary, checkThin } from '../src/maintenance/check/thin-check.js';
import type { ImageEditor } from './image-editor.js';

export interface CheckRun {
  readonly findings: readonly CheckFinding[];
  readonly summary: CheckSummary;
}

/** What the real tool would make of it: the worst severity found. */
export type Verdict = 'clean' | 'leak' | 'shape' | 'fatal';

function finish<S>(work: Generator<CheckFinding, S>): { findings: CheckFinding[]; summary: S } {
  const findings: CheckFinding[] = [];
  for (;;) {
    const step = work.next();
    if (step.done) return { findings, summary: step.value };
    findings.push(step.value);
  }
}

export const runCheck = (device: MetadataDevice, options?: CheckOptions): CheckRun =>
  finish(checkThin(device, options));

export const checked = (image: ImageEditor, options?: CheckOptions): CheckRun =>
  runCheck(image.device({ readOnly: true }), options);

export const runRepair = (
  device: MetadataDevice,
  options?: RepairOptions,
): { findings: readonly CheckFinding[]; summary: RepairSummary } => finish(repairThin(device, options));

export function verdictOf({ summary }: CheckRun): Verdict {
  if (summary.fatal > 0) return 'fatal';
  if (summary.shape > 0) return 'shape';
  return summary.leaks.data + summary.leaks.metadata > 0 ? 'leak' : 'clean';
}
