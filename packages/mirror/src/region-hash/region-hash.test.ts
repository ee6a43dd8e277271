import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { alteredLog } from '../../test/altered-log.js';
import { CoreLog } from '../log/core-log.js';
import type { DirtyLog, MarkOutcome } from '../log/dirty-log.js';
import { DiskLog } from '../log/disk-log.js';
import { RegionHash } from './region-hash.js';

/** A write in tests: its region, and a name. */
type Write = `${number}${string}`;
const regionOf = (write: Write): number => Number.parseInt(write, 10);
const SIZES = { length: 160, regionSize: 16 };
const legsHold = async (): Promise<readonly number[]> => [];

/** A hash over a log whose calls are noted. */
async function noted(sync: 'sync' | 'nosync' = 'nosync', log: DirtyLog = new CoreLog({ ...SIZES, sync })) {
  const calls: string[] = [];
  const told = alteredLog(log, {
    mark: (regionNr) => {
      calls.push(`mark ${regionNr}`);
      log.mark(regionNr);
    },
    clear: (regionNr) => {
      calls.push(`clear ${regionNr}`);
      log.clear(regionNr);
    },
    flush: () => {
      calls.push('flush');
      return log.flush();
    },
    setRegionSync: (regionNr, inSync) => {
      calls.push(`setRegionSync ${regionNr} ${inSync}`);
      return log.setRegionSync(regionNr, inSync);
    },
  });
  await log.resume(legsHold);
  let nrWakes = 0;
  const hash = new RegionHash<Write>(told, { regionOf, onWork: () => nrWakes++ });
  const since = (): string[] => calls.splice(0);
  return { hash, log, since, nrWakes: () => nrWakes };
}

describe('writes', () => {
  it('to a clean region mark it once, and flush the log before they go to all legs', async () => {
    const { hash, since } = await noted();
    const admitted = await hash.admitWrites(['1a', '1b', '2a']);
    expect(admitted).toEqual({ toAllLegs: ['1a', '1b', '2a'], toDefaultLeg: [], later: [], logFailure: undefined });
    expect(since()).toEqual(['mark 1', 'mark 2', 'flush']);
    expect([hash.stateOf(0), hash.stateOf(1), hash.nrPending(1)]).toEqual(['clean', 'dirty', 2]);
  });

  it('that have ended leave the region marked until the next update clears it', async () => {
    const { hash, since, nrWakes } = await noted();
    await hash.admitWrites(['1a', '1b']);
    hash.writeEnded(1);
    expect([hash.nrIdle, nrWakes()]).toEqual([0, 0]);
    hash.writeEnded(1);
    expect([hash.nrIdle, nrWakes()]).toEqual([1, 1]);
    since();
    await hash.update({ keepIdle: true });
    expect(since()).toEqual(['flush']);
    await hash.admitWrites(['1c']); // still marked, and that is durable
    expect(since()).toEqual([]);
    hash.writeEnded(1);
    expect(await hash.update()).toEqual({ released: [], recovered: [], failed: [], logFailure: undefined });
    expect(since()).toEqual(['clear 1', 'flush']);
    expect(hash.stateOf(1)).toBe('clean');
  });

  it('wait for the log only while a mark of their own is not durable', async () => {
    const medium = new FaultyDataDevice(new MemoryDataDevice({ name: 'log', size: 4096 }));
    const { hash } = await noted('nosync', new DiskLog(medium, { ...SIZES, sync: 'nosync' }));
    await hash.admitWrites(['1a']);
    const held = medium.hold('flush');
    const waiting = hash.admitWrites(['2a']);
    await held.untilHeld();
    let isWaiting = true;
    const same = hash.admitWrites(['2b']);
    void same.then(() => (isWaiting = false));
    expect((await hash.admitWrites(['1b'])).toAllLegs).toEqual(['1b']);
    expect(isWaiting, 'the mark of region 2 is on its way').toBe(true);
    held.release();
    await Promise.all([waiting, same]);
  });

  it('to regions that were marked ahead need no flush; what nobody wrote to is cleared with the rest', async () => {
    const { hash, log, since } = await noted();
    await log.setRegionSync(3, false);
    await hash.admitWrites(['1a']);
    since();
    await hash.markAhead(1, 6);
    expect(since(), 'not what is marked, nor what is not in sync').toEqual(['mark 2', 'mark 4', 'mark 5', 'flush']);
    await hash.markAhead(2, 20);
    expect(since()).toEqual(['mark 6', 'mark 7', 'mark 8', 'mark 9', 'flush']);
    expect((await hash.admitWrites(['4a'])).toAllLegs).toEqual(['4a']);
    expect([since(), hash.nrIdle]).toEqual([[], 6]);
    await hash.update();
    expect(since()).toEqual([2, 5, 6, 7, 8, 9].map((nr) => `clear ${nr}`).concat('flush'));
    expect([hash.stateOf(4), hash.stateOf(5)]).toEqual(['dirty', 'clean']);
  });

  it('marked ahead when the log fails are marked durably by who writes there', async () => {
    const medium = new FaultyDataDevice(new MemoryDataDevice({ name: 'log', size: 4096 }));
    const { hash } = await noted('nosync', new DiskLog(medium, { ...SIZES, sync: 'nosync' }));
    medium.inject({ operation: 'write', nth: medium.nrDone('write') + 1 });
    await hash.markAhead(1, 2);
    const nrBefore = medium.nrDone('write');
    expect((await hash.admitWrites(['1a'])).logFailure).toBeUndefined();
    expect(medium.nrDone('write')).toBe(nrBefore + 1);
  });

  it('to a region that is not in sync are marked and cleared too, and leave it not in sync', async () => {
    const { hash, log, since } = await noted('sync');
    expect((await hash.admitWrites(['3a'])).toDefaultLeg).toEqual(['3a']);
    expect(since()).toEqual(['mark 3', 'flush']);
    hash.writeEnded(3);
    await hash.update();
    expect(since()).toEqual(['clear 3', 'flush']);
    expect([hash.stateOf(3), log.isInSync(3)]).toEqual(['nosync', false]);
  });

  it('that fail on a leg take the region out of sync, whatever other writes do', async () => {
    const { hash, log } = await noted();
    await hash.admitWrites(['1a', '1b']);
    await hash.markNosync(1);
    hash.writeEnded(1);
    expect(hash.stateOf(1)).toBe('nosync');
    expect((await hash.admitWrites(['1c'])).toDefaultLeg).toEqual(['1c']);
    hash.writeEnded(1);
    hash.writeEnded(1);
    await hash.update();
    expect([hash.stateOf(1), log.syncCount]).toEqual(['nosync', 9]);
  });

  it('that end after a leg has lost a flush take their regions out of sync', async () => {
    const { hash, log, since } = await noted();
    await hash.admitWrites(['1a', '2a']);
    hash.writeEnded(1);
    hash.legFlushFailed();
    hash.writeEnded(2);
    since();
    await hash.update();
    expect(since()).toEqual(['setRegionSync 2 false', 'clear 1', 'clear 2', 'flush']);
    expect([log.isInSync(1), log.isInSync(2)]).toEqual([true, false]);
    await hash.trustLegFlushes();
    await hash.admitWrites(['3a']);
    hash.writeEnded(3);
    await hash.update();
    expect(hash.stateOf(3)).toBe('clean');
  });

  it('are told of a log that cannot be flushed, and where they would have gone', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: 4096 }));
    const { hash } = await noted('nosync', new DiskLog(device, { ...SIZES, sync: 'nosync' }));
    device.inject({ operation: 'write', nth: 2 });
    const admitted = await hash.admitWrites(['1a']);
    expect(admitted).toMatchObject({ toAllLegs: ['1a'], logFailure: { code: 'ERR_LOG_FAILED' } });
    hash.writeEnded(1);
    expect((await hash.update()).logFailure).toBeUndefined(); // written again, as it should
  });

  it('whose mark is refused are not admitted, and mark again when they come back', async () => {
    const log = new CoreLog({ ...SIZES, sync: 'sync' });
    const outcomes: MarkOutcome[] = ['refused', 'refused', 'in sync'];
    log.markOutcome = () => outcomes.shift() as MarkOutcome;
    const { hash, since } = await noted('sync', log);
    expect((await hash.admitWrites(['1a', '1b'])).later).toEqual(['1a', '1b']);
    expect([hash.nrPending(1), hash.nrIdle]).toEqual([0, 0]);
    expect((await hash.admitWrites(['1a'])).toAllLegs).toEqual(['1a']);
    expect(since()).toEqual(['mark 1', 'flush', 'mark 1', 'flush']);
  });

  it('whose mark is granted are cleared, though a write of an earlier batch is refused in between', async () => {
    const log = new CoreLog({ ...SIZES, sync: 'nosync' });
    const flushes: (() => void)[] = [];
    let outcome: MarkOutcome = 'refused';
    log.flush = () => new Promise((resolve) => flushes.push(resolve));
    log.markOutcome = () => outcome;
    const { hash, since } = await noted('nosync', log);
    const [first, second] = [hash.admitWrites(['1a']), hash.admitWrites(['1b'])];
    flushes[0]!();
    expect((await first).later).toEqual(['1a']);
    const third = hash.admitWrites(['1c']); // marks again
    flushes[1]!();
    expect((await second).later).toEqual(['1b']);
    outcome = 'in sync';
    flushes[2]!();
    expect((await third).toAllLegs).toEqual(['1c']);
    hash.writeEnded(1);
    log.flush = async () => undefined;
    since();
    await hash.update();
    expect(since()).toEqual(['clear 1', 'flush']);
  });

  it('of two batches at once share a mark, and both wait until it is durable', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: 4096 }));
    const { hash } = await noted('nosync', new DiskLog(device, { ...SIZES, sync: 'nosync' }));
    const held = device.hold('flush');
    const order: string[] = [];
    const first = hash.admitWrites(['1a']).then(() => order.push('first'));
    await held.untilHeld();
    const second = hash.admitWrites(['1b']).then(() => order.push('second'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    held.release();
    await Promise.all([first, second]);
    expect([order, device.nrDone('write')]).toEqual([['first', 'second'], 2]);
  });
});

describe('a recovery', () => {
  it('begins when the writes admitted before have ended, and holds back those that come later', async () => {
    const { hash } = await noted('sync');
    await hash.admitWrites(['0a']);
    expect(await hash.prepareRecovery()).toBe(0);
    expect([hash.stateOf(0), hash.nrRecovering, hash.takeQuiesced()]).toEqual(['recovering', 1, undefined]);
    expect(await hash.admitWrites(['0b', '5a'])).toMatchObject({ toAllLegs: [], toDefaultLeg: ['5a'], later: [] });
    hash.writeEnded(0);
    expect([hash.takeQuiesced(), hash.takeQuiesced()]).toEqual([0, undefined]);
    hash.recoveryDone(0, true);
    expect(await hash.update()).toMatchObject({ released: ['0b'], recovered: [0], failed: [] });
    expect([hash.nrRecovering, (await hash.admitWrites(['0b'])).toAllLegs]).toEqual([0, ['0b']]);
  });

  it('is reported in sync before the region is cleared', async () => {
    const { hash, since } = await noted('sync');
    await hash.prepareRecovery();
    hash.takeQuiesced();
    hash.recoveryDone(0, true);
    since();
    await hash.update();
    expect(since()).toEqual(['setRegionSync 0 true', 'clear 0', 'flush']);
    expect(hash.stateOf(0)).toBe('clean');
  });

  it('leaves the region to be cleared later when more is to come, and marks it when it is written to meanwhile', async () => {
    const { hash, since } = await noted('sync');
    for (const copied of [0, 1]) {
      await hash.prepareRecovery();
      hash.takeQuiesced();
      hash.recoveryDone(copied, true);
      await hash.update({ keepIdle: true });
    }
    expect([since().filter((call) => call !== 'flush'), hash.nrIdle, hash.stateOf(0)]).toEqual([
      ['setRegionSync 0 true', 'setRegionSync 1 true'],
      2,
      'dirty',
    ]);
    await hash.admitWrites(['1a']);
    expect([since(), hash.nrIdle]).toEqual([['mark 1', 'flush'], 1]);
    await hash.update();
    expect(since()).toEqual(['clear 0', 'flush']);
  });

  it('that fails leaves the region not in sync, and is not tried again by itself', async () => {
    const { hash, log, since } = await noted('sync');
    await hash.prepareRecovery();
    hash.takeQuiesced();
    await hash.admitWrites(['0a']);
    hash.recoveryDone(0, false);
    since();
    expect(await hash.update()).toMatchObject({ released: ['0a'], recovered: [], failed: [0] });
    expect(since()).toEqual(['setRegionSync 0 false', 'flush']);
    expect([hash.stateOf(0), await hash.prepareRecovery()]).toEqual(['nosync', 1]);
    expect((await hash.admitWrites(['0a'])).toDefaultLeg).toEqual(['0a']);
    await log.searchAgain();
    expect(await hash.prepareRecovery()).toBe(0);
  });

  it('is called off when a write that it waits for fails', async () => {
    const { hash, log } = await noted('sync');
    await hash.admitWrites(['0a']);
    await hash.prepareRecovery();
    await hash.admitWrites(['0b']);
    await hash.markNosync(0);
    hash.writeEnded(0);
    expect(hash.takeQuiesced()).toBeUndefined();
    expect(await hash.update()).toMatchObject({ released: ['0b'], failed: [0] });
    expect([hash.nrRecovering, hash.stateOf(0), log.syncCount]).toEqual([0, 'nosync', 0]);
  });

  it('does not begin when the region was reported not in sync before the answer of the log had come', async () => {
    const { hash, log } = await noted('sync');
    await hash.admitWrites(['0a']);
    const asking = hash.prepareRecovery();
    await hash.markNosync(0); // ends the recovery that has just been granted
    expect(await asking).toBeUndefined();
    expect([hash.nrRecovering, hash.stateOf(0)]).toEqual([0, 'nosync']);
    await log.searchAgain();
    expect(await hash.prepareRecovery()).toBe(0);
  });

  it('counts for nothing when the region comes out of sync once more while it is copied', async () => {
    const { hash, log, since } = await noted('sync');
    await hash.prepareRecovery();
    hash.takeQuiesced();
    since();
    await hash.markNosync(0);
    expect(since()).toEqual([]); // the log would let another node copy it at the same time
    hash.recoveryDone(0, true);
    expect(await hash.update()).toMatchObject({ recovered: [], failed: [0] });
    expect(log.isInSync(0)).toBe(false);
  });

  it('is not upset by a leg that lost a flush before it began', async () => {
    const { hash, log } = await noted('sync');
    await hash.admitWrites(['0a']);
    hash.legFlushFailed();
    hash.writeEnded(0);
    expect(await hash.prepareRecovery()).toBe(0);
    await hash.update();
    await log.searchAgain();
    expect(await log.nextResyncWork()).toBe(1); // region 0 is still being copied
    expect([hash.takeQuiesced(), hash.nrRecovering]).toEqual([0, 1]);
  });

  it('cannot end before it has begun, nor a write that was not admitted', async () => {
    const { hash } = await noted('sync');
    expect(() => hash.recoveryDone(0, true)).toThrow('a recovery ends that has not begun');
    expect(() => hash.writeEnded(0)).toThrow('a write ends that was not admitted');
  });
});
