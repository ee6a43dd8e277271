/** Legs that are taken away, brought back, replaced, or become the default one, while the mirror is in use. */
import { MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import {
  breakLeg,
  bytesOf,
  expectEqualLegs,
  filled,
  REGION,
  readFrom,
  settled,
  type TestLeg,
  type TestMirror,
  testLeg,
  testMirror,
} from '../../test/engine-mirrors.js';
import { CoreLog } from '../index.js';

const byte = (value: number): Uint8Array => filled(512, value);
const leg = ({ legs }: TestMirror, nr: number): TestLeg => legs[nr] as TestLeg;
/** The regions that were copied to a leg since it was last cleared. */
const copiedTo = ({ recorded }: TestLeg): number[] =>
  recorded.operations.flatMap((done) => (done.op === 'write' && done.length === REGION ? [done.offset / REGION] : []));

describe('a leg that is taken away', () => {
  it('is not touched any more; brought back, it gets the regions that were written to meanwhile, and no others', async () => {
    const test = await testMirror();
    await test.mirror.write(0, byte(1));
    await test.mirror.detachLeg(1);
    const away = leg(test, 1);
    away.recorded.clear();
    await test.mirror.write(2 * REGION, byte(2));
    await test.mirror.write(5 * REGION + 512, byte(3));
    await test.mirror.flush();
    await readFrom(test.mirror, 0, 8 * REGION);
    expect(away.recorded.operations).toEqual([]);
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 6/8 1 AD 3 disk log A');
    await test.mirror.attachLeg(1, away.device, { resync: 'written' });
    expect(await test.mirror.untilResynced()).toBe(true);
    expect(copiedTo(away)).toEqual([2, 5]);
    expectEqualLegs(test);
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 8/8 1 AA 3 disk log A');
    await test.mirror.close();
  });

  it('is known to a restart: the log has what it lacks', async () => {
    const test = await testMirror();
    await test.mirror.detachLeg(1);
    await test.mirror.write(3 * REGION, byte(2));
    await test.mirror.close();
    expect(bytesOf(test.log)[1024]).toBe(0b11110111);
    const again = await test.reopen();
    expect(copiedTo(leg(again, 1))).toEqual([3]);
    expectEqualLegs(again);
    await again.mirror.close();
  });

  it('may be the default one; what it alone has keeps it from being taken away while it is good', async () => {
    const test = await testMirror({ nrLegs: 3 });
    await test.mirror.detachLeg(0);
    expect(test.mirror.status().defaultLeg).toBe(1);
    await test.mirror.write(0, byte(1));
    await expect(test.mirror.detachLeg(1)).rejects.toThrow(
      'leg 1 of mirror cannot be taken away: others may lack what it has, for 1 of 8 regions are not in sync. Wait until',
    );
    await expect(test.mirror.setDefaultLeg(2)).rejects.toThrow('leg 2 of mirror may lack something: 1 of 8 regions');
    await test.mirror.attachLeg(0, leg(test, 0).device, { resync: 'written' });
    await test.mirror.untilResynced();
    await test.mirror.setDefaultLeg(0);
    expectEqualLegs(test);
    await test.mirror.detachLeg(2);
    await test.mirror.detachLeg(1);
    await expect(test.mirror.detachLeg(0)).rejects.toThrow('no other leg is good');
    await test.mirror.close();
  });

  it('and died, stays when it alone has what is right somewhere, until that loss is accepted', async () => {
    const test = await testMirror({ nrLegs: 3, handleErrors: true, keepLog: true });
    const second = leg(test, 1).device;
    second.inject({ operation: 'write', nth: second.nrDone('write') + 1 });
    await test.mirror.write(0, byte(1));
    await test.mirror.write(0, byte(2)); // on leg 0 alone
    breakLeg(leg(test, 0));
    await expect(readFrom(test.mirror, 0, 512)).rejects.toMatchObject({ code: 'ERR_DEVICE' });
    await expect(test.mirror.detachLeg(0)).rejects.toThrow('leg 0 of mirror cannot be taken away: others may lack');
    await expect(test.mirror.replaceLeg(0, new MemoryDataDevice({ size: 8 * REGION }))).rejects.toThrow(
      'others may lack what it has',
    );
    await test.mirror.setDefaultLeg(2, { acceptLoss: true });
    expect(await readFrom(test.mirror, 0, 512)).toEqual(byte(1));
    await test.mirror.detachLeg(0);
    await test.mirror.write(0, byte(4));
    expect(await readFrom(test.mirror, 0, 512)).toEqual(byte(4));
    await test.mirror.close();
  });

  it('with what it had not made durable gets that again', async () => {
    const test = await testMirror();
    await test.mirror.write(2 * REGION, byte(1)); // acknowledged, and in the cache of leg 1
    breakLeg(leg(test, 1));
    await test.mirror.detachLeg(1);
    const found = testLeg(leg(test, 1).recorded.crash({ seed: 1, lands: 'none' }));
    expect(await contentOf(found.memory, 2 * REGION)).toBe(0);
    await test.mirror.attachLeg(1, found.device, { resync: 'written' });
    expect(await test.mirror.untilResynced()).toBe(true);
    expect(await contentOf(found.memory, 2 * REGION)).toBe(1);
    expect(copiedTo(found), 'and no more than that').toEqual([2]);
    await test.mirror.close();
  });

  it('gets everything when the log is in memory and the leg could not be flushed; only what was written when it could', async () => {
    for (const isDead of [true, false]) {
      const test = await testMirror({ log: new CoreLog({ length: 64, regionSize: 8, sync: 'nosync' }) });
      await test.mirror.write(0, byte(1));
      if (isDead) breakLeg(leg(test, 1), 'flush');
      await test.mirror.detachLeg(1);
      await test.mirror.write(2 * REGION, byte(2));
      leg(test, 1).device.heal();
      leg(test, 1).recorded.clear();
      await test.mirror.attachLeg(1, leg(test, 1).device, { resync: 'written' });
      await test.mirror.untilResynced();
      expect(copiedTo(leg(test, 1))).toEqual(isDead ? [0, 1, 2, 3, 4, 5, 6, 7] : [2]);
      expectEqualLegs(test);
      await test.mirror.close();
    }
  });
});

const contentOf = async (device: MemoryDataDevice, offset: number): Promise<number> => {
  const sector = new Uint8Array(512);
  await device.read(offset, sector);
  return sector[0] as number;
};

describe('a leg that is replaced', () => {
  it('gets everything, while writes go on; a crash meanwhile finds nothing in sync that it lacks', async () => {
    const content = filled(8 * REGION, 6);
    const test = await testMirror({ content: [content, content] });
    const fresh = testLeg(new MemoryDataDevice({ name: 'fresh', bytes: new Uint8Array(8 * REGION) }));
    const held = fresh.device.hold('write');
    await test.mirror.replaceLeg(1, fresh.device);
    await held.untilHeld();
    expect(bytesOf(test.log)[1024]).toBe(0);
    expect(test.mirror.statusLine()).toBe('2 leg0 fresh 0/8 1 AA 3 disk log A');
    await test.mirror.write(7 * REGION, byte(1));
    held.release();
    expect(await test.mirror.untilResynced()).toBe(true);
    expect(bytesOf(fresh)).toEqual(bytesOf(leg(test, 0)));
    expect(bytesOf(fresh)[7 * REGION]).toBe(1);
    await test.mirror.close();
    expect(bytesOf(test.log)[1024]).toBe(0xff);
  });

  it('after it lost a flush lets regions become clean again', async () => {
    const test = await testMirror({ handleErrors: true, keepLog: true });
    breakLeg(leg(test, 1));
    await test.mirror.write(0, byte(1));
    await test.mirror.flush();
    const fresh = testLeg(new MemoryDataDevice({ name: 'fresh', bytes: new Uint8Array(8 * REGION) }));
    await test.mirror.replaceLeg(1, fresh.device);
    expect(await test.mirror.untilResynced()).toBe(true);
    await test.mirror.close();
    expect(bytesOf(test.log)[1024]).toBe(0xff);
    expect(bytesOf(fresh)).toEqual(bytesOf(leg(test, 0)));
  });

  it('is refused for a device that cannot be a leg, and stays as it is', async () => {
    const test = await testMirror();
    const small = new MemoryDataDevice({ name: 'small', size: 7 * REGION });
    const readOnly = new MemoryDataDevice({ name: 'fixed', size: 8 * REGION, readOnly: true });
    for (const [device, says] of [
      [small, 'leg 1 of mirror is too small: small has 28672 bytes, and 32768 are needed'],
      [readOnly, 'leg 1 of mirror cannot be written to: fixed is read-only'],
      [leg(test, 0).device, 'legs 0 and 1 of mirror are the same: leg0'],
    ] as const)
      await expect(test.mirror.replaceLeg(1, device)).rejects.toThrow(says);
    expect(test.mirror.statusLine()).toBe('2 leg0 leg1 8/8 1 AA 3 disk log A');
    await test.mirror.write(0, byte(1));
    expectEqualLegs(test);
    await expect(test.mirror.attachLeg(1, small, { resync: 'full' })).rejects.toThrow(
      'leg 1 of mirror is there already',
    );
    await expect(test.mirror.detachLeg(2)).rejects.toThrow('there is no leg 2: they are 0 to 1');
    await test.mirror.close();
  });
});

describe('reads that are spread', () => {
  it('go to the legs in turn, never to one that has missed a write, nor while a write is under way', async () => {
    const test = await testMirror({ balanceReads: true, handleErrors: true, keepLog: true });
    const read = (): Promise<Uint8Array> => readFrom(test.mirror, 0, 512);
    const before = test.legs.map(({ device }) => device.nrDone('read'));
    const held = test.legs.map(({ device }) => device.hold('read'));
    const reads = [read(), read(), read(), read()];
    await settled();
    expect(test.legs.map(({ device }, nr) => device.nrDone('read') - (before[nr] as number))).toEqual([2, 2]);
    for (const each of held) each.release();
    await Promise.all(reads);

    const writes = test.legs.map(({ device }) => device.hold('write'));
    const writing = test.mirror.write(512, byte(1));
    await writes[0]?.untilHeld();
    const nr = leg(test, 1).device.nrDone('read');
    await Promise.all([read(), read(), read()]);
    expect(leg(test, 1).device.nrDone('read')).toBe(nr);
    for (const each of writes) each.release();
    await writing;

    breakLeg(leg(test, 1), 'write');
    await test.mirror.write(0, byte(2));
    expect(await Promise.all([read(), read(), read()])).toEqual([byte(2), byte(2), byte(2)]);
    expect(leg(test, 1).device.nrDone('read')).toBe(nr);
    await test.mirror.close();
  });
});

it('changes of the legs wait for each other, and a change of a mirror that is closed is refused', async () => {
  const test = await testMirror({ nrLegs: 3 });
  const held = leg(test, 1).device.hold('flush');
  const changes = [test.mirror.detachLeg(1), test.mirror.setDefaultLeg(2), test.mirror.suspend()];
  await held.untilHeld();
  held.release();
  await Promise.all(changes);
  expect(test.mirror.status()).toMatchObject({ defaultLeg: 2, isSuspended: true });
  await test.mirror.close();
  await expect(test.mirror.detachLeg(0)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
});
