/**
 * Pools and volumes against plain arrays: requests that overlap, snapshots of volumes in use, deletions, growth, full pools,
 * and losses of power at any moment. After each of those the metadata has no error and no leak, and each sector holds what it
 * was last flushed with, or something newer.
 */
import { describe, expect, it } from 'vitest';
import { EngineWorld, type WorldOptions } from './engine-world.js';

async function run(options: WorldOptions, nrSteps: number): Promise<EngineWorld> {
  const world = await EngineWorld.make(options);
  for (let nr = 0; nr < nrSteps; nr++) await world.step();
  await world.end();
  return world;
}

const SEEDS = [1, 2, 3, 4, 5, 6];

describe('a pool in use', () => {
  it.each(SEEDS)('holds what an array of sectors would (seed %i)', async (seed) => {
    const { counts } = await run({ seed }, 2500);
    for (const kind of ['write', 'read', 'discard', 'zero', 'flush', 'snapshot', 'delete', 'create', 'commit'])
      expect(counts[kind] ?? 0, kind).toBeGreaterThan(2);
  });

  it.each(SEEDS)('has after each loss of power what was flushed, and no leak (seed %i)', async (seed) => {
    const { counts } = await run({ seed: 100 + seed, crashes: true }, 2500);
    expect(counts.crash ?? 0).toBeGreaterThan(10);
  });

  it.each([1, 2, 3])(
    'does so when writes wait for space, and snapshots are taken meanwhile (seed %i)',
    async (seed) => {
      const { counts } = await run({ seed: 200 + seed, crashes: true, nrDataBlocks: 10, waits: true }, 2000);
      for (const kind of ['grow', 'snapshot', 'crash']) expect(counts[kind] ?? 0, kind).toBeGreaterThan(2);
    },
  );

  it('meets snapshots with requests in flight, and full pools, in these runs', async () => {
    const { counts } = await run({ seed: 7, nrDataBlocks: 12 }, 2500);
    for (const kind of ['in flight and in', 'in flight and out', 'no space', 'grow'])
      expect(counts[kind] ?? 0, kind).toBeGreaterThan(0);
  });
});

it('loses what was flushed when the data device lies about its flushes, and this test finds out', async () => {
  const outcomes = await Promise.allSettled(
    SEEDS.map((seed) => run({ seed: 100 + seed, crashes: true, lyingFlush: true }, 2500)),
  );
  const found = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [`${outcome.reason}`] : []));
  expect(found.length).toBeGreaterThan(SEEDS.length / 2);
  for (const problem of found) expect(problem).toMatch(/crash \d+: sector \d+ of \d+ is \d+, allowed: /);
});
