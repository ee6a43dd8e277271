/**
 * Mirrors against plain arrays: requests that overlap, legs that fail, leave, return and are replaced, and losses of power at any moment,
 * for the log and all legs at once. And the same with a rule taken out, which must be found out: else this shows nothing.
 */
import type { DataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { DiskLog, type DiskLogOptions } from '../src/index.js';
import { alteredLog } from './altered-log.js';
import { MirrorWorld, type WorldOptions } from './engine-world.js';

const NR_STEPS = process.env.PDATA_LONG === '1' ? 200_000 : 5000;
const SEEDS = [1, 2, 3, 4, 5, 6];

async function run(options: WorldOptions, nrSteps = NR_STEPS): Promise<MirrorWorld> {
  const world = await MirrorWorld.make(options);
  for (let nr = 0; nr < nrSteps; nr++) await world.step();
  await world.end();
  return world;
}

const keepLog = { handleErrors: true, keepLog: true };

describe('after every loss of power all legs are equal, and what was flushed is there', () => {
  /** Of all runs, so that each kind has been there. */
  const counts: Record<string, number> = {};
  async function counted(options: WorldOptions): Promise<void> {
    const world = await run(options);
    for (const [kind, nr] of Object.entries(world.counts)) counts[kind] = (counts[kind] ?? 0) + nr;
  }

  it.each(SEEDS)('with two legs, one of which may fail (seed %i)', (seed) => counted({ seed, mode: keepLog }));

  it.each(SEEDS)('with three legs, spread reads and three regions copied at once (seed %i)', (seed) => {
    const mode = { ...keepLog, balanceReads: true, resyncRegions: 3 };
    return counted({ seed: 100 + seed, nrLegs: 3, mode });
  });

  it.each(SEEDS)('when errors are not handled, and regions are cleared at once (seed %i)', (seed) =>
    counted({ seed: 200 + seed, mode: { clearPeriod: 0 } }),
  );

  it.each(SEEDS)('when writes are held back until the legs are changed (seed %i)', (seed) =>
    counted({ seed: 300 + seed, mode: { handleErrors: true } }),
  );

  it('has done everything in these runs, and lost power thousands of times', () => {
    const kinds = [
      'write',
      'read',
      'discard',
      'zero',
      'flush',
      'suspend',
      'detach',
      'replace',
      'fail',
      'heal',
      'default',
    ];
    for (const kind of [...kinds, 'attach full', 'attach written', 'request failed'])
      expect(counts[kind] ?? 0, kind).toBeGreaterThan(10);
    expect((counts.crash ?? 0) + (counts.look ?? 0)).toBeGreaterThan(3000);
  });
});

/** A clear calls a region clean whether it is in sync or not: the kernel's, before 2.6.16. */
class CarelessLog extends DiskLog {
  override clear(regionNr: number): void {
    if (this.cleanBits.set(regionNr, true)) this.cleanBitChanged(regionNr, true);
  }
}

describe('is found out', () => {
  const mistakes: [string, Partial<WorldOptions>][] = [
    ['a leg that lies about its flushes', { lyingFlush: true }],
    [
      'a write that makes a region clean which was never copied',
      { makeLog: (device: DataDevice, sizes: DiskLogOptions) => new CarelessLog(device, sizes) },
    ],
    [
      'a write that does not wait for its mark',
      {
        makeLog: (device: DataDevice, sizes: DiskLogOptions) => {
          const log = new DiskLog(device, sizes);
          return alteredLog(log, { flush: async () => void log.flush().catch(() => {}) });
        },
      },
    ],
    [
      'a region that is called clean before the legs are flushed',
      {
        makeLog: (device: DataDevice, sizes: DiskLogOptions) => {
          const log = new DiskLog(device, sizes);
          return alteredLog(log, { resume: () => log.resume(async () => []) });
        },
      },
    ],
    [
      'a failed write that the log does not learn of',
      {
        makeLog: (device: DataDevice, sizes: DiskLogOptions) => {
          const log = new DiskLog(device, sizes);
          const setRegionSync = async (regionNr: number, inSync: boolean): Promise<void> => {
            if (inSync || !log.isInSync(regionNr)) await log.setRegionSync(regionNr, inSync);
          };
          return alteredLog(log, { setRegionSync });
        },
      },
    ],
  ];
  it.each(mistakes)('%s', async (_, mistake) => {
    const outcomes = await Promise.allSettled(
      SEEDS.map((seed) => run({ seed: 400 + seed, mode: keepLog, ...mistake }, 2500)),
    );
    const found = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [`${outcome.reason}`] : []));
    expect(found.length).toBeGreaterThan(SEEDS.length / 2);
    for (const problem of found)
      expect(problem).toMatch(/legs 0 and \d+ differ in sector \d+|sector \d+ is \d+, allowed|reads as \d+, allowed/);
  });
});
