/**
 * Makes a failure small: first the workload, by leaving out operations as long as some crash of it is still wrong, in halves,
 * quarters and so on down to single ones; then the crash, by letting less land, and torn changes land whole or not at all.
 */
import type { Landed } from './crash-choices.js';
import type { CrashMedia } from './crash-subject.js';
import { CrashViolation } from './crash-violation.js';
import type { WrongState } from './crash-walk.js';
import type { CrashWorkloadRun } from './crash-workload-run.js';

export async function shrunk<Operation, Media extends CrashMedia, State>(
  workload: CrashWorkloadRun<Operation, Media, State>,
  found: WrongState,
  { mostStates, command }: { readonly mostStates: number; readonly command: ((token: string) => string) | undefined },
): Promise<CrashViolation> {
  let operations = workload.all;
  let wrong = found;
  let nrStates = 0;
  for (let length = Math.ceil(operations.length / 2); length >= 1; length = length === 1 ? 0 : Math.ceil(length / 2)) {
    for (let from = 0; from < operations.length && nrStates < mostStates; ) {
      const fewer = [...operations.slice(0, from), ...operations.slice(from + length)];
      const tried = await workload.explore(fewer);
      nrStates += tried.nrStates + 1;
      const still = tried.wrong;
      // In the same way: a part of a workload that the program cannot even run shows nothing of a crash.
      if (still?.kind !== found.kind) {
        from += length;
        continue;
      }
      operations = fewer;
      wrong = still;
    }
  }
  if (wrong.kind === 'crash') wrong = await withLessLanded(workload, operations, wrong);
  const { subject, seed, names } = workload;
  return new CrashViolation({ subject, seed, operations, names, wrong, command, shown: workload.shown(operations) });
}

async function withLessLanded<Operation, Media extends CrashMedia, State>(
  workload: CrashWorkloadRun<Operation, Media, State>,
  operations: readonly number[],
  found: WrongState,
): Promise<WrongState> {
  const walk = await workload.walkTo(operations, found.place);
  let wrong = found;
  const attempt = async (choice: readonly Landed[]): Promise<boolean> => {
    const still = await walk.try(found.place, choice);
    if (still !== undefined) wrong = still;
    return still !== undefined;
  };
  if (!(await attempt(found.choice))) return found; // the subject is not deterministic: what was found stands
  for (let again = true; again; ) {
    again = false;
    for (const each of wrong.choice) {
      const without = wrong.choice.filter((other) => other !== each);
      const whole = wrong.choice.map((other) => (other === each ? { ...each, landing: 'whole' as const } : other));
      if ((await attempt(without)) || (each.landing !== 'whole' && (await attempt(whole)))) {
        again = true;
        break;
      }
    }
  }
  return wrong;
}
