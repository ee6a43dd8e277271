/** A seeded part of the exploration for every run of the tests; the rest is `npm run faultlab -- crashes --long`. */
import { expect, it } from 'vitest';
import { SUBJECTS } from '../../src/fault-lab/subjects.js';

const SEED = 1;

export function itSurvivesCrashes(name: string, states: number): void {
  it(`${name} is found as its last commit left it, or the one under way, after each of ${states} crashes and more`, async () => {
    const subject = SUBJECTS.find((known) => known.name === name);
    if (subject === undefined) throw new Error(`there is no subject ${name}`);
    const replayCommand = (token: string): string => `npm run faultlab -- replay ${token}`;
    const { violation, nrStates, nrDistinct, summary } = await subject.explore({ seed: SEED, states, replayCommand });
    console.log(summary);
    if (violation !== undefined) throw violation;
    expect(nrStates).toBeGreaterThanOrEqual(states);
    expect(nrDistinct).toBeGreaterThan(states / 10);
  });
}
