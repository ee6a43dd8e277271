import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice, RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { DiskLog, type DiskLogOptions } from './disk-log.js';
import { LogFailedError, LogTooSmallError, NotALogError, UnsupportedLogError } from './errors.js';

/** The mirror of the format's worked example: 512 regions, a log of 1536 bytes. */
const EXAMPLE = { length: 65_536, regionSize: 128 };
const LOG_SIZE = 1536;
const legsHold = async (): Promise<readonly number[]> => [];

const memory = (bytes: Uint8Array = new Uint8Array(8192)): MemoryDataDevice =>
  new MemoryDataDevice({ name: 'log', bytes });

async function resumed(device = memory(), options: Partial<DiskLogOptions> = {}): Promise<DiskLog> {
  const log = new DiskLog(device, { ...EXAMPLE, ...options });
  await log.resume(legsHold);
  return log;
}

/** Sets bits by copying the regions, as an engine would. */
async function copyRegions(log: DiskLog, nrRegions: number): Promise<void> {
  for (let nr = 0; nr < nrRegions; nr++) {
    const regionNr = await log.nextResyncWork();
    if (regionNr === undefined) throw new Error('nothing to copy');
    await log.setRegionSync(regionNr, true);
    log.clear(regionNr);
  }
  await log.flush();
}

/** A log of 512 regions as if somebody had written it. */
function logBytes({
  version = 2,
  nrRegions = 512,
  bits = [] as number[],
  magic = [0x72, 0x52, 0x69, 0x4d],
} = {}): Uint8Array {
  const bytes = new Uint8Array(8192);
  bytes.set(magic);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, version, true);
  view.setUint32(8, nrRegions, true);
  bytes.set(bits, 1024);
  return bytes;
}

const hexOf = (device: MemoryDataDevice, begin: number, end: number): string =>
  Buffer.from(device.bytes!.subarray(begin, end)).toString('hex');

describe('a disk log on its device', () => {
  it('is the worked example of the format, byte for byte, fresh and with 55 regions copied', async () => {
    const device = memory();
    const log = await resumed(device);
    expect(hexOf(device, 0, 16)).toBe('7252694d020000000002000000000000');
    expect(hexOf(device, 1024, 1088)).toBe('00'.repeat(64));
    await copyRegions(log, 55);
    expect(hexOf(device, 0, 16)).toBe('7252694d020000000002000000000000');
    expect(hexOf(device, 1024, 1088)).toBe(`ffffffffffff7f00${'00'.repeat(56)}`);
    await copyRegions(log, 457);
    expect(hexOf(device, 1024, 1088)).toBe('ff'.repeat(64));
    expect(log.syncCount).toBe(512);
  });

  it('is read and written in one request from byte 0, rounded up to the logical block size', async () => {
    for (const [logicalBlockSize, size] of [
      [512, 1536],
      [1024, 2048],
      [4096, 4096],
    ] as const) {
      const device = new RecordingDataDevice(memory(), { reads: true });
      const log = new DiskLog(device, { ...EXAMPLE, logicalBlockSize });
      await log.resume(legsHold);
      expect(device.summary).toEqual([`read ${size} bytes at 0`, `write ${size} bytes at 0`, 'flush']);
    }
  });

  it('keeps the unused bytes and the padding through load, writes and suspend', async () => {
    const bytes = logBytes();
    for (let at = 16; at < 1024; at++) bytes[at] = (at * 7) & 0xff;
    for (let at = 1088; at < 8192; at++) bytes[at] = (at * 11) & 0xff;
    const before = bytes.slice();
    const log = await resumed(memory(bytes));
    await copyRegions(log, 70);
    log.mark(3);
    await log.flush();
    log.clear(3);
    await log.presuspend();
    await log.postsuspend();
    expect(bytes.subarray(16, 1024)).toEqual(before.subarray(16, 1024));
    expect(bytes.subarray(1088)).toEqual(before.subarray(1088));
    expect(hexOf(memory(bytes), 1024, 1033)).toBe('ffffffffffffffff3f');
  });

  it('takes version 1 for what it is, and makes it version 2', async () => {
    const device = memory(logBytes({ version: 1, bits: [0xff, 0x01] }));
    const log = await resumed(device);
    expect(log.syncCount).toBe(9);
    expect(hexOf(device, 0, 16)).toBe('7252694d020000000002000000000000');
  });

  it.each(['SYNC', 'maybe', true])('begins with sync, with nosync, or as it is, not with %s', (sync) => {
    const device = new MemoryDataDevice({ size: 4096 });
    expect(() => new DiskLog(device, { length: 512, regionSize: 8, sync: sync as never })).toThrow(
      'with sync or with nosync',
    );
  });

  it.each([0, 3, 0x02000000])('refuses version %i, and leaves it untouched', async (version) => {
    const bytes = logBytes({ version, bits: [0xff] });
    const before = bytes.slice();
    for (const options of [{}, { overwrite: true }, { sync: 'nosync' }] as const) {
      const opening = resumed(memory(bytes), options);
      await expect(opening).rejects.toThrow(UnsupportedLogError);
      await expect(opening).rejects.toThrow(`the log on log has version ${version}; only 1 and 2 are known`);
    }
    expect(bytes).toEqual(before);
  });

  it('refuses a device that holds something else, and leaves it untouched', async () => {
    const ext4 = new Uint8Array(8192);
    ext4.set([0x53, 0xef], 1024 + 56); // its first sectors are all zero
    for (const bytes of [ext4, logBytes({ magic: [1, 2, 3, 4] })]) {
      const before = bytes.slice();
      const opening = resumed(memory(bytes));
      await expect(opening).rejects.toThrow(NotALogError);
      await expect(opening).rejects.toThrow(
        /^log holds no mirror log, but something else: its magic is 0x[0-9a-f]{8}, expected 0x4d695272/,
      );
      expect(bytes).toEqual(before);
    }
  });

  it('begins a new log over something else when asked to, and keeps the bytes that are not its own', async () => {
    const bytes = new Uint8Array(8192).fill(0xab);
    const log = await resumed(memory(bytes), { overwrite: true });
    expect(log.syncCount).toBe(0);
    expect(hexOf(memory(bytes), 0, 16)).toBe('7252694d020000000002000000000000');
    expect(hexOf(memory(bytes), 1024, 1088)).toBe('00'.repeat(64));
    expect([16, 1023, 1088, 8191].map((at) => bytes[at])).toEqual([0xab, 0xab, 0xab, 0xab]);
  });

  it('zeroes the bits behind the last region to the end of the word when the mirror has shrunk, and no more', async () => {
    const device = memory(logBytes({ bits: new Array(64).fill(0xff) }));
    const log = await resumed(device, { length: 100 * 128 });
    expect(log.syncCount).toBe(100);
    expect(hexOf(device, 1024, 1088)).toBe(`${'ff'.repeat(12)}0f000000${'ff'.repeat(48)}`);
    expect(hexOf(device, 8, 16)).toBe('6400000000000000');
  });

  it('does not bring stale bits back when the mirror grows again', async () => {
    const device = memory(logBytes({ bits: new Array(64).fill(0xff) }));
    await resumed(device, { length: 100 * 128 });
    const log = await resumed(device);
    expect(log.syncCount).toBe(100);
    expect(hexOf(device, 1024, 1088)).toBe(`${'ff'.repeat(12)}0f${'00'.repeat(51)}`);
  });

  it('refuses a device that is one sector too small', () => {
    const tooSmall = (): DiskLog => new DiskLog(memory(new Uint8Array(LOG_SIZE - 512)), EXAMPLE);
    expect(tooSmall).toThrow(LogTooSmallError);
    expect(tooSmall).toThrow('the log on log is too small: 512 regions need 1536 bytes, and it has 1024');
    expect(() => new DiskLog(memory(new Uint8Array(LOG_SIZE)), EXAMPLE)).not.toThrow();
  });

  it('refuses region sizes that are no power of two, and block sizes that are none', () => {
    expect(() => new DiskLog(memory(), { ...EXAMPLE, regionSize: 96 })).toThrow('region size of 96 sectors: expected');
    expect(() => new DiskLog(memory(), { ...EXAMPLE, logicalBlockSize: 1000 })).toThrow('logical block size of 1000');
  });
});

describe('sync and nosync', () => {
  it('act at the first resume only', async () => {
    const device = memory(logBytes({ bits: [0xff] }));
    const log = await resumed(device, { sync: 'sync' });
    expect(log.syncCount).toBe(0);
    await copyRegions(log, 20);
    await log.resume(legsHold);
    expect(log.syncCount).toBe(20);

    const trusting = await resumed(device, { sync: 'nosync' });
    expect(trusting.syncCount).toBe(512);
    await trusting.setRegionSync(7, false);
    await trusting.flush();
    await trusting.resume(legsHold);
    expect([trusting.syncCount, trusting.isInSync(7)]).toEqual([511, false]);
  });

  it('act at every resume when the kernel is to be followed', async () => {
    const log = await resumed(memory(), { sync: 'nosync', syncAtEveryResume: true });
    await log.setRegionSync(7, false);
    await log.resume(legsHold);
    expect(log.syncCount).toBe(512);
    const copying = await resumed(memory(), { sync: 'sync', syncAtEveryResume: true });
    await copyRegions(copying, 20);
    await copying.resume(legsHold);
    expect(copying.syncCount).toBe(0);
  });

  it('are in the table line, as the device and the region size are', async () => {
    expect((await resumed()).tableText()).toBe('disk 2 log 128');
    expect((await resumed(memory(), { sync: 'nosync' })).tableText()).toBe('disk 3 log 128 nosync');
  });
});

describe('a flush', () => {
  /** A log with all regions in sync, whose requests, and leg flushes, are noted in one list. */
  async function noted(initial = logBytes({ bits: new Array(64).fill(0xff) }), options: Partial<DiskLogOptions> = {}) {
    const events: string[] = [];
    const faulty = new FaultyDataDevice(memory(initial));
    const device = new RecordingDataDevice(faulty, {
      initial,
      onOperation: ({ op }) => events.push(op === 'flush' ? 'log flush' : `log ${op}`),
    });
    const legs = { failed: [] as number[], during: async (): Promise<void> => undefined };
    const log = new DiskLog(device, { ...EXAMPLE, ...options });
    await log.resume(async () => {
      events.push('legs flush');
      await legs.during();
      return legs.failed;
    });
    events.length = 0;
    const isCleanOnDisk = (regionNr: number): boolean =>
      ((initial[1024 + Math.floor(regionNr / 8)]! >> (regionNr % 8)) & 1) === 1;
    return { log, events, faulty, device, legs, isCleanOnDisk };
  }

  it('does no I/O when nothing has changed: not for a mark of a region that is marked, nor for a mark taken back', async () => {
    const { log, events } = await noted();
    await log.flush();
    log.mark(4);
    log.clear(4);
    await log.flush();
    expect(events).toEqual([]);
    log.mark(4);
    await log.flush();
    events.length = 0;
    log.mark(4);
    await log.flush();
    await log.setRegionSync(4, false);
    log.clear(4); // not in sync: no effect
    log.mark(4);
    await log.flush();
    expect(events).toEqual([]);
  });

  it('writes marks and then flushes the log', async () => {
    const { log, events, isCleanOnDisk } = await noted();
    for (const regionNr of [1, 9, 500]) log.mark(regionNr);
    await log.flush();
    expect(events).toEqual(['log write', 'log flush']);
    expect([1, 9, 500, 2].map(isCleanOnDisk)).toEqual([false, false, false, true]);
  });

  it('flushes the legs before it writes clean bits, which need no flush of the log', async () => {
    const { log, events, isCleanOnDisk } = await noted();
    log.mark(1);
    await log.flush();
    events.length = 0;
    log.clear(1);
    expect(log.isClean(1)).toBe(false); // the legs have not been flushed yet
    await log.flush();
    expect(events).toEqual(['legs flush', 'log write']);
    expect([isCleanOnDisk(1), log.isClean(1)]).toEqual([true, true]);
  });

  it('does not call clean what was cleared after the flush of the legs had begun', async () => {
    const { log, legs, isCleanOnDisk } = await noted();
    for (const regionNr of [1, 2, 3]) log.mark(regionNr);
    await log.flush();
    log.clear(1);
    log.clear(2);
    legs.during = async () => {
      log.clear(3); // too late
      log.mark(2); // a write, over before the flush of the legs is: not covered either
      log.clear(2);
      legs.during = async () => undefined;
    };
    await log.flush();
    expect([1, 2, 3].map(isCleanOnDisk)).toEqual([true, false, false]);
    await log.flush();
    expect([1, 2, 3].map(isCleanOnDisk)).toEqual([true, true, true]);
  });

  it('takes in what is marked while the legs are flushed', async () => {
    const { log, legs, events, isCleanOnDisk } = await noted();
    log.mark(1);
    await log.flush();
    log.clear(1);
    events.length = 0;
    legs.during = async () => log.mark(400);
    await log.flush();
    expect(events).toEqual(['legs flush', 'log write', 'log flush']);
    expect([1, 400].map(isCleanOnDisk)).toEqual([true, false]);
  });

  it('that is asked for during another covers what was marked before it, and shares with all who ask', async () => {
    const { log, faulty, events, isCleanOnDisk } = await noted();
    const held = faulty.hold('flush');
    log.mark(1);
    const first = log.flush();
    await held.untilHeld();
    let hasResolved = false;
    log.mark(2);
    const later = [log.flush(), log.flush()];
    const unchanged = log.flush().then(() => {
      hasResolved = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(hasResolved).toBe(false);
    expect(isCleanOnDisk(2)).toBe(true);
    held.release();
    await Promise.all([first, ...later, unchanged]);
    expect(events).toEqual(['log write', 'log flush', 'log write', 'log flush']);
    expect(isCleanOnDisk(2)).toBe(false);
  });

  it('that a leg fails leaves dirty what it should have covered, and nothing becomes clean until the legs can be trusted', async () => {
    const { log, legs, isCleanOnDisk } = await noted();
    for (const regionNr of [1, 2, 3]) log.mark(regionNr);
    await log.flush();
    log.clear(1);
    log.clear(2);
    legs.failed = [1];
    legs.during = async () => log.mark(5);
    await log.flush();
    expect(log.status()).toMatchObject({ health: 'A', hasLostLegFlush: true, syncCount: 512 });
    expect([0, 1, 2, 3, 4, 5].map(isCleanOnDisk)).toEqual([true, false, false, false, true, false]);
    expect([log.isClean(0), log.isClean(1)]).toEqual([true, false]);
    legs.failed = [];
    log.clear(1);
    await log.flush();
    expect(isCleanOnDisk(1)).toBe(false);
    await log.trustLegFlushes();
    log.clear(1);
    await log.flush();
    expect([1, 2].map(isCleanOnDisk)).toEqual([true, false]);
  });

  it('that a leg fails leaves every region dirty when the kernel is to be followed', async () => {
    const { log, legs, isCleanOnDisk } = await noted(undefined, { dirtyAllOnLegFlushFailure: true });
    log.mark(1);
    await log.flush();
    log.clear(1);
    legs.failed = [1];
    await log.flush();
    expect(Array.from({ length: 512 }, (_, nr) => isCleanOnDisk(nr)).some(Boolean)).toBe(false);
    log.clear(1);
    await log.flush();
    expect([isCleanOnDisk(1), log.syncCount]).toEqual([false, 512]);
  });

  it('whose write fails says so, shows D, and writes again the next time', async () => {
    const { log, faulty, events, isCleanOnDisk } = await noted();
    faulty.inject({ operation: 'write', nth: faulty.nrDone('write') + 1, landsPartly: true });
    log.mark(1);
    const failing = log.flush();
    await expect(failing).rejects.toThrow(LogFailedError);
    await expect(failing).rejects.toThrow(/^cannot write the log on log: .* What it should record is not durable$/);
    expect(log.statusText()).toBe('3 disk log D');
    expect(isCleanOnDisk(1)).toBe(true);
    events.length = 0;
    await log.flush();
    expect(events).toEqual(['log write', 'log flush']);
    expect(isCleanOnDisk(1)).toBe(false);
    await log.resume(legsHold);
    expect(log.statusText()).toBe('3 disk log A');
  });

  it('whose flush of the log fails says so, shows F, and fails again', async () => {
    const { log, faulty } = await noted();
    faulty.inject({ operation: 'flush', nth: faulty.nrDone('flush') + 1 });
    log.mark(1);
    await expect(log.flush()).rejects.toThrow('cannot flush the log on log');
    expect(log.statusText()).toBe('3 disk log F');
    log.mark(1); // changes nothing in memory, and is still not durable
    await expect(log.flush()).rejects.toThrow(LogFailedError);
  });

  it('fails when the log could not be read, and writes nothing over it', async () => {
    const { log, faulty, events } = await noted();
    faulty.inject({ operation: 'read', nth: faulty.nrDone('read') + 1 });
    await log.resume(legsHold);
    expect(log.status()).toMatchObject({ health: 'D', syncCount: 0 });
    expect(await log.nextResyncWork()).toBe(0);
    events.length = 0;
    log.mark(1);
    await expect(log.flush()).rejects.toThrow('the log on log could not be read, so it is not written');
    await expect(log.postsuspend()).rejects.toThrow(LogFailedError);
    expect(events).toEqual([]);
    await log.resume(legsHold);
    expect(log.status()).toMatchObject({ health: 'A', syncCount: 512 });
  });

  it('fails when the log could not be written at resume, until it can', async () => {
    const faulty = new FaultyDataDevice(memory(), [{ operation: 'write', nth: 1 }]);
    const log = new DiskLog(faulty, EXAMPLE);
    await log.resume(legsHold);
    expect(log.statusText()).toBe('3 disk log D');
    await log.flush();
    expect(faulty.nrDone('write')).toBe(2);
  });

  it('is refused when the log is closed', async () => {
    const { log } = await noted();
    log.mark(1);
    await log.close();
    await expect(log.flush()).rejects.toThrow('the log on log is closed');
    await expect(log.resume(legsHold)).rejects.toThrow('the log on log is closed');
  });
});
