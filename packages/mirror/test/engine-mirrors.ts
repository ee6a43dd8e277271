/** Mirrors over devices in memory that record, fail and hold, for tests of the engine. */
import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice, type FaultyDataOperation, ManualTimers, RecordingDataDevice } from '@pdata/testing';
import { expect } from 'vitest';
import { DiskLog, type DiskLogOptions, MirrorDevice, type MirrorOptions } from '../src/index.js';

export const SECTOR = 512;
/** Sectors. */
export const REGION_SIZE = 8;
export const REGION = REGION_SIZE * SECTOR;

export interface TestLeg {
  readonly memory: MemoryDataDevice;
  readonly recorded: RecordingDataDevice;
  readonly device: FaultyDataDevice;
}

export interface TestMirror {
  readonly mirror: MirrorDevice;
  readonly legs: readonly TestLeg[];
  readonly log: TestLeg;
  readonly timers: ManualTimers;
  /** Everything that listeners were told, in order. */
  readonly events: string[];
  /** The same devices, opened anew. */
  reopen(options?: Partial<MirrorOptions>): Promise<TestMirror>;
}

export interface TestMirrorOptions extends Partial<Omit<MirrorOptions, 'legs'>> {
  readonly nrLegs?: number;
  readonly nrRegions?: number;
  readonly sync?: DiskLogOptions['sync'];
  /** What is on the legs; zeros when left out. */
  readonly content?: readonly Uint8Array[];
  /** Wait until there is nothing more to copy. Default true. */
  readonly isSynced?: boolean;
}

export function testLeg(memory: MemoryDataDevice): TestLeg {
  const recorded = new RecordingDataDevice(memory, { initial: memory.copy(), reads: true });
  return { memory, recorded, device: new FaultyDataDevice(recorded) };
}

export async function testMirror(options: TestMirrorOptions = {}): Promise<TestMirror> {
  const { nrLegs = 2, nrRegions = 8, content = [] } = options;
  const legs = Array.from({ length: nrLegs }, (_, nr) => {
    const bytes = content[nr]?.slice() ?? new Uint8Array(nrRegions * REGION);
    return testLeg(new MemoryDataDevice({ name: `leg${nr}`, bytes }));
  });
  const log = testLeg(new MemoryDataDevice({ name: 'log', bytes: new Uint8Array(4096) }));
  return openTest(legs, log, options);
}

/** A mirror over devices that there are. */
export async function openTest(
  legs: readonly TestLeg[],
  log: TestLeg,
  { nrLegs, nrRegions, sync, content, isSynced = true, ...options }: TestMirrorOptions = {},
): Promise<TestMirror> {
  const timers = new ManualTimers();
  const length = (legs[0] as TestLeg).device.size / SECTOR;
  const dirtyLog =
    options.log ??
    new DiskLog(log.device, { length, regionSize: REGION_SIZE, ...(sync === undefined ? {} : { sync }) });
  const mirror = await MirrorDevice.open({ goodLeg: 0, timers, ...options, legs, log: dirtyLog });
  const events: string[] = [];
  mirror.on('legFailure', ({ legNr, kind }) => events.push(`leg ${legNr} ${kind}`));
  mirror.on('logFailure', () => events.push('log failed'));
  mirror.on('defaultLeg', ({ from, to }) => events.push(`default ${from} to ${to}`));
  mirror.on('writesHeld', () => events.push('held'));
  mirror.on('inSync', () => events.push('in sync'));
  if (isSynced) expect(await mirror.untilResynced()).toBe(true);
  const reopen = (more: Partial<MirrorOptions> = {}): Promise<TestMirror> =>
    openTest(
      legs.map(({ memory }) => testLeg(memory)),
      testLeg(log.memory),
      more,
    );
  return { mirror, legs, log, timers, events, reopen };
}

/** The content of a leg. */
export const bytesOf = ({ memory }: TestLeg): Uint8Array => memory.bytes as Uint8Array;

export function expectEqualLegs({ legs }: Pick<TestMirror, 'legs'>, what = 'the legs'): void {
  const [first, ...others] = legs.map(bytesOf) as [Uint8Array, ...Uint8Array[]];
  for (const [nr, other] of others.entries()) {
    const at = first.findIndex((byte, index) => byte !== other[index]);
    expect(at, `${what}: leg ${nr + 1} differs from leg 0 at byte`).toBe(-1);
  }
}

/** `length` bytes of `value`. */
export const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

export async function readFrom(device: MirrorDevice, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  await device.read(offset, into);
  return into;
}

/** From now on every request of these kinds fails. */
export function breakLeg({ device }: TestLeg, ...operations: FaultyDataOperation[]): void {
  for (const operation of operations.length > 0 ? operations : EVERYTHING)
    device.inject({ operation, nth: device.nrDone(operation) + 1, andLater: true });
}
const EVERYTHING: readonly FaultyDataOperation[] = ['read', 'write', 'writeZeroes', 'discard', 'flush'];

/** Lets everything happen that waits for nothing. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise has settled by now. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  promise.then(
    () => (pending = false),
    () => (pending = false),
  );
  await settled();
  return pending;
}
