import { MemoryDataDevice } from '@pdata/device';
import { dataDeviceConformance } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  bytesOf,
  expectEqualLegs,
  filled,
  isPending,
  REGION,
  readFrom,
  settled,
  testMirror,
} from '../../test/engine-mirrors.js';
import { CoreLog, DiskLog, MirrorDevice } from '../index.js';

describe('as a data device', () => {
  const SIZE = 768 * 1024;
  const logs = new WeakMap<object, MemoryDataDevice>();
  const legs = new WeakMap<object, readonly MemoryDataDevice[]>();
  async function open(devices: readonly MemoryDataDevice[], log: MemoryDataDevice): Promise<MirrorDevice> {
    const dirtyLog = new DiskLog(log, { length: SIZE / 512, regionSize: 16 });
    const mirror = await MirrorDevice.open({ log: dirtyLog, legs: devices.map((device) => ({ device })), goodLeg: 0 });
    logs.set(mirror, log);
    legs.set(mirror, devices);
    return mirror;
  }
  const cases = dataDeviceConformance({
    create: () =>
      open(
        [0, 1, 2].map((nr) => new MemoryDataDevice({ name: `leg${nr}`, size: SIZE })),
        new MemoryDataDevice({ size: 4096 }),
      ),
    reopen: (closed) => open(legs.get(closed) as MemoryDataDevice[], logs.get(closed) as MemoryDataDevice),
  });
  for (const { name, run } of cases) it(name, run);
});

describe('a new mirror', () => {
  it('is copied from the good leg to the others, region after region, and then called clean on the log', async () => {
    const content = [1, 2, 3].map((value) => filled(8 * REGION, value));
    const test = await testMirror({ nrLegs: 3, content, goodLeg: 1 });
    expect(new Set(bytesOf(test.legs[0] as never))).toEqual(new Set([2]));
    expectEqualLegs(test);
    expect(test.mirror.statusLine()).toBe('3 leg0 leg1 leg2 8/8 1 AAA 3 disk log A');
    expect(test.events).toEqual(['in sync']);
    expect(bytesOf(test.log)[1024]).toBe(0xff);
    await test.mirror.close();
  });

  it('costs a clean one nothing to be opened again', async () => {
    const first = await testMirror();
    await first.mirror.write(0, filled(512, 1));
    await first.mirror.close();
    const again = await first.reopen();
    expect(again.legs.map(({ recorded }) => recorded.operations)).toEqual([[], []]);
    await again.mirror.close();
  });
});

describe('a write', () => {
  it('goes to all legs, once the log has its mark', async () => {
    const { mirror, legs, log } = await testMirror();
    const held = log.device.hold('flush');
    const writing = mirror.write(REGION, filled(REGION + 512, 7));
    await held.untilHeld();
    expect(legs.map(({ recorded }) => recorded.nrOf('write'))).toEqual([0, 8]);
    expect(bytesOf(log)[1024]).toBe(0b11111001);
    held.release();
    await writing;
    expect(legs.map(({ recorded }) => recorded.summary.at(-1))).toEqual(Array(2).fill('write 4608 bytes at 4096'));
    await mirror.close();
  });

  it('costs the log nothing while its region is marked; the mark goes a second after the last one', async () => {
    const { mirror, log, timers, legs } = await testMirror();
    log.recorded.clear();
    for (let nr = 0; nr < 20; nr++) await mirror.write(nr * 512, filled(512, nr));
    expect(log.recorded.summary).toEqual(Array(3).fill(['write 1536 bytes at 0', 'flush']).flat()); // three regions
    log.recorded.clear();
    for (const leg of legs) leg.recorded.clear();
    timers.pass(1000);
    await settled();
    expect(log.recorded.summary).toEqual(['write 1536 bytes at 0']);
    expect(legs.map(({ recorded }) => recorded.summary)).toEqual([['flush'], ['flush']]);
    expect(bytesOf(log)[1024]).toBe(0xff);
    await mirror.close();
  });

  it('that overlaps another in flight waits for it on all legs, so that they end with the same one', async () => {
    const { mirror, legs } = await testMirror();
    const [first, second] = legs.map(({ device }) => device.hold('write'));
    const writes = [
      mirror.write(0, filled(1024, 1)),
      mirror.write(512, filled(1024, 2)),
      mirror.write(2048, filled(512, 3)),
    ];
    await settled();
    expect(legs.map(({ device }) => device.nrDone('write'))).toEqual([2, 10]); // the second one is not there yet
    second?.release();
    await settled();
    expect(legs.map(({ device }) => device.nrDone('write'))).toEqual([2, 10]);
    first?.release();
    await Promise.all(writes);
    expectEqualLegs({ legs });
    expect(await readFrom(mirror, 512, 1024)).toEqual(filled(1024, 2));
    await mirror.close();
  });

  it('of zeros and a discard leave all legs equal, and the discard gives space back', async () => {
    const devices = [0, 1].map((nr) => new MemoryDataDevice({ name: `leg${nr}`, size: 2 ** 20 }));
    const log = new CoreLog({ length: 2048, regionSize: 1024, sync: 'nosync' });
    const mirror = await MirrorDevice.open({ log, legs: devices.map((device) => ({ device })), goodLeg: 0 });
    await mirror.write(0, filled(2 ** 20, 5));
    await mirror.discard(1000 * 512, 2 ** 20 - 1000 * 512);
    await mirror.writeZeroes(0, 65_536 + 512);
    expect(devices.map(({ allocatedBytes }) => allocatedBytes)).toEqual([7 * 65_536, 7 * 65_536]);
    expect(await readFrom(mirror, 0, 65_536 + 1024)).toEqual(new Uint8Array(65_536 + 1024).fill(5, 65_536 + 512));
    expect(await mirror.allocation(0, 2 ** 20)).toMatchObject([
      { offset: 0, length: 65_536, state: 'hole' },
      { offset: 65_536, length: 7 * 65_536, state: 'data' },
      { offset: 2 ** 19, length: 2 ** 19, state: 'hole' },
    ]);
    await mirror.close();
  });

  it('waits while all memory for copies is in use, and takes no more of it', async () => {
    const { mirror, legs } = await testMirror({ nrRegions: 1024, copyMemory: 2 ** 20 });
    const held = legs.map(({ device }) => device.hold('write'));
    const writes = Array.from({ length: 4 }, (_, nr) => mirror.write(nr * 2 ** 19, filled(2 ** 19, nr)));
    await held[0]?.untilHeld(2);
    await settled();
    expect(held[0]?.nrHeld).toBe(2);
    for (const each of held) each.release();
    await Promise.all(writes);
    expectEqualLegs({ legs });
    await mirror.close();
  });
});

describe('flush', () => {
  it('flushes all legs, and leaves the log alone', async () => {
    const { mirror, legs, log } = await testMirror();
    await mirror.write(0, filled(512, 1));
    for (const { recorded } of [...legs, log]) recorded.clear();
    await mirror.flush();
    expect([...legs, log].map(({ recorded }) => recorded.summary)).toEqual([['flush'], ['flush'], []]);
    await mirror.close();
  });

  it('is shared by those who ask while one is running', async () => {
    const { mirror, legs } = await testMirror();
    const before = legs[0]?.device.nrDone('flush') as number;
    const held = legs[0]?.device.hold('flush');
    const flushes = Array.from({ length: 5 }, () => mirror.flush());
    await held?.untilHeld();
    held?.release();
    await Promise.all(flushes);
    expect(legs[0]?.device.nrDone('flush')).toBe(before + 2);
    await mirror.close();
  });
});

describe('suspended', () => {
  it('lets nothing out, has everything clean, and goes on where it was', async () => {
    const { mirror, log, legs } = await testMirror();
    await mirror.write(0, filled(512, 1));
    expect(bytesOf(log)[1024]).toBe(0xfe);
    await mirror.suspend();
    expect(bytesOf(log)[1024]).toBe(0xff);
    const requests = [mirror.write(512, filled(512, 2)), mirror.read(0, new Uint8Array(512)), mirror.flush()];
    expect(await isPending(Promise.race(requests))).toBe(true);
    expect(mirror.status().isSuspended).toBe(true);
    await mirror.resume();
    await Promise.all(requests);
    expectEqualLegs({ legs });
    await mirror.close();
  });

  it('can be closed: what waits is done first', async () => {
    const { mirror, legs } = await testMirror();
    await mirror.suspend();
    const writing = mirror.write(512, filled(512, 2));
    await settled();
    await mirror.close();
    await writing;
    expect(bytesOf(legs[1] as never)[512]).toBe(2);
  });
});
