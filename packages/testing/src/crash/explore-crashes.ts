/**
 * The crash explorer: workload after workload is recorded, and every crash state of each is recovered and judged.
 *
 * Everything follows from the seed: workload n of an exploration is the first one of an exploration that begins with seed + n. The
 * first state that is wrong ends it; its workload is made as small as it gets, then its crash, and the report has a token by which
 * exactly this crash can be had again.
 */
import type { CrashMedia } from './crash-subject.js';
import { CrashViolation } from './crash-violation.js';
import { type CrashExploration, CrashWorkloadRun } from './crash-workload-run.js';
import { readReplayToken } from './replay-token.js';
import { shrunk } from './shrink.js';

export interface CrashReport {
  readonly subject: string;
  readonly seed: number;
  readonly nrWorkloads: number;
  /** States that were judged. */
  readonly nrStates: number;
  /** Different images among them, each of which was recovered: equal ones of one workload once. */
  readonly nrDistinct: number;
  /** The first wrong state, shrunk: an error to throw. */
  readonly violation: CrashViolation | undefined;
  /** All of it in a sentence. */
  readonly summary: string;
}

const DEFAULT_STATES = 10_000;
/** Who waits for a report has waited long enough then. */
const DEFAULT_SHRINK_STATES = 50_000;

/**
 * Explores crashes of a program. A violation is reported, not thrown; that the program itself throws is one, too.
 * @throws RangeError for a seed that is none
 */
export async function exploreCrashes<Operation, Media extends CrashMedia, State>(
  exploration: CrashExploration<Operation, Media, State>,
): Promise<CrashReport> {
  const { subject, seed, states = DEFAULT_STATES, workloads = Number.POSITIVE_INFINITY } = exploration;
  if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`a seed is a whole number from 0 on, not ${seed}`);
  let [nrWorkloads, nrStates, nrDistinct] = [0, 0, 0];
  let violation: CrashViolation | undefined;
  for (; nrStates < states && nrWorkloads < workloads && violation === undefined; nrWorkloads++) {
    const workload = new CrashWorkloadRun(exploration, seed + nrWorkloads);
    const tried = await workload.explore(workload.all);
    nrStates += tried.nrStates;
    nrDistinct += tried.nrDistinct;
    if (tried.nrStates === 0 && tried.wrong === undefined)
      throw new Error(`${subject.name}: workload ${workload.seed} promises nothing, so no crash of it can be wrong`);
    if (tried.wrong === undefined) continue;
    const { shrinkStates: mostStates = DEFAULT_SHRINK_STATES, replayCommand: command } = exploration;
    violation = await shrunk(workload, tried.wrong, { mostStates, command });
  }
  const counts = `${nrStates} crash states (${nrDistinct} distinct images) of ${nrWorkloads} workloads, seed ${seed}`;
  const summary = `${subject.name}: ${counts}: ${violation === undefined ? 'no violation' : violation.message}`;
  return { subject: subject.name, seed, nrWorkloads, nrStates, nrDistinct, violation, summary };
}

/**
 * Has one crash again, by the token of a report. The violation, or undefined when the state is right now.
 * @throws RangeError for what is no token, and for that of another subject, or of another version of the workload
 */
export async function replayCrash<Operation, Media extends CrashMedia, State>(
  exploration: Omit<CrashExploration<Operation, Media, State>, 'seed'>,
  token: string,
): Promise<CrashViolation | undefined> {
  const { subject, seed, operations, place, choice } = readReplayToken(token);
  if (subject !== exploration.subject.name)
    throw new RangeError(`${token} is a crash of ${subject}, not of ${exploration.subject.name}`);
  const workload = new CrashWorkloadRun(exploration, seed);
  const wrong = await workload.again(operations, place, choice);
  return (
    wrong &&
    new CrashViolation({ subject, seed, operations, names: workload.names, wrong, shown: workload.shown(operations) })
  );
}
