/** What a flush and FUA cover, and in which order things reach the devices: docs/format/clone.md, sections 2 and 4. */
import { MemoryMetadataDevice } from '@pdata/device';
import { ManualTimers, quiet, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, hydrated, newClone, openAgain, REGION, readFrom } from '../../test/engine-clones.js';
import { CloneDevice } from './clone-device.js';

/** The operations of both devices, in the order in which they happened. */
async function recorded(): Promise<{ clone: CloneDevice; log: string[] }> {
  const { source, destination, written, clone: unused } = await newClone();
  await unused.close();
  const metadata = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 64 }));
  const log: string[] = [];
  const clone = await CloneDevice.format(
    metadata,
    { source, destination },
    { regionSize: 8, noHydration: true, commitPeriod: 0 },
  );
  metadata.clear();
  written.clear();
  let [nrOfMetadata, nrOfData] = [0, 0];
  // Both lists only grow: whatever is new in one of them when somebody looks came after what was there before.
  const look = (): void => {
    for (; nrOfData < written.summary.length; nrOfData++) log.push(`destination: ${written.summary[nrOfData]}`);
    for (; nrOfMetadata < metadata.summary.length; nrOfMetadata++)
      log.push(`metadata: ${metadata.summary[nrOfMetadata]}`);
  };
  const { write, flushAsync } = metadata;
  metadata.write = (...args) => {
    look();
    write.apply(metadata, args);
    look();
  };
  metadata.flushAsync = async () => {
    look();
    await flushAsync.apply(metadata);
    look();
  };
  return {
    clone,
    get log() {
      look();
      return log;
    },
  };
}

describe('a commit', () => {
  it('flushes the destination first, then writes the bits, flushes, writes the superblock, flushes', async () => {
    const both = await recorded();
    await both.clone.write(0, bytesOf(0x91));
    await both.clone.flush();
    const { log } = both;
    expect(log.slice(0, 2)).toEqual(['destination: write 4096 bytes at 0', 'destination: flush']);
    expect(log.slice(2).every((line) => line.startsWith('metadata: '))).toBe(true);
    expect(log.slice(-3)).toEqual(['metadata: flush', 'metadata: write block 0', 'metadata: flush']);
  });

  it('writes nothing at all when no region was hydrated since the last', async () => {
    const both = await recorded();
    await both.clone.write(0, bytesOf(0x91));
    await both.clone.flush();
    const before = both.log.length;
    await both.clone.write(512, bytesOf(0x92, 512));
    await both.clone.flush();
    expect(both.log.slice(before)).toEqual(['destination: write 512 bytes at 512', 'destination: flush']);
  });

  it('has only the regions that were hydrated before its flush began', async () => {
    const made = await newClone();
    await made.clone.write(0, bytesOf(0x91));
    const held = made.destination.hold('flush');
    const flush = made.clone.flush();
    await held.untilHeld();
    await made.clone.write(REGION, bytesOf(0x92));
    held.release();
    await flush;
    const onDisk = await CloneDevice.open(
      new MemoryMetadataDevice({ bytes: made.metadata.bytes.slice(), readOnly: true }),
      made,
      { readOnly: true },
    );
    expect([hydrated(onDisk), hydrated(made.clone)]).toEqual(['0', '0-1']);
    await made.clone.flush(); // the other one is not forgotten
    await made.clone.close();
    expect(hydrated(await openAgain(made))).toBe('0-1');
  });

  it('is shared by all who ask while one is running', async () => {
    const made = await newClone();
    await made.clone.write(0, bytesOf(0x91));
    const held = made.destination.hold('flush');
    const first = made.clone.flush();
    await held.untilHeld();
    await made.clone.write(REGION, bytesOf(0x92));
    const others = Array.from({ length: 10 }, () => made.clone.flush());
    held.release();
    await Promise.all([first, ...others]);
    expect(made.written.nrOf('flush')).toBe(2);
  });

  it('is waited for by a flush that finds nothing to commit but one on its way', async () => {
    const made = await newClone();
    await made.clone.write(0, bytesOf(0x91));
    const held = made.destination.hold('flush');
    const first = made.clone.flush();
    await held.untilHeld();
    let isOver = false;
    const second = made.clone.flush().then(() => {
      isOver = true;
    });
    await quiet();
    expect(isOver).toBe(false);
    held.release();
    await Promise.all([first, second]);
  });

  it('comes a second after a region was hydrated, by itself', async () => {
    const timers = new ManualTimers();
    const made = await newClone({ timers, commitPeriod: 1000 });
    await made.clone.write(0, bytesOf(0x91));
    timers.pass(999);
    await quiet();
    expect(made.written.nrOf('flush')).toBe(0);
    timers.pass(1);
    await quiet();
    expect(made.written.nrOf('flush')).toBe(1);
    const crashed = await CloneDevice.open(
      new MemoryMetadataDevice({ bytes: made.metadata.bytes.slice() }),
      { source: made.source, destination: made.written.crash({ seed: 1, lands: 'none' }) },
      { noHydration: true },
    );
    expect(await readFrom(crashed, 0, REGION)).toEqual(bytesOf(0x91));
  });
});

it('the end of a clone makes durable what was written to regions that had been committed', async () => {
  const made = await newClone();
  await made.clone.write(0, bytesOf(0x91), { fua: true });
  await made.clone.write(0, bytesOf(0x92));
  await made.clone.close();
  expect(await readFrom(made.written.crash({ seed: 1, lands: 'none' }), 0, REGION)).toEqual(bytesOf(0x92));
});

describe('a write with FUA', () => {
  const afterPowerLoss = (made: Awaited<ReturnType<typeof newClone>>): Promise<CloneDevice> =>
    CloneDevice.open(
      new MemoryMetadataDevice({ bytes: made.metadata.bytes.slice() }),
      { source: made.source, destination: made.written.crash({ seed: 1, lands: 'none' }) },
      { noHydration: true },
    );

  it('of a whole region is durable with its bit', async () => {
    const made = await newClone();
    await made.clone.write(REGION, bytesOf(0x91), { fua: true });
    expect(await readFrom(await afterPowerLoss(made), REGION, REGION)).toEqual(bytesOf(0x91));
  });

  it('of a part of a region is durable with its bit, and with the rest of the region', async () => {
    const made = await newClone();
    await made.clone.write(REGION + 512, bytesOf(0x91, 512), { fua: true });
    const crashed = await afterPowerLoss(made);
    expect(await readFrom(crashed, 0, 4 * REGION)).toEqual(await readFrom(made.clone, 0, 4 * REGION));
    expect(hydrated(crashed)).toBe('1');
  });

  it('to a region that is hydrated and committed is one request, with FUA, and no commit', async () => {
    const made = await newClone();
    await made.clone.write(REGION, bytesOf(0x91), { fua: true });
    made.written.clear();
    await made.clone.write(REGION, bytesOf(0x92), { fua: true });
    expect(made.written.summary).toEqual([`write 4096 bytes at ${REGION}, fua`]);
    expect(await readFrom(await afterPowerLoss(made), REGION, REGION)).toEqual(bytesOf(0x92));
  });

  it('to a region that is hydrated but not committed commits it', async () => {
    const made = await newClone();
    await made.clone.write(REGION, bytesOf(0x91));
    await made.clone.write(REGION, bytesOf(0x92, 512), { fua: true });
    expect(await readFrom(await afterPowerLoss(made), REGION, 512)).toEqual(bytesOf(0x92, 512));
  });

  it('and zeros and discards with FUA as well', async () => {
    const made = await newClone({ sparse: true });
    await made.clone.writeZeroes(REGION, 2 * REGION, { fua: true });
    await made.clone.discard(5 * REGION, 2 * REGION, { fua: true });
    const crashed = await afterPowerLoss(made);
    expect([hydrated(crashed), await readFrom(crashed, REGION, 2 * REGION)]).toEqual([
      '1-2 5-6',
      bytesOf(0, 2 * REGION),
    ]);
  });
});
