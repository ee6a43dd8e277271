import { describe, expect, it } from 'vitest';
import { type SimulationOutcome, simulate } from './cluster-simulation.js';
import type { Mistake } from './mistakes.js';

const isLong = process.env.PDATA_LONG === '1';
const NR_SEEDS = isLong ? 40_000 : 2400;
/** Each mistake has to be found within so many. */
const NR_SEEDS_OF_MISTAKES = 150;

async function total(nrSeeds: number, options: { delayUnsynced: boolean }): Promise<SimulationOutcome> {
  let sum: SimulationOutcome = { violation: undefined, nrWrites: 0, nrCopies: 0, nrFailedNodes: 0, nrPowerCuts: 0 };
  for (let seed = 1; seed <= nrSeeds; seed++) {
    const outcome = await simulate({ seed, ...options });
    sum = {
      violation: sum.violation ?? outcome.violation,
      nrWrites: sum.nrWrites + outcome.nrWrites,
      nrCopies: sum.nrCopies + outcome.nrCopies,
      nrFailedNodes: sum.nrFailedNodes + outcome.nrFailedNodes,
      nrPowerCuts: sum.nrPowerCuts + outcome.nrPowerCuts,
    };
    if (sum.violation !== undefined) break;
  }
  return sum;
}

describe('nodes that write to one mirror', () => {
  it.each([
    { how: 'writing to regions that are not in sync', delayUnsynced: false, nrSeeds: NR_SEEDS },
    { how: 'waiting for regions to be copied first', delayUnsynced: true, nrSeeds: NR_SEEDS / 4 },
  ])(
    `never make its legs differ, $how ($nrSeeds seeds)`,
    async ({ nrSeeds, delayUnsynced }) => {
      const sum = await total(nrSeeds, { delayUnsynced });
      expect(sum.violation).toBeUndefined();
      // Nothing of this is worth anything if nothing happened.
      expect(sum.nrWrites).toBeGreaterThan(nrSeeds * 30);
      expect(sum.nrCopies).toBeGreaterThan(nrSeeds * 5);
      expect(sum.nrFailedNodes).toBeGreaterThan(nrSeeds);
      expect(sum.nrPowerCuts).toBeGreaterThan(nrSeeds / 20);
    },
    isLong ? 3_600_000 : 120_000,
  );

  it.each<Mistake>([
    'writes to regions not in sync are not marked',
    'a clear makes clean what is not in sync',
    'a copied region is cleared before it is reported in sync',
    'what a mark found is remembered beyond it',
    'a failed node is not fenced',
  ])('are found out when %s', async (mistake) => {
    let violation: string | undefined;
    for (let seed = 1; seed <= NR_SEEDS_OF_MISTAKES && violation === undefined; seed++) {
      ({ violation } = await simulate({ seed, mistake }));
    }
    console.log(`${mistake}: ${violation}`);
    expect(violation).toBeDefined();
  });
});
