/**
 * The kernel's messages to a clone: one line of words.
 *
 *   enable_hydration     disable_hydration     hydration_threshold <regions>     hydration_batch_size <regions>
 *
 * Format: docs/format/clone.md, section 9.
 */
import { wholeNumberIn, wordsOf } from '@pdata/device/engine';
import { CloneMessageError } from './errors.js';

/** What messages do to a clone. */
export interface HydrationControls {
  enableHydration(): void;
  disableHydration(): void;
  setHydrationThreshold(nrRegions: number): void;
  setHydrationBatchSize(nrRegions: number): void;
}

/** Does what the message says. @throws {@link CloneMessageError} */
export function sendMessage(clone: HydrationControls, line: string): void {
  const words = wordsOf(line);
  const name = words[0]?.toLowerCase();
  // Further words are ignored here, and only here.
  if (name === 'enable_hydration') clone.enableHydration();
  else if (name === 'disable_hydration') clone.disableHydration();
  else if (words.length !== 2) throw notUnderstood(line);
  else if (name === 'hydration_threshold') clone.setHydrationThreshold(u32In(words[1], line));
  else if (name === 'hydration_batch_size') clone.setHydrationBatchSize(u32In(words[1], line));
  else throw new CloneMessageError('EINVAL', [`Unsupported message \`${words[0]}'`]);
}

function u32In(word: string | undefined, line: string): number {
  const number = wholeNumberIn(word);
  if (number === undefined || number >= 2n ** 32n) throw notUnderstood(line);
  return Number(number);
}

/** The kernel logs nothing of these. */
const notUnderstood = (line: string): CloneMessageError =>
  new CloneMessageError('EINVAL', [], {
    text: `cannot understand the message "${line}": expected enable_hydration, disable_hydration, hydration_threshold N or hydration_batch_size N`,
  });
