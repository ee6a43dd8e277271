/** What the core log and the disk log have in common. */
import { MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import type { BitmapLog, BitmapLogOptions } from './bitmap-log.js';
import { CoreLog } from './core-log.js';
import { DiskLog } from './disk-log.js';

const legsHold = async (): Promise<readonly number[]> => [];
const SIZES = { length: 10 * 16 - 3, regionSize: 16 };

describe.each([
  { kind: 'core', create: (options: BitmapLogOptions): BitmapLog => new CoreLog(options) },
  {
    kind: 'disk',
    create: (options: BitmapLogOptions): BitmapLog => new DiskLog(new MemoryDataDevice({ size: 4096 }), options),
  },
])('a $kind log', ({ create }) => {
  async function resumed(options: Partial<BitmapLogOptions> = {}): Promise<BitmapLog> {
    const log = create({ ...SIZES, ...options });
    await log.resume(legsHold);
    return log;
  }

  it('has a region for the short end, and none in sync unless told so', async () => {
    const log = await resumed();
    expect([log.nrRegions, log.syncCount]).toEqual([10, 0]);
    expect((await resumed({ sync: 'sync' })).syncCount).toBe(0);
    const trusting = await resumed({ sync: 'nosync' });
    expect([trusting.syncCount, trusting.isInSync(9), trusting.markOutcome(9)]).toEqual([10, true, 'in sync']);
  });

  it('hands out every region once, in order, and none before it is resumed or after presuspend', async () => {
    const log = create(SIZES);
    expect(await log.nextResyncWork()).toBeUndefined();
    await log.resume(legsHold);
    for (let nr = 0; nr < 5; nr++) expect(await log.nextResyncWork()).toBe(nr);
    await log.presuspend();
    expect(await log.nextResyncWork()).toBeUndefined();
  });

  it('counts changes of a region, not reports', async () => {
    const log = await resumed();
    await log.setRegionSync(3, true);
    await log.setRegionSync(3, true);
    expect(log.syncCount).toBe(1);
    await log.setRegionSync(3, false);
    await log.setRegionSync(3, false);
    expect(log.syncCount).toBe(0);
  });

  it('does not hand out again what has failed or has fallen out of sync, as the kernel, until it is told to search again', async () => {
    const log = await resumed();
    for (let nr = 0; nr < 10; nr++) await log.setRegionSync((await log.nextResyncWork()) as number, nr !== 4);
    await log.setRegionSync(2, false);
    expect(await log.nextResyncWork()).toBeUndefined();
    expect(log.syncCount).toBe(8);
    await log.searchAgain();
    expect([await log.nextResyncWork(), await log.nextResyncWork(), await log.nextResyncWork()]).toEqual([
      2,
      4,
      undefined,
    ]);
    await log.searchAgain();
    expect(await log.nextResyncWork()).toBeUndefined(); // both are being copied
    await log.setRegionSync(4, false);
    await log.searchAgain();
    expect(await log.nextResyncWork()).toBe(4);
  });

  it('finds them after a suspend and resume, too', async () => {
    const log = await resumed();
    for (let nr = 0; nr < 10; nr++) {
      await log.setRegionSync((await log.nextResyncWork()) as number, nr !== 4);
      log.clear(nr);
    }
    await log.presuspend();
    await log.postsuspend();
    await log.resume(legsHold);
    expect([log.syncCount, await log.nextResyncWork(), await log.nextResyncWork()]).toEqual([9, 4, undefined]);
  });

  it('sends a write to the default leg when its region is not in sync', async () => {
    const log = await resumed();
    log.mark(1);
    await log.flush();
    expect(log.markOutcome(1)).toBe('not in sync');
    expect(await log.queryInSync(1)).toBe(false);
  });
});

it('a core log prints its table and status lines as the kernel does, and knows nothing to be clean', async () => {
  const log = new CoreLog({ ...SIZES, sync: 'nosync' });
  expect([log.statusText(), log.tableText()]).toEqual(['1 core', 'core 2 16 nosync']);
  expect(new CoreLog(SIZES).tableText()).toBe('core 1 16');
  expect(log.isClean()).toBe(false);
  await log.resume(legsHold);
  expect(log.status()).toEqual({
    kind: 'core',
    health: 'A',
    hasLostLegFlush: false,
    nrRegions: 10,
    syncCount: 10,
  });
});
