/**
 * A clone against a plain array: requests that overlap while it hydrates, and losses of power at any moment, with a destination
 * and a metadata device that both lose what was not flushed. After each of those every sector holds what it was last flushed with,
 * or something newer; so no region was marked whose data was not durable.
 *
 * Garbage is what the destination holds where nothing was written: a region that was marked too early would show it.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CloneMetadata } from '../src/index.js';
import { CloneWorld, type CloneWorldOptions } from './clone-world.js';

async function run(options: CloneWorldOptions, nrSteps = 3000): Promise<CloneWorld> {
  const world = await CloneWorld.make(options);
  for (let nr = 0; nr < nrSteps; nr++) await world.step();
  await world.end();
  return world;
}

const SEEDS = process.env.PDATA_LONG === '1' ? Array.from({ length: 60 }, (_, nr) => nr + 1) : [1, 2, 3, 4, 5, 6];

afterEach(() => vi.restoreAllMocks());

describe('a clone in use', () => {
  it.each(SEEDS)('holds what an array of sectors would (seed %i)', async (seed) => {
    const { counts } = await run({ seed, discards: seed % 2 === 0, badSource: seed % 3 === 0 });
    for (const kind of ['write', 'read', 'zero', 'flush', 'complete'])
      expect(counts[kind] ?? 0, kind).toBeGreaterThan(2);
  });

  it.each(SEEDS)('has after each loss of power what was flushed (8b3fd1f5) (seed %i)', async (seed) => {
    const { counts } = await run({ seed: 100 + seed, crashes: true, discards: seed % 3 === 0 });
    expect(counts.crash ?? 0).toBeGreaterThan(15);
    expect(counts['hydrated after a crash'] ?? 0).toBeGreaterThan(10);
  });

  it('has so at each point of a workload, whatever of the unflushed writes has landed', async () => {
    const world = await CloneWorld.make({ seed: 77 });
    for (let nr = 0; nr < 500; nr++) {
      await world.step(); // one request of one device goes on
      for (const lands of ['none', 'some', 'all'] as const) await world.lookAtCrash(nr, lands);
    }
    await world.end();
    expect(world.counts['crash images']).toBe(1500);
    expect(world.counts['crash images with hydrated regions']).toBeGreaterThan(500);
  });

  it('meets a source that fails in these runs', async () => {
    const { counts } = await run({ seed: 300, badSource: true });
    expect(counts['not hydrated'] ?? 0).toBeGreaterThan(0);
  });
});

describe('these tests find out', () => {
  /** Problems that runs with losses of power meet. */
  async function problems(options: Partial<CloneWorldOptions>): Promise<string[]> {
    const outcomes = await Promise.allSettled(
      [1, 2, 3, 4, 5, 6].map((seed) => run({ seed: 100 + seed, crashes: true, ...options })),
    );
    return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [`${outcome.reason}`] : []));
  }
  const LOST = /crash \d+, after it: sector \d+ is \d+, allowed: /;

  it('when the destination is not flushed before a commit', async () => {
    const found = await problems({ lyingFlush: true });
    expect(found.length).toBeGreaterThan(4);
    for (const problem of found) expect(problem).toMatch(LOST);
  });

  it('when the regions of a commit are sealed after the flush, not before', async () => {
    const { preCommit, commitAsync } = CloneMetadata.prototype;
    vi.spyOn(CloneMetadata.prototype, 'preCommit').mockImplementation(() => {});
    vi.spyOn(CloneMetadata.prototype, 'commitAsync').mockImplementation(function (this: CloneMetadata) {
      preCommit.call(this);
      return commitAsync.call(this);
    });
    const found = await problems({});
    expect(found.length).toBeGreaterThan(2);
    for (const problem of found) expect(problem).toMatch(LOST);
  });
});
