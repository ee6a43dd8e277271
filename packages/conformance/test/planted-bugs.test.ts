/**
 * The explorer judged: each bug of the list is planted, and has to be found, within so many states, with a token that finds it
 * again. An explorer that finds nothing in good code and nothing in bad code would look just as green.
 */
import { type CrashSubject, exploreCrashes, replayCrash } from '@pdata/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLANTED_BUGS } from './planted-bugs.js';
import { PlantedModules, requirePlaces } from './planted-source.js';

const SEED = 1;
const STATES = 60_000;

let modules: PlantedModules;
beforeAll(async () => {
  modules = await PlantedModules.open();
});
afterAll(() => modules.close());

it.each(PLANTED_BUGS.map((bug) => ({ ...bug })))(
  '$name, is found by $subject',
  async ({ subject, edits = [], disguise }) => {
    const planted = await modules.load<{ subject: CrashSubject<unknown> }>(
      `packages/conformance/src/fault-lab/${subject}-subject.ts`,
      edits,
    );
    const how = { subject: planted.subject, ...(disguise === undefined ? {} : { disguise }) };
    const { violation, nrStates } = await exploreCrashes({ ...how, seed: SEED, states: STATES });
    expect(violation, `not found in ${nrStates} states`).toBeDefined();
    console.log(`${nrStates} states: ${violation?.message}`);
    expect((await replayCrash(how, violation?.token ?? ''))?.problem).toBe(violation?.problem);
  },
);

it('says when a place to plant a bug at is not there any more', () => {
  const edit = { file: 'packages/thin/src/index.ts', replace: 'what is not there', by: '' };
  expect(() => requirePlaces([edit])).toThrow('packages/thin/src/index.ts has 0 times, not once: what is not there');
});
