/** What becomes of requests, legs and regions when devices fail: section 9 of the format, and where this differs from it. */
import { describe, expect, it } from 'vitest';
import {
  breakLeg,
  bytesOf,
  expectEqualLegs,
  filled,
  isPending,
  openTest,
  REGION,
  readFrom,
  settled,
  type TestLeg,
  type TestMirror,
  testMirror,
} from '../../test/engine-mirrors.js';

const byte = (value: number): Uint8Array => filled(512, value);
const lettersOf = ({ mirror }: TestMirror): string => mirror.statusLine().split(' ').slice(-6, -4).join(' ');
const inSyncOf = ({ mirror }: TestMirror): string => mirror.statusLine().split(' ')[3] as string;
const leg = ({ legs }: TestMirror, nr: number): TestLeg => legs[nr] as TestLeg;

/** What the kernel calls the three ways to treat errors. */
const none = {};
const handleErrors = { handleErrors: true };
const keepLog = { handleErrors: true, keepLog: true };

describe('a write that one leg does not take', () => {
  it('succeeds without handleErrors; its region is not in sync any more, and dirty on the log', async () => {
    const test = await testMirror(none);
    breakLeg(leg(test, 1), 'write');
    await test.mirror.write(0, byte(1));
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 7/8 1 AD 3 disk log A');
    expect(bytesOf(test.log)[1024]).toBe(0b11111110);
    expect(test.events).toEqual(['in sync', 'leg 1 write']);
    await test.mirror.close();
    expect(bytesOf(test.log)[1024]).toBe(0b11111110);
  });

  it('is held back with handleErrors, until the leg is taken away', async () => {
    const test = await testMirror(handleErrors);
    breakLeg(leg(test, 1), 'write');
    const writing = test.mirror.write(0, byte(1));
    expect(await isPending(writing)).toBe(true);
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 7/8 1 AD 3 disk log A');
    const later = test.mirror.write(512, byte(2)); // the same region: only the default leg would have it
    expect(await isPending(later)).toBe(true);
    expect(test.mirror.status().nrHeldWrites).toBe(2);
    expect(test.events).toEqual(['in sync', 'leg 1 write', 'held']);
    await test.mirror.detachLeg(1);
    await Promise.all([writing, later]);
    expect(await readFrom(test.mirror, 0, 1024)).toEqual(new Uint8Array([...byte(1), ...byte(2)]));
    await test.mirror.close();
  });

  it('and is held back fails at a suspend; with noflush it is tried again at the resume', async () => {
    const test = await testMirror(handleErrors);
    breakLeg(leg(test, 1), 'write');
    const [first, second] = [test.mirror.write(0, byte(1)), test.mirror.write(REGION, byte(2))];
    await settled();
    await test.mirror.suspend({ noflush: true });
    leg(test, 1).device.heal();
    await test.mirror.resume();
    expect(await isPending(first)).toBe(true); // the leg has failed, and the legs are the same
    await test.mirror.suspend();
    for (const write of [first, second]) await expect(write).rejects.toMatchObject({ code: 'ERR_HELD_WRITE' });
    await test.mirror.resume();
    expect(await test.mirror.untilResynced()).toBe(true);
    expectEqualLegs(test);
    await test.mirror.close();
  });

  it('and is held back fails when the mirror is closed', async () => {
    const test = await testMirror(handleErrors);
    breakLeg(leg(test, 1), 'write');
    const writing = test.mirror.write(0, byte(1));
    await settled();
    const closing = test.mirror.close();
    await expect(writing).rejects.toThrow('a write to mirror was given up: the mirror was closed');
    await closing;
  });

  it('succeeds with keepLog; later ones to the region go to the default leg alone', async () => {
    const test = await testMirror(keepLog);
    breakLeg(leg(test, 1), 'write');
    await test.mirror.write(0, byte(1));
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 7/8 1 AD 3 disk log A');
    const { nrDone } = { nrDone: leg(test, 1).device.nrDone('write') };
    await test.mirror.write(512, byte(2));
    expect(leg(test, 1).device.nrDone('write')).toBe(nrDone);
    await test.mirror.close();
    expect(bytesOf(test.log)[1024]).toBe(0b11111110);
  });
});

describe('when the default leg fails', () => {
  it.each([
    ['a write', { handleErrors: true, keepLog: true }],
    ['a write', { handleErrors: true, keepLog: false }],
  ])('%s while all is in sync, another leg is the default one, with %j', async (_, options) => {
    const test = await testMirror(options);
    breakLeg(leg(test, 0), 'write');
    const writing = test.mirror.write(0, byte(1));
    await settled();
    expect(test.mirror.status().defaultLeg).toBe(1);
    expect(test.events).toContain('default 0 to 1');
    expect(lettersOf(test)).toBe('1 DA');
    if (!options.keepLog) await test.mirror.detachLeg(0);
    await writing;
    expect(await readFrom(test.mirror, 0, 512)).toEqual(byte(1));
    await test.mirror.close();
  });

  it('a read while all is in sync, another leg answers, and is asked from then on', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const test = await testMirror({ ...options, content: [filled(8 * REGION, 3), filled(8 * REGION, 3)] });
      breakLeg(leg(test, 0), 'read');
      expect(await readFrom(test.mirror, 0, 2 * REGION)).toEqual(filled(2 * REGION, 3));
      expect(lettersOf(test)).toBe('1 RA');
      const nr = leg(test, 0).device.nrDone('read');
      await readFrom(test.mirror, 0, 512);
      expect(leg(test, 0).device.nrDone('read'), 'it is not asked again').toBe(nr);
      await test.mirror.close();
    }
  });

  it('during the first resync, what is not in sync cannot be read: never the other leg, which may have anything', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const test = await testMirror({ ...options, content: [filled(8 * REGION, 3)], isSynced: false, resyncRate: 1 });
      breakLeg(leg(test, 0), 'read');
      for (let nr = 0; nr < 2; nr++) {
        await expect(readFrom(test.mirror, 7 * REGION, 512)).rejects.toThrow(
          'cannot read 512 bytes at 28672 of mirror: cannot read 512 bytes at 28672 of leg0: injected fault',
        );
        expect(test.mirror.status().defaultLeg, 'with keep_log the kernel changes it').toBe(0);
      }
      await test.mirror.close();
    }
  });

  it('a write without handleErrors, the leg that took it is the default one from then on (the kernel: EIO for who reads it)', async () => {
    const test = await testMirror(none);
    breakLeg(leg(test, 0), 'write');
    await test.mirror.write(512, byte(9));
    expect(test.mirror.status().defaultLeg).toBe(1);
    expect(lettersOf(test)).toBe('1 DA');
    expect(await readFrom(test.mirror, 0, 1024)).toEqual(new Uint8Array([...byte(0), ...byte(9)]));
    await test.mirror.write(0, byte(8));
    expect(await readFrom(test.mirror, 0, 512)).toEqual(byte(8));
    await test.mirror.close();
  });

  it('after another leg has missed writes, it stays the default one: these are read from nowhere else, and overwritten by nothing', async () => {
    const test = await testMirror({ ...keepLog, nrLegs: 3 });
    const bad = leg(test, 1).device;
    bad.inject({ operation: 'write', nth: bad.nrDone('write') + 1 });
    await test.mirror.write(0, byte(1)); // leg 1 has missed it; leg 2 has it
    await test.mirror.write(0, byte(2)); // the default leg alone has this one
    breakLeg(leg(test, 0), 'write');
    await expect(test.mirror.write(REGION, byte(3))).rejects.toThrow(
      'cannot write 512 bytes at 4096 of mirror: leg 0: cannot write 512 bytes at 4096 of leg0: injected fault',
    );
    expect(test.mirror.status().defaultLeg).toBe(0);
    expect(await readFrom(test.mirror, 0, 512), 'it can be read').toEqual(byte(2));
    leg(test, 0).device.heal();
    await test.mirror.suspend();
    await test.mirror.resume(); // the copying begins anew
    expect(await test.mirror.untilResynced()).toBe(true);
    expectEqualLegs(test);
    expect(await readFrom(test.mirror, 0, 512)).toEqual(byte(2));
    await test.mirror.close();
  });
});

describe('two writes to a region in flight that fail on different legs', () => {
  it('are not both acknowledged: one leg is right, and what is not on it is not there', async () => {
    const test = await testMirror(keepLog);
    const [a, b] = [leg(test, 0).device, leg(test, 1).device];
    const held = [a, b].map((device) => device.hold('write'));
    a.inject({ operation: 'write', badByte: 0 });
    b.inject({ operation: 'write', badByte: 1024 });
    const writes = [test.mirror.write(0, byte(1)), test.mirror.write(1024, byte(2))];
    for (const each of held) await each.untilHeld(2);
    for (const each of held) each.release();
    const [first, second] = await Promise.allSettled(writes);
    expect([first?.status, second?.status].sort()).toEqual(['fulfilled', 'rejected']);
    const [at, value] = first?.status === 'fulfilled' ? [0, 1] : [1024, 2];
    expect(await readFrom(test.mirror, at, 512)).toEqual(byte(value));
    await test.mirror.close();
  });
});

describe('when all legs are dead', () => {
  it('requests fail', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const test = await testMirror(options);
      for (const each of test.legs) breakLeg(each);
      await expect(test.mirror.write(0, byte(1))).rejects.toMatchObject({ code: 'ERR_DEVICE' });
      expect(lettersOf(test)).toBe('1 DD');
      await expect(readFrom(test.mirror, 0, 512)).rejects.toMatchObject({ code: 'ERR_DEVICE' });
      await expect(test.mirror.flush()).rejects.toMatchObject({ code: 'ERR_DEVICE' });
      await test.mirror.close();
    }
  });
});

describe('a flush that a leg fails', () => {
  it('fails, unless keepLog goes on without the leg; nothing becomes clean any more', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const test = await testMirror(options);
      await test.mirror.write(0, byte(1));
      breakLeg(leg(test, 1), 'flush');
      const flushing = test.mirror.flush();
      if (options === keepLog) await flushing;
      else await expect(flushing).rejects.toThrow('cannot flush leg 1 of mirror: cannot flush leg1: injected fault');
      expect(lettersOf(test)).toBe('1 AF');
      await test.mirror.write(REGION, byte(1));
      test.timers.pass(1000);
      await settled();
      await test.mirror.close();
      expect((bytesOf(test.log)[1024] as number) & 3, 'what was written before and after').toBe(0);
    }
  });

  it('of the default leg, fails with keepLog, too, while it alone is right somewhere', async () => {
    const test = await testMirror(keepLog);
    breakLeg(leg(test, 1), 'write');
    await test.mirror.write(0, byte(1));
    breakLeg(leg(test, 0), 'flush');
    await expect(test.mirror.flush()).rejects.toThrow('cannot flush leg 0 of mirror');
    await test.mirror.close();
  });
});

describe('when the log fails', () => {
  it('writes go on unlogged without handleErrors, are held back with it, and fail with keepLog', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const test = await testMirror(options);
      breakLeg(test.log, 'write');
      const writing = test.mirror.write(0, byte(1));
      if (options === none) await writing;
      else if (options === keepLog)
        await expect(writing).rejects.toThrow('the log did not take its mark: cannot write the log on log');
      else expect(await isPending(writing)).toBe(true);
      expect(test.mirror.statusLine()).toBe('2 leg0 leg1 8/8 1 AA 3 disk log D');
      expect(test.events).toContain('log failed');
      expect(bytesOf(leg(test, 0))[0]).toBe(options === none ? 1 : 0);
      writing.catch(() => {});
      await expect(test.mirror.close()).rejects.toMatchObject({ code: 'ERR_LOG_FAILED' });
    }
  });

  it('and cannot even be read, nothing is in sync, and nothing is written to it', async () => {
    const first = await testMirror();
    await first.mirror.close();
    breakLeg(first.log, 'read');
    const test = await openTest(first.legs, first.log, { isSynced: false });
    await test.mirror.untilResynced();
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 8/8 1 AA 3 disk log D');
    await test.mirror.write(0, byte(1));
    await test.mirror.close().catch(() => {});
    expect(bytesOf(test.log)[1024]).toBe(0xff);
  });
});

describe('when a copy fails', () => {
  it('the region stays not in sync, and is tried again after a suspend', async () => {
    for (const options of [none, handleErrors, keepLog]) {
      const content = [filled(8 * REGION, 3)];
      const first = await testMirror({ content, isSynced: false, resyncRate: 1 });
      await first.mirror.close();
      const legs = first.legs;
      leg(first, 1).device.inject({ operation: 'write', badByte: 2 * REGION });
      const test = await openTest(legs, first.log, { ...options, isSynced: false });
      expect(await test.mirror.untilResynced()).toBe(false);
      expect([inSyncOf(test), lettersOf(test)]).toEqual(['7/8', '1 AS']);
      leg(test, 1).device.heal();
      await test.mirror.suspend();
      await test.mirror.resume();
      expect(await test.mirror.untilResynced()).toBe(true);
      expect(test.mirror.statusLine()).toBe('2 leg0 leg1 8/8 1 AA 3 disk log A');
      expectEqualLegs(test);
      await test.mirror.close();
    }
  });
});
