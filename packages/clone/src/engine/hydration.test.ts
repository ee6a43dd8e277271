import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { ManualTimers, quiet, RecordingDataDevice, rejection } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, hydrated, newClone, openAgain, REGION, readFrom, sourceBytes } from '../../test/engine-clones.js';
import { CloneDevice } from './clone-device.js';

describe('background hydration', () => {
  it('copies everything, says so once, and the destination is the source then', async () => {
    const made = await newClone({
      nrRegions: 130,
      lacks: 512,
      noHydration: false,
      hydrationThreshold: 33,
      hydrationBatchSize: 16,
    });
    const told: number[] = [];
    made.clone.on('complete', ({ nrRegions }) => told.push(nrRegions));
    await quiet();
    expect([made.clone.status().nrHydrated, made.clone.isComplete, told]).toEqual([130, false, []]); // not committed yet
    await made.clone.flush();
    await made.clone.flush();
    expect([made.clone.isComplete, told]).toEqual([true, [130]]);
    const copied = await readFrom(made.destination, 0, made.clone.size);
    expect(Buffer.compare(copied, sourceBytes(0, made.clone.size))).toBe(0);
    await made.clone.close();

    const again = await openAgain(made);
    again.on('complete', () => told.push(0));
    await again.write(0, bytesOf(0x91));
    await again.flush();
    expect([again.isComplete, told]).toEqual([true, [130]]);
  });

  it('commits the last region at once, if it may commit by itself', async () => {
    const timers = new ManualTimers();
    const { clone } = await newClone({ noHydration: false, hydrationThreshold: 64, timers, commitPeriod: 1000 });
    await quiet();
    expect(clone.isComplete).toBe(true);
  });

  it('goes on after a restart where the last commit left it', async () => {
    const made = await newClone({ noHydration: false });
    const held = made.source.hold('read', { which: (offset) => offset >= 20 * REGION });
    await held.untilHeld();
    await made.clone.flush();
    const closed = made.clone.close();
    held.release();
    await closed;
    expect(made.source.nrDone('read')).toBe(21);
    const again = await openAgain(made, { noHydration: false });
    await quiet();
    expect([hydrated(again), made.source.nrDone('read')]).toEqual(['0-63', 64]); // each region read once in all
  });

  it.each([
    { hydrationThreshold: 1, hydrationBatchSize: 1, copies: [1] },
    { hydrationThreshold: 4, hydrationBatchSize: 1, copies: [1, 1, 1, 1] },
    { hydrationThreshold: 6, hydrationBatchSize: 0, copies: [1, 1, 1, 1, 1, 1] },
    { hydrationThreshold: 8, hydrationBatchSize: 3, copies: [3, 3, 2] },
    { hydrationThreshold: 5, hydrationBatchSize: 100, copies: [5] },
    { hydrationThreshold: 0, hydrationBatchSize: 16, copies: [] },
  ])(
    'has copies on their way as threshold $hydrationThreshold and batch size $hydrationBatchSize allow',
    async (given) => {
      const { copies, ...options } = given;
      const { clone, source } = await newClone();
      const lengths: number[] = [];
      source.hold('read', { which: (_, length) => lengths.push(length / REGION) > 0 });
      clone.setHydrationThreshold(options.hydrationThreshold);
      clone.setHydrationBatchSize(options.hydrationBatchSize);
      clone.enableHydration();
      await quiet();
      expect(lengths).toEqual(copies);
      expect(clone.status().nrHydrating).toBe(copies.reduce((sum, nr) => sum + nr, 0));
    },
  );

  it('makes no batch across a region that is hydrated already', async () => {
    const { clone, source } = await newClone({ hydrationThreshold: 16, hydrationBatchSize: 8 });
    await clone.write(3 * REGION, bytesOf(0x91));
    const begun: string[] = [];
    source.hold('read', { which: (offset, length) => begun.push(`${offset / REGION}+${length / REGION}`) > 0 });
    clone.enableHydration();
    await quiet();
    expect(begun).toEqual(['0+3', '4+8', '12+5']);
  });

  it('does not grow while a request is in flight, and goes on when it has ended', async () => {
    const { clone, source } = await newClone({ hydrationThreshold: 4 });
    const reading = source.hold('read', { which: (offset) => offset === 60 * REGION });
    const read = clone.read(60 * REGION, new Uint8Array(REGION));
    await reading.untilHeld();
    clone.enableHydration();
    await quiet();
    expect(clone.status()).toMatchObject({ nrHydrated: 0, nrHydrating: 0 });
    reading.release();
    await read;
    await quiet();
    expect(clone.status().nrHydrated).toBe(64);
  });

  it('stops at a threshold of 0, and when it is disabled; copies on their way end', async () => {
    const { clone, source } = await newClone({ noHydration: false, hydrationThreshold: 2 });
    const held = source.hold('read');
    await quiet();
    const before = clone.status().nrHydrated;
    clone.disableHydration();
    held.release();
    await quiet();
    expect([clone.status().nrHydrated - before, clone.status().nrHydrating]).toEqual([held.nrHeld + 2, 0]);
    clone.setHydrationThreshold(0);
    clone.enableHydration();
    await quiet();
    expect(clone.status().nrHydrated).toBe(before + 2);
    clone.setHydrationThreshold(5);
    await quiet();
    expect(clone.status().nrHydrated).toBe(64);
  });

  it('leaves a region that cannot be read for later, tells of it, and never gives up', async () => {
    const timers = new ManualTimers();
    const { clone, source } = await newClone({ timers });
    const told: string[] = [];
    clone.on('error', ({ operation, error }) => told.push(`${operation}: ${(error as Error).message}`));
    source.inject({ operation: 'read', badByte: 5 * REGION });
    clone.enableHydration();
    await quiet();
    expect([hydrated(clone), told]).toEqual([
      '0-4 6-63',
      [
        'background hydration: clone of source: cannot hydrate region 5: cannot read 4096 bytes at 20480 of source: injected fault',
      ],
    ]);
    await clone.flush();
    expect(clone.isComplete).toBe(false);
    timers.pass(1000);
    await quiet();
    expect(told.length).toBe(2);
    source.heal();
    timers.pass(1000);
    await quiet();
    expect(hydrated(clone)).toBe('0-63');
  });

  it('rests for a second when one copy after the other fails', async () => {
    const timers = new ManualTimers();
    const { clone, source } = await newClone({ timers });
    source.inject({ operation: 'read', nth: 1, andLater: true });
    clone.enableHydration();
    await quiet();
    expect([source.nrDone('read'), timers.nrWaiting]).toEqual([16, 1]);
    timers.pass(1000);
    await quiet();
    expect(source.nrDone('read')).toBe(32);
    source.heal();
    timers.pass(1000);
    await quiet();
    timers.pass(1000);
    await quiet();
    expect(clone.status().nrHydrated).toBe(64);
  });

  it('takes memory for a bounded number of copies, whatever the threshold', async () => {
    const regionSize = 2048; // 1 MiB
    const { clone, source } = await newClone({ nrRegions: 64, regionSize, hydrationThreshold: 64 });
    const held = source.hold('read');
    clone.enableHydration();
    await quiet();
    expect([held.nrHeld, clone.status().nrHydrating]).toEqual([16, 64]);
    held.release();
    await quiet();
    await expect.poll(() => clone.status().nrHydrated).toBe(64);
  });

  it('copies a region that is larger than a buffer in pieces', async () => {
    const regionSize = 16_384; // 8 MiB
    const made = await newClone({ nrRegions: 2, lacks: 3 * 2 ** 20 + 512, regionSize, noHydration: false });
    await expect.poll(() => made.clone.status().nrHydrated).toBe(2);
    const { size } = made.clone;
    expect(Buffer.compare(await readFrom(made.destination, 0, size), sourceBytes(0, size))).toBe(0);
  });
});

describe('what the source knows to be zeros', () => {
  const unit = 65_536;
  async function sparseClone(initial: number): Promise<{
    clone: CloneDevice;
    source: RecordingDataDevice;
    destination: RecordingDataDevice;
    memory: MemoryDataDevice;
  }> {
    const image = new MemoryDataDevice({ name: 'source', size: 32 * unit });
    await image.write(3 * unit, bytesOf(1, unit));
    await image.write(9 * unit, bytesOf(0, unit)); // zeros that take space
    const source = new RecordingDataDevice(image, { reads: true });
    const memory = new MemoryDataDevice(
      initial === 0 ? { size: 32 * unit } : { bytes: new Uint8Array(32 * unit).fill(initial) },
    );
    const destination = new RecordingDataDevice(memory, { initial: memory });
    const clone = await CloneDevice.openOrFormat(
      new MemoryMetadataDevice({ nrBlocks: 64 }),
      { source, destination },
      { regionSize: 128, hydrationThreshold: 8 },
    );
    await quiet();
    await clone.flush();
    expect(clone.isComplete).toBe(true);
    const expected = bytesOf(0, 32 * unit);
    expected.fill(1, 3 * unit, 4 * unit);
    expect(Buffer.compare(await readFrom(clone, 0, 32 * unit), expected)).toBe(0);
    await clone.close();
    return { clone, source, destination, memory };
  }

  it('is not read, and the clone of a sparse image is sparse', async () => {
    const { source, memory } = await sparseClone(0);
    expect(source.summary).toEqual([`read ${unit} bytes at ${3 * unit}`]);
    expect(memory.allocatedBytes).toBe(unit);
  });

  it('is zeroed where the destination held something', async () => {
    const { source, destination } = await sparseClone(0xdd);
    expect(source.nrOf('read')).toBe(1);
    expect(destination.nrBytesOf('writeZeroes')).toBe(31 * unit);
  });
});

describe('a write that needs a region', () => {
  it('joins its copy in the background', async () => {
    const { clone, source } = await newClone({ hydrationThreshold: 2, hydrationBatchSize: 2 });
    const held = source.hold('read');
    clone.enableHydration();
    await held.untilHeld();
    const write = clone.write(REGION + 512, bytesOf(0x91, 512));
    await quiet();
    expect(held.nrHeld).toBe(1);
    held.release();
    await write;
    const expected = sourceBytes(REGION, REGION);
    expected.fill(0x91, 512, 1024);
    expect(await readFrom(clone, REGION, REGION)).toEqual(expected);
  });

  it('copies it whatever threshold, switch and other requests say', async () => {
    const { clone, source } = await newClone({ hydrationThreshold: 0 });
    const held = source.hold('read', { which: (offset) => offset === 9 * REGION });
    const read = clone.read(9 * REGION, new Uint8Array(512));
    await held.untilHeld();
    await clone.write(512, bytesOf(0x91, 512));
    expect(hydrated(clone)).toBe('0');
    held.release();
    await read;
  });

  it('fails when the copy does, as do all who waited for it; the region stays as it was', async () => {
    const { clone, source } = await newClone();
    source.inject({ operation: 'read', nth: 1 });
    const errors = await Promise.all([512, 1024, 2048].map((at) => rejection(clone.write(at, bytesOf(0x91, 512)))));
    for (const error of errors) {
      expect([error.code, error.message]).toEqual([
        'ERR_HYDRATION',
        'clone of source: cannot hydrate region 0: cannot read 4096 bytes at 0 of source: injected fault',
      ]);
    }
    expect([hydrated(clone), source.nrDone('read')]).toEqual(['', 1]);
    expect(await readFrom(clone, 0, REGION)).toEqual(sourceBytes(0, REGION));
    await clone.write(512, bytesOf(0x92, 512));
    expect(hydrated(clone)).toBe('0');
  });

  it('fails when the destination does not take the copy, or the overwrite it waited for', async () => {
    const { clone, destination } = await newClone();
    destination.inject({ operation: 'write', nth: 1, landsPartly: true });
    expect((await rejection(clone.write(512, bytesOf(0x91, 512)))).code).toBe('ERR_HYDRATION');
    destination.inject({ operation: 'write', nth: 2, landsPartly: true });
    const [overwrite, part] = await Promise.all([
      rejection(clone.write(0, bytesOf(0x92))),
      rejection(clone.write(512, bytesOf(0x93, 512))),
    ]);
    expect([overwrite.code, part.code, hydrated(clone)]).toEqual(['ERR_DEVICE', 'ERR_HYDRATION', '']);
    expect(await readFrom(clone, 0, REGION)).toEqual(sourceBytes(0, REGION));
  });
});
