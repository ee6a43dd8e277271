/** How a check tells what it found, whatever its target: each fault with its effect and next step, and what it comes down to. */
import type { CheckFinding, CheckNotice, Progress } from '@pdata/persistent-data/maintenance';
import type { ProgressDisplay } from '../io/progress-display.js';

/** A finding of any target. */
type Finding = CheckFinding & { readonly thinId?: number };

export function findingText({ severity, structure, blockNr, thinId, message, effect, nextStep }: Finding): string {
  // Not said twice: many messages name the block, or the device, themselves.
  const where = unlessIn(message, `block ${blockNr}`, blockNr);
  const whose = unlessIn(message, `thin device ${thinId}`, thinId);
  return `${severity}: ${structure}${where}${whose}: ${message}\n  effect: ${effect}\n  next step: ${nextStep}`;
}

const unlessIn = (message: string, words: string, known: number | undefined): string =>
  known === undefined || message.includes(words) ? '' : `, ${words}`;

export interface CheckFigures {
  readonly fatal: number;
  readonly shape: number;
  readonly findingsLeftOut: number;
  readonly notices: readonly CheckNotice[];
}

/** Notices, and the number of findings. @param isRepair whether the check was to be followed by a repair */
export function tellFigures(
  { fatal, shape, findingsLeftOut, notices }: CheckFigures,
  isRepair: boolean,
  progress: ProgressDisplay,
): void {
  for (const { structure, message, effect, nextStep } of notices) {
    progress.line(`note: ${structure}: ${message}\n  effect: ${effect}\n  next step: ${nextStep}`);
  }
  if (findingsLeftOut > 0) progress.line(`${findingsLeftOut} more findings were counted, but are not shown`);
  if (fatal > 0) progress.line(`${counted(fatal, 'fatal error')} found${isRepair ? '; nothing was written' : ''}`);
  if (shape > 0) progress.line(`${counted(shape, 'misshapen node')} found`);
}

/** A title for the check, and for each of its stages, and the bar. */
export function tellStages(title: string, progress: ProgressDisplay): (state: Progress) => void {
  let isFirst = true;
  return (state) => {
    if (state.stage === 'superblock') return;
    if (isFirst) progress.title(title);
    isFirst = false;
    progress.title(state.stage);
    progress.show(state);
  };
}

export const counted = (nr: number, what: string): string => `${nr} ${what}${nr === 1 ? '' : 's'}`;
