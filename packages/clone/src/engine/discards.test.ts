import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { quiet } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, hydrated, newClone, REGION, readFrom, sourceBytes } from '../../test/engine-clones.js';
import { CloneDevice } from './clone-device.js';

describe('a discard', () => {
  it('marks whole regions, and nothing of them is copied any more', async () => {
    const { clone, source, written } = await newClone();
    await clone.discard(2 * REGION + 512, 4 * REGION);
    expect([hydrated(clone), written.summary]).toEqual(['3-5', [`discard ${3 * REGION} bytes at ${3 * REGION}`]]);
    clone.setHydrationThreshold(64);
    clone.enableHydration();
    await quiet();
    expect([clone.status().nrHydrated, source.nrDone('read')]).toEqual([64, 61]);
  });

  it('of less than a region does nothing', async () => {
    const { clone, written } = await newClone();
    await clone.discard(512, 2 * REGION - 1024);
    expect([hydrated(clone), written.summary]).toEqual(['', []]);
  });

  it('never marks a short last region, even of the whole device', async () => {
    const { clone } = await newClone({ nrRegions: 5121, lacks: 2560 });
    expect(clone.size / 512).toBe(40_963);
    await clone.discard(0, clone.size);
    expect(clone.status()).toMatchObject({ nrHydrated: 5120, nrRegions: 5121 });
  });

  it('is not passed down when that is not wanted, but marks all the same', async () => {
    const { clone, written } = await newClone({ noDiscardPassdown: true });
    await clone.discard(0, 4 * REGION);
    expect([hydrated(clone), written.summary, clone.status().discardPassdown]).toEqual(['0-3', [], false]);
    expect(await readFrom(clone, 0, REGION)).toEqual(bytesOf(0xdd)); // whatever the destination holds
    expect(clone.hints.discardGranularity).toBe(REGION);
  });

  it('is not passed down when the destination knows none, and the status says so', async () => {
    const destination = new MemoryDataDevice({ size: 16 * REGION });
    Object.assign(destination, { hints: { ...destination.hints, discardGranularity: 0 } });
    const clone = await CloneDevice.openOrFormat(
      new MemoryMetadataDevice({ nrBlocks: 64 }),
      { source: new MemoryDataDevice({ size: 16 * REGION }), destination },
      { regionSize: 8, noHydration: true },
    );
    expect(clone.statusLine()).toContain(' 2 no_hydration no_discard_passdown ');
    expect(clone.hints.discardGranularity).toBe(REGION);
  });

  it('of what is hydrated already is passed down, and no more', async () => {
    const { clone, written } = await newClone();
    await clone.write(0, bytesOf(0x91, 4 * REGION));
    await clone.flush();
    written.clear();
    await clone.discard(0, 4 * REGION);
    await clone.flush();
    expect(written.summary).toEqual([`discard ${4 * REGION} bytes at 0`, 'flush']);
  });

  it('waits for the copy of its regions that is on its way: it must not land over what is written later', async () => {
    const { clone, source, destination } = await newClone({ sparse: true });
    const held = destination.hold('write', { which: (offset) => offset === REGION });
    clone.enableHydration();
    await held.untilHeld();
    clone.disableHydration();
    const discard = clone.discard(0, 4 * REGION).then(() => clone.write(REGION, bytesOf(0x91)));
    await quiet();
    expect(hydrated(clone)).toBe('0');
    held.release();
    await discard;
    expect([hydrated(clone), source.nrDone('read')]).toEqual(['0-3', 2]);
    expect(await readFrom(clone, REGION, REGION)).toEqual(bytesOf(0x91));
  });

  it('does for a region whose copy fails what it does for one that nobody copies', async () => {
    const { clone, source } = await newClone();
    const held = source.hold('read');
    source.inject({ operation: 'read', nth: 1 });
    const write = clone.write(512, bytesOf(0x91, 512)).catch(() => {});
    await held.untilHeld();
    const discard = clone.discard(0, 2 * REGION);
    held.release();
    await Promise.all([write, discard]);
    expect(hydrated(clone)).toBe('0-1');
  });

  it('tells in its hints which units are given back: whole regions, and whole units of the destination', async () => {
    const clone = async (regionSize: number, granularity: number): Promise<number> => {
      const destination = new MemoryDataDevice({ size: 2 ** 24 });
      Object.assign(destination, { hints: { ...destination.hints, discardGranularity: granularity } });
      const source = new MemoryDataDevice({ size: 2 ** 24 });
      const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
      const made = await CloneDevice.openOrFormat(metadata, { source, destination }, { regionSize, noHydration: true });
      return made.hints.discardGranularity;
    };
    expect(await clone(8, 65_536)).toBe(65_536);
    expect(await clone(256, 65_536)).toBe(131_072);
    expect(await clone(256, 196_608)).toBe(393_216); // 192 KiB: a thin pool's block may be any multiple of 64 KiB
  });

  it('leaves what the source holds where it marks nothing', async () => {
    const { clone } = await newClone();
    await clone.discard(512, REGION);
    expect(await readFrom(clone, 0, 2 * REGION)).toEqual(sourceBytes(0, 2 * REGION));
  });
});
