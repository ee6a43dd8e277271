/**
 * The explorer judged: each bug of the list is planted, and has to be found, within so many states, with a token that finds it
 * again. An explorer that finds nothing in good code and nothing in bad code would look just as green.
 */
import { type CrashSubject, exploreCrashes, replayCrash } from '@pdata/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLANTED_BUGS, type PlantedBug } from './planted-bugs.js';
import { PlantedModules } from './planted-source.js';

const SEED = 1;
const STATES = 60_000;
/** Small enough that it was tried: nobody has to read these. */
const SHRINK_STATES = 3000;

/** One test for each bug that `which` is true of. */
export function itFindsPlantedBugs(which: (bug: PlantedBug) => boolean): void {
  let modules: PlantedModules;
  beforeAll(async () => {
    modules = await PlantedModules.open();
  });
  afterAll(() => modules.close());

  const bugs = PLANTED_BUGS.filter(which).map((bug) => ({ ...bug }));
  it.each(bugs)('$name, is found by $subject', async ({ subject, edits = [], disguise }) => {
    const planted = await modules.load<{ subject: CrashSubject<unknown> }>(
      `packages/conformance/src/fault-lab/${subject}-subject.ts`,
      edits,
    );
    const how = { subject: planted.subject, ...(disguise === undefined ? {} : { disguise }) };
    const { violation, nrStates } = await exploreCrashes({
      ...how,
      seed: SEED,
      states: STATES,
      shrinkStates: SHRINK_STATES,
    });
    expect(violation, `not found in ${nrStates} states`).toBeDefined();
    console.log(`${nrStates} states: ${violation?.message}`);
    expect((await replayCrash(how, violation?.token ?? ''))?.problem).toBe(violation?.problem);
  });
}
