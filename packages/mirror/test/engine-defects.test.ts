/**
 * Defects that the kernel's mirror had, each as a test that fails when the rule against it is taken out. (Those of clusters are tested in
 * test/cluster/.)
 *
 * Format: docs/format/mirror-log.md, section 12.
 */
import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice, ManualTimers, RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CopyBuffers } from '../src/engine/copy-buffers.js';
import { openMirror } from '../src/engine/mirror-device.js';
import { CoreLog, DiskLog, MirrorDevice } from '../src/index.js';
import { filled, REGION, REGION_SIZE, settled } from './engine-mirrors.js';

const NR_REGIONS = 8;
const SIZES = { length: NR_REGIONS * REGION_SIZE, regionSize: REGION_SIZE };

/** A write that ends makes its region clean, whether it is in sync or not. */
class KernelLogBefore2616 extends DiskLog {
  override clear(regionNr: number): void {
    if (this.cleanBits.set(regionNr, true)) this.cleanBitChanged(regionNr, true);
  }
}

/** Regions that differ after the first resync was interrupted by a loss of power, with writes before it to what was not copied yet. */
async function interruptedResync(Log: typeof DiskLog): Promise<number[]> {
  const legs = [1, 2].map((value) => {
    const memory = new MemoryDataDevice({ bytes: filled(NR_REGIONS * REGION, value) });
    return new RecordingDataDevice(memory, { initial: memory.copy() });
  });
  const log = new RecordingDataDevice(new MemoryDataDevice({ size: 1536 }));
  const timers = new ManualTimers();
  const options = { legs: legs.map((device) => ({ device })), goodLeg: 0, timers };
  const mirror = await MirrorDevice.open({ ...options, log: new Log(log, SIZES), resyncRate: 1 });
  for (const nr of [3, 6]) await mirror.write(nr * REGION + 512, filled(512, 9));
  timers.pass(1000); // what has come to rest is cleared
  await settled();
  await mirror.flush();
  expect(mirror.status().syncCount).toBeLessThan(3);
  const [first, second, found] = [...legs, log].map((device) => device.crash({ seed: 1, lands: 'all' })) as [
    MemoryDataDevice,
    MemoryDataDevice,
    MemoryDataDevice,
  ];
  const again = await MirrorDevice.open({
    legs: [{ device: first }, { device: second }],
    goodLeg: 0,
    timers,
    log: new DiskLog(found, SIZES),
  });
  expect(await again.untilResynced()).toBe(true);
  await again.close();
  return regionsThatDiffer(first, second);
}

async function regionsThatDiffer(first: MemoryDataDevice, second: MemoryDataDevice): Promise<number[]> {
  const [a, b] = [new Uint8Array(NR_REGIONS * REGION), new Uint8Array(NR_REGIONS * REGION)];
  await first.read(0, a);
  await second.read(0, b);
  const regions = Array.from({ length: NR_REGIONS }, (_, nr) => nr);
  return regions.filter((nr) =>
    a.subarray(nr * REGION, (nr + 1) * REGION).some((byte, at) => byte !== b[nr * REGION + at]),
  );
}

describe('a write to a region that was not copied yet', () => {
  it('leaves it to be copied: interrupted and begun again, the first resync makes all legs equal', async () => {
    expect(await interruptedResync(DiskLog)).toEqual([]);
  });

  it('made it clean in the kernel before 2.6.16, and it was never copied', async () => {
    expect(await interruptedResync(KernelLogBefore2616)).toEqual([3, 6]);
  });
});

/** Writes from the bytes of the caller, as the kernel before 2008. */
class NoCopies extends CopyBuffers {
  override copy(from: Uint8Array): Uint8Array {
    return from;
  }
}

/** The regions that differ when the caller changes its bytes at each moment of a write that is sent to one leg before the other. */
async function changedInFlight(Buffers: typeof CopyBuffers): Promise<number[]> {
  const memories = [0, 1].map(() => new MemoryDataDevice({ size: NR_REGIONS * REGION }));
  const devices = memories.map((memory) => new FaultyDataDevice(memory));
  const log = new CoreLog({ ...SIZES, sync: 'nosync' });
  const options = { log, legs: devices.map((device) => ({ device })), goodLeg: 0, timers: new ManualTimers() };
  const mirror = await openMirror(options, (most) => new Buffers(most));
  const held = devices.map((device) => device.hold('write'));
  const bytes = filled(2 * REGION, 1);
  const writing = mirror.write(0, bytes);
  bytes.fill(2, 0, 512); // after submission, before anything else
  await held[0]?.untilHeld();
  bytes.fill(3, 512, 1024);
  held[0]?.release();
  await settled(); // the first leg has it
  bytes.fill(4, 1024, REGION + 512);
  held[1]?.release();
  await writing;
  await mirror.close();
  return regionsThatDiffer(memories[0] as MemoryDataDevice, memories[1] as MemoryDataDevice);
}

describe('bytes that the caller changes while they are written', () => {
  it('are written alike on all legs', async () => {
    expect(await changedInFlight(CopyBuffers)).toEqual([]);
  });

  it('made legs differ silently in the kernel before 2008, which wrote each leg from them', async () => {
    expect(await changedInFlight(NoCopies)).toEqual([0, 1]);
  });

  it('are not looked at again by a write that waited for a copy, nor by one that was held back', async () => {
    const memories = [0, 1].map(() => new MemoryDataDevice({ size: NR_REGIONS * REGION }));
    const devices = memories.map((memory) => new FaultyDataDevice(memory));
    const log = new CoreLog(SIZES);
    const legs = devices.map((device) => ({ device }));
    const copying = devices[1]?.hold('write');
    const mirror = await MirrorDevice.open({ log, legs, goodLeg: 0, timers: new ManualTimers(), handleErrors: true });
    await copying?.untilHeld();
    const bytes = filled(512, 1);
    const delayed = mirror.write(0, bytes); // region 0 is being copied
    await settled();
    bytes.fill(2);
    copying?.release();
    await delayed;
    await mirror.untilResynced();
    expect((await sector(memories[0] as MemoryDataDevice, 0))[0]).toBe(1);
    expect(await regionsThatDiffer(memories[0] as MemoryDataDevice, memories[1] as MemoryDataDevice)).toEqual([]);

    devices[1]?.inject({ operation: 'write', nth: (devices[1]?.nrDone('write') ?? 0) + 1 });
    bytes.fill(3);
    const held = mirror.write(REGION, bytes);
    await settled();
    expect(mirror.status().nrHeldWrites).toBe(1);
    bytes.fill(4);
    await mirror.detachLeg(1);
    await held;
    expect((await sector(memories[0] as MemoryDataDevice, REGION))[0]).toBe(3);
    await mirror.close();
  });
});

async function sector(device: MemoryDataDevice, offset: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(512);
  await device.read(offset, bytes);
  return bytes;
}
