import { DeviceBusyError, DeviceError, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { crashImages, FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { checked, runCheck, runRepair, verdictOf } from '../../../test/check-runs.js';
import { ImageEditor } from '../../../test/image-editor.js';
import { ThinMetadata } from '../../metadata/thin-metadata.js';
import { repairThin } from './repair.js';

const NEEDS_CHECK = 1;

/** A pool with leaks of both kinds, as a crash of a careless writer leaves them: counted everywhere, referred to nowhere. */
function leakyPool({ needsCheck = true } = {}): ImageEditor {
  const image = ImageEditor.of('thin-metasnap');
  const free = (kind: 'data' | 'metadata', nr: number) => image.pair(kind, nr) === 0;
  for (let nr = 400; nr < 1000; nr += 3) if (free('data', nr)) image.setPair('data', nr, 1);
  for (let nr = 500; nr < 900; nr++) if (free('metadata', nr)) image.setPair('metadata', nr, 1);
  if (needsCheck) image.superblock32(4, NEEDS_CHECK | 0x80);
  return image;
}

/** Not toEqual, which takes half a minute for 4 MiB. */
const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Leaks everything that is free. */
function fullOfLeaks(): ImageEditor {
  const image = ImageEditor.of('thin-basic');
  for (const kind of ['data', 'metadata'] as const) {
    for (let nr = 0; nr < 1024; nr++) if (image.pair(kind, nr) === 0) image.setPair(kind, nr, 1);
  }
  return image;
}

/** Every mapping of every device, as text: what a repair must not touch. */
function contents(image: ImageEditor): string[] {
  return image.leaves(image.mappingRoot).flatMap((leaf) => {
    const { keys, values } = image.node(leaf);
    return keys.map((thinId, i) => {
      const leaves = image.leaves(values[i] as number).map((nr) => image.node(nr));
      return `${thinId}: ${leaves.flatMap((node) => node.keys.map((key, at) => `${key}=${node.values[at]}`)).join(' ')}`;
    });
  });
}

describe('a repair', () => {
  it('frees leaks of both kinds, clears needs_check, and keeps every other bit and mapping', () => {
    const image = leakyPool();
    const before = contents(image);
    const { findings, summary } = runRepair(image.device());
    expect(findings.every(({ severity }) => severity === 'leak')).toBe(true);
    expect(summary).toMatchObject({
      leaks: { data: 200, metadata: 400 },
      repaired: { data: 200, metadata: 400 },
      needsCheck: true,
      needsCheckCleared: true,
    });
    expect(checked(image).summary).toMatchObject({ clean: true, needsCheck: false, nrDevices: 6, nrMappings: 480 });
    expect(image.u32(0, 4)).toBe(0x80);
    expect(contents(image)).toEqual(before);
  });

  it('never overwrites what the old superblock reaches, where there is room for copies', () => {
    const image = leakyPool();
    const old = image.copy();
    runRepair(image.device());
    for (const blockNr of old.allocated()) {
      if (blockNr !== 0) expect(isSame(image.block(blockNr), old.block(blockNr)), `block ${blockNr}`).toBe(true);
    }
  });

  it('also works in a metadata device that is full of leaks', () => {
    const image = fullOfLeaks();
    const before = contents(image);
    expect(runRepair(image.device()).summary).toMatchObject({ repaired: { data: 818, metadata: 1010 } });
    const { summary } = checked(image);
    expect(summary).toMatchObject({ clean: true, metadataFreeBlocks: 1010 });
    expect(image.spaceMap('data').nrAllocated).toBe(206);
    expect(contents(image)).toEqual(before);
  });

  it('leaves a pool that can be written to', () => {
    for (const image of [leakyPool(), fullOfLeaks()]) {
      runRepair(image.device());
      const pool = ThinMetadata.open(image.device());
      pool.createThin(100);
      for (let i = 0; i < 300; i++) pool.insert(100, i, pool.allocateDataBlock());
      pool.commit();
      pool.close();
      expect(verdictOf(checked(image))).toBe('clean');
    }
  });

  it('only clears the flag when there is nothing else to do', () => {
    const image = ImageEditor.of('thin-basic').superblock32(4, NEEDS_CHECK);
    const sound = ImageEditor.of('thin-basic');
    expect(runRepair(image.device()).summary).toMatchObject({
      repaired: { data: 0, metadata: 0 },
      needsCheckCleared: true,
    });
    expect(isSame(image.bytes, sound.bytes)).toBe(true);
  });

  it('does not write at all to a sound pool', () => {
    const image = ImageEditor.of('thin-basic');
    const device = new RecordingMetadataDevice(image.device());
    expect(runRepair(device).summary).toMatchObject({ clean: true, needsCheckCleared: false });
    expect(device.operations).toEqual([]);
  });

  it('clears the flag without looking for leaks where the check is cut short', () => {
    const image = leakyPool();
    expect(runRepair(image.device(), { skipMappings: true }).summary).toMatchObject({
      repaired: { data: 0, metadata: 0 },
      needsCheckCleared: true,
    });
    expect(verdictOf(checked(image))).toBe('leak');
  });
});

describe('a repair refuses', () => {
  it.each([
    ['a count that is too low', (i: ImageEditor) => i.setPair('data', 87, 0)],
    ['a damaged leaf', (i: ImageEditor) => i.put32(101, 4000, 1)],
    [
      'a device that one tree does not know',
      (i: ImageEditor) => i.put32(i.detailsRoot, 16, 4).seal(i.detailsRoot, 'node'),
    ],
    ['a wrong superblock', (i: ImageEditor) => i.put32(0, 4000, 1)],
  ])('%s, and leaves every byte as it was', (_, damage) => {
    const image = ImageEditor.of('thin-basic')
      .superblock32(4, NEEDS_CHECK)
      .setPair('data', 900, 1)
      .setPair('metadata', 900, 1);
    damage(image);
    const before = image.bytes.slice();
    const { summary } = runRepair(image.device());
    expect(summary).toMatchObject({ repaired: { data: 0, metadata: 0 }, needsCheckCleared: false });
    expect(summary.fatal).toBeGreaterThan(0);
    expect(isSame(image.bytes, before)).toBe(true);
  });

  it('a misshapen node, unless told to ignore it', () => {
    const image = ImageEditor.of('thin-basic').superblock32(4, NEEDS_CHECK).setPair('data', 900, 1);
    // The top level with room for 125 entries, its values moved accordingly.
    const top = image.mappingRoot;
    const { max, keys } = image.node(top);
    const values = image.block(top).slice(32 + 8 * max, 32 + 8 * max + 8 * keys.length);
    image.put32(top, 20, 125);
    image.block(top).set(values, 32 + 8 * 125);
    image.seal(top, 'node');
    const before = image.bytes.slice();
    expect(runRepair(image.device()).summary).toMatchObject({ shape: 1, needsCheckCleared: false });
    expect(isSame(image.bytes, before)).toBe(true);
    expect(runRepair(image.device(), { ignoreNonFatal: true }).summary).toMatchObject({
      repaired: { data: 1, metadata: 0 },
      needsCheckCleared: true,
    });
    expect(checked(image).summary).toMatchObject({
      fatal: 0,
      shape: 1,
      leaks: { data: 0, metadata: 0 },
      needsCheck: false,
    });
  });

  it('a device that is open for reading, or in use by this program', () => {
    const image = leakyPool();
    expect(() => runRepair(image.device({ readOnly: true }))).toThrow(ReadOnlyError);
    const device = image.device();
    const pool = ThinMetadata.open(device);
    expect(() => runRepair(device)).toThrow(DeviceBusyError);
    pool.close();
    // A repair that was given up halfway lets go of the device, too.
    const work = repairThin(device);
    work.next();
    work.return({} as never);
    expect(verdictOf(checked(image))).toBe('leak');
    expect(runRepair(device).summary.needsCheckCleared).toBe(true);
  });
});

describe('power failing during a repair', () => {
  it('leaves the pool leaky or repaired, at every write', () => {
    const image = leakyPool();
    const before = contents(image);
    const initial = image.bytes.slice();
    const device = new RecordingMetadataDevice(image.device(), { keepBytes: true });
    runRepair(device);
    let nrImages = 0;
    for (const { bytes, description } of crashImages({ initial, operations: device.operations, seed: 7 })) {
      nrImages++;
      const crashed = new ImageEditor(bytes);
      const { summary } = checked(crashed);
      const outcome = `${summary.fatal} fatal, ${summary.leaks.data} and ${summary.leaks.metadata} leaks, ${summary.needsCheck}`;
      expect(['0 fatal, 200 and 400 leaks, true', '0 fatal, 0 and 0 leaks, false'], description).toContain(outcome);
      expect(contents(crashed), description).toEqual(before);
    }
    expect(nrImages).toBeGreaterThan(20);
  });

  it('does the same to a pool that needs nothing but its flag cleared', () => {
    const image = ImageEditor.of('thin-basic').superblock32(4, NEEDS_CHECK);
    const initial = image.bytes.slice();
    const device = new RecordingMetadataDevice(image.device(), { keepBytes: true });
    runRepair(device);
    for (const { bytes, description } of crashImages({ initial, operations: device.operations, seed: 8 })) {
      expect(verdictOf(checked(new ImageEditor(bytes))), description).toBe('clean');
    }
  });
});

describe('a device that fails during a repair', () => {
  it('is reported, and what it holds is not worse than before', () => {
    const nrWrites = (() => {
      const device = new FaultyMetadataDevice(leakyPool().device());
      runRepair(device);
      return device.nrDone('write');
    })();
    expect(nrWrites).toBeGreaterThan(1);
    for (let nth = 1; nth <= nrWrites; nth++) {
      const image = leakyPool();
      const device = new FaultyMetadataDevice(image.device(), { operation: 'write', nth, andLater: true });
      expect(() => runRepair(device), `write ${nth}`).toThrow(DeviceError);
      expect(checked(image).summary.fatal, `write ${nth}`).toBe(0);
    }
  });

  it('may be in place: then any prefix of the writes leaves leaks at worst', () => {
    const nrWrites = (() => {
      const device = new FaultyMetadataDevice(fullOfLeaks().device());
      runRepair(device);
      return device.nrDone('write');
    })();
    expect(nrWrites).toBeGreaterThan(3);
    for (let nth = 1; nth <= nrWrites; nth++) {
      const image = fullOfLeaks();
      const device = new FaultyMetadataDevice(image.device(), { operation: 'write', nth, andLater: true });
      expect(() => runRepair(device), `write ${nth}`).toThrow(DeviceError);
      expect(checked(image).summary.fatal, `write ${nth}`).toBe(0);
      expect(runCheck(new MemoryMetadataDevice({ bytes: image.bytes })).summary.countsVerified).toBe(true);
    }
  });
});
