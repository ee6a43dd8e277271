/** How a repair of a clone's metadata tells what is lost, and what that means. */
import type { RegionsSummary } from '@pdata/clone';
import { failureReport, failureText } from '../failure/failure-report.js';
import type { ProgressDisplay } from '../io/progress-display.js';

/** Ranges told in the warning; all of them are in the XML, and in JSON. */
const MAX_RANGES = 20;

export function tellLosses(
  { lost, ...regions }: RegionsSummary,
  progress: ProgressDisplay,
  isDebugging: boolean,
): void {
  for (const loss of lost) progress.line(`lost: ${failureText(failureReport(loss, isDebugging)).trimEnd()}`);
  tellInDoubt(regions, progress);
}

/** The one thing that must not be overlooked. */
export function tellInDoubt(
  { inDoubt, regionSize, targetSize }: Pick<RegionsSummary, 'inDoubt' | 'regionSize' | 'targetSize'>,
  progress: ProgressDisplay,
): void {
  if (inDoubt.length === 0) return;
  const nr = inDoubt.reduce((sum, { begin, end }) => sum + end - begin, 0);
  const ranges = inDoubt
    .slice(0, MAX_RANGES)
    .map(
      ({ begin, end }) =>
        `  regions ${begin} to ${end - 1}: sectors ${begin * regionSize} to ${Math.min(end * regionSize, targetSize) - 1}`,
    );
  if (inDoubt.length > MAX_RANGES) ranges.push(`  and ${inDoubt.length - MAX_RANGES} more ranges`);
  progress.line(
    `warning: ${nr} regions in doubt, taken for not hydrated:\n${ranges.join('\n')}\n` +
      '  effect: What was written to them since the clone was made is out of sight, and hydration overwrites it from the source.\n' +
      '  next step: If such data may exist, activate the clone with no_hydration at most, and first copy these sectors from the destination.',
  );
}
