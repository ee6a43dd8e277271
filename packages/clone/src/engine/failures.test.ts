/** What is left of a clone when something of it fails: docs/format/clone.md, section 7. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice, FaultyMetadataDevice, quiet, RecordingDataDevice, rejection } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, hydrated, REGION, readFrom, sourceBytes } from '../../test/engine-clones.js';
import { CloneDevice } from './clone-device.js';
import type { CloneOptions } from './options.js';

const SIZE = 128 * REGION;

interface FaultyClone {
  readonly memory: MemoryMetadataDevice;
  readonly metadata: FaultyMetadataDevice;
  readonly source: FaultyDataDevice;
  readonly destination: FaultyDataDevice;
  readonly written: RecordingDataDevice;
  readonly clone: CloneDevice;
  /** What it told, as `event: words`. */
  readonly told: string[];
}

async function faultyClone(options: CloneOptions = {}): Promise<FaultyClone> {
  const memory = new MemoryMetadataDevice({ nrBlocks: 64 });
  const metadata = new FaultyMetadataDevice(memory);
  const source = new FaultyDataDevice(
    new MemoryDataDevice({ name: 'source', bytes: sourceBytes(0, SIZE), readOnly: true }),
  );
  const bare = new MemoryDataDevice({ name: 'destination', bytes: bytesOf(0xdd, SIZE) });
  const written = new RecordingDataDevice(bare, { initial: bare });
  const destination = new FaultyDataDevice(written);
  const clone = await CloneDevice.openOrFormat(
    metadata,
    { source, destination },
    { regionSize: 8, noHydration: true, commitPeriod: 0, ...options },
  );
  const told: string[] = [];
  clone.on('mode', ({ from, to, reason }) => told.push(`mode: ${from} to ${to}: ${reason}`));
  clone.on('error', ({ operation, error }) => told.push(`error: ${operation}: ${(error as Error).message}`));
  return { memory, metadata, source, destination, written, clone, told };
}

const openAgain = (
  { memory, source, written }: FaultyClone,
  options: CloneOptions = { noHydration: true },
): Promise<CloneDevice> => CloneDevice.open(memory, { source, destination: written }, options);

describe('when the flush of the destination before a commit fails', () => {
  async function failed(): Promise<FaultyClone> {
    const made = await faultyClone();
    await made.clone.write(0, bytesOf(0x91, 64 * REGION));
    await made.clone.flush();
    await made.clone.discard(64 * REGION, 64 * REGION);
    expect(made.clone.status().nrHydrated).toBe(128);
    made.destination.inject({ operation: 'flush', nth: made.destination.nrDone('flush') + 1 });
    expect((await rejection(made.clone.flush())).message).toBe('cannot flush destination: injected fault');
    return made;
  }

  it('the clone is read-only, and what was not committed is not hydrated, nor on the disk', async () => {
    const made = await failed();
    expect([made.clone.mode, hydrated(made.clone), made.told]).toEqual([
      'read_only',
      '0-63',
      [
        'error: flush the destination device: cannot flush destination: injected fault',
        'mode: write to read_only: switching clone to read-only mode: flush the destination device failed: cannot flush destination: injected fault',
      ],
    ]);
    expect(made.clone.statusLine()).toMatch(/^8 \d+\/64 8 64\/128 0 1 no_hydration .* ro$/);
    expect(hydrated(await openAgain(made))).toBe('0-63');
  });

  it('what is hydrated can be written, and all be read; nothing else can be written', async () => {
    const { clone } = await failed();
    await clone.write(512, bytesOf(0x92, 512));
    const expected = bytesOf(0x91, 64 * REGION);
    expected.fill(0x92, 512, 1024);
    expect(await readFrom(clone, 0, 64 * REGION)).toEqual(expected);
    expect(await readFrom(clone, 64 * REGION, 64 * REGION)).toEqual(sourceBytes(64 * REGION, 64 * REGION));
    for (const write of [
      clone.write(64 * REGION, bytesOf(0x93)),
      clone.write(64 * REGION + 512, bytesOf(0x93, 512)),
      clone.writeZeroes(70 * REGION, 3 * REGION),
      clone.write(63 * REGION, bytesOf(0x93, 2 * REGION)),
    ])
      expect((await rejection(write)).code).toBe('ERR_CLONE_MODE');
  });

  it('discards are done without effect, or passed down where all is hydrated', async () => {
    const { clone, written } = await failed();
    written.clear();
    await clone.discard(60 * REGION, 10 * REGION);
    await clone.discard(0, 2 * REGION);
    expect([hydrated(clone), written.summary]).toEqual(['0-63', [`discard ${2 * REGION} bytes at 0`]]);
  });

  it('no flush succeeds any more, nor a write with FUA, nor the end', async () => {
    const { clone, destination } = await failed();
    destination.heal();
    for (const work of [clone.flush(), clone.write(0, bytesOf(0x94), { fua: true }), clone.commit(), clone.close()]) {
      const error = await rejection(work);
      expect([error.code, error.message]).toEqual([
        'ERR_ABORTED',
        'clone of source has lost what was written to regions that were not hydrated before the last commit: ' +
          'cannot flush destination: injected fault; open it again to go on',
      ]);
    }
  });

  it('it hydrates nothing in the background', async () => {
    const { clone, source } = await failed();
    clone.enableHydration();
    await quiet();
    expect(source.nrDone('read')).toBe(0);
  });

  it('it is itself again when it is opened again', async () => {
    const made = await failed();
    const again = await openAgain(made);
    expect(again.statusLine()).toMatch(/ 64\/128 .* rw$/);
    await again.write(64 * REGION, bytesOf(0x95));
    await again.flush();
    expect(hydrated(again)).toBe('0-64');
  });

  it('a copy on its way does not mark its region, and who waits for it is told', async () => {
    const { clone, source, destination } = await faultyClone();
    await clone.write(0, bytesOf(0x91));
    const held = source.hold('read');
    const write = rejection(clone.write(5 * REGION + 512, bytesOf(0x92, 512)));
    await held.untilHeld();
    destination.inject({ operation: 'flush', nth: 1 });
    await rejection(clone.flush());
    held.release();
    expect((await write).code).toBe('ERR_HYDRATION');
    expect(hydrated(clone)).toBe('');
  });

  it('a write on its way to a region that is not hydrated any more fails', async () => {
    const { clone, destination } = await faultyClone();
    await clone.write(0, bytesOf(0x91));
    const held = destination.hold('write');
    const write = rejection(clone.write(512, bytesOf(0x92, 512)));
    await held.untilHeld();
    destination.inject({ operation: 'flush', nth: 1 });
    await rejection(clone.flush());
    held.release();
    expect((await write).code).toBe('ERR_ABORTED');
  });
});

describe('when the commit itself fails', () => {
  it.each(['write', 'flush'] as const)('by a %s of the metadata device, the clone is read-only', async (operation) => {
    const made = await faultyClone();
    await made.clone.write(0, bytesOf(0x91, 2 * REGION));
    await made.clone.flush();
    await made.clone.write(5 * REGION, bytesOf(0x92));
    made.metadata.inject({ operation, nth: made.metadata.nrDone(operation) + 1 });
    expect((await rejection(made.clone.flush())).code).toBe('ERR_COMMIT');
    expect([made.clone.mode, hydrated(made.clone)]).toEqual(['read_only', '0-1']);
    expect(made.told.map((line) => line.slice(0, 40))).toEqual([
      expect.stringMatching(/^error: commit: /),
      'mode: write to read_only: switching clon',
    ]);
    expect(await readFrom(made.clone, 5 * REGION, REGION)).toEqual(sourceBytes(5 * REGION, REGION));
    expect((await rejection(made.clone.flush())).code).toBe('ERR_ABORTED');
    expect(hydrated(await openAgain(made))).toBe('0-1');
  });

  it('and the metadata cannot be read any more, everything fails', async () => {
    const made = await faultyClone();
    await made.clone.write(0, bytesOf(0x91));
    made.metadata.inject({ operation: 'write', nth: made.metadata.nrDone('write') + 1, andLater: true });
    made.metadata.inject({ operation: 'read', nth: made.metadata.nrDone('read') + 1, andLater: true });
    await rejection(made.clone.flush());
    expect([made.clone.mode, made.clone.statusLine()]).toEqual(['fail', 'Fail']);
    expect(() => made.clone.status()).toThrow('clone of source has failed');
    for (const work of [
      made.clone.read(0, new Uint8Array(512)),
      made.clone.write(0, bytesOf(1)),
      made.clone.writeZeroes(0, REGION),
      made.clone.discard(0, REGION),
      made.clone.flush(),
      made.clone.allocation(0, REGION),
    ])
      expect((await rejection(work)).code).toBe('ERR_CLONE_MODE');
    expect(made.told.at(-1)).toBe(
      'mode: write to fail: switching clone to fail mode: commit failed, and the metadata cannot be read any more',
    );
    await rejection(made.clone.close());
  });

  it('on time, it is told', async () => {
    const made = await faultyClone({ commitPeriod: 1 });
    made.destination.inject({ operation: 'flush', nth: 1 });
    await made.clone.write(0, bytesOf(0x91));
    await expect.poll(() => made.told.length).toBe(3);
    expect(made.told[2]).toBe('error: commit on time: cannot flush destination: injected fault');
  });
});

it('a flush that fails with nothing to commit is the matter of who asked', async () => {
  const { clone, destination, told } = await faultyClone();
  destination.inject({ operation: 'flush', nth: 1 });
  expect((await rejection(clone.flush())).code).toBe('ERR_DEVICE');
  expect([clone.mode, told]).toEqual(['write', []]);
});

it('a source that cannot be read fails the reads of what is not hydrated, and no others', async () => {
  const { clone, source } = await faultyClone();
  await clone.write(0, bytesOf(0x91));
  source.inject({ operation: 'read', nth: 1, andLater: true });
  expect(await readFrom(clone, 0, REGION)).toEqual(bytesOf(0x91));
  expect((await rejection(clone.read(0, new Uint8Array(2 * REGION)))).code).toBe('ERR_DEVICE');
  expect(clone.mode).toBe('write');
});

it('a clone that is opened for reading shows what it holds, and writes nothing', async () => {
  const made = await faultyClone();
  await made.clone.write(0, bytesOf(0x91));
  await made.clone.close();
  const before = made.memory.bytes.slice();
  made.written.clear();
  const clone = await openAgain(made, { readOnly: true });
  expect(await readFrom(clone, 0, 2 * REGION)).toEqual(
    new Uint8Array([...bytesOf(0x91), ...sourceBytes(REGION, REGION)]),
  );
  expect(clone.statusLine()).toMatch(/ro$/);
  expect((await rejection(clone.write(0, bytesOf(1)))).code).toBe('ERR_READ_ONLY');
  await clone.flush();
  await quiet();
  await clone.close();
  expect([made.written.summary, made.memory.bytes]).toEqual([[], before]);
});
