/**
 * What every `MetadataDevice` must do, whatever it stands on: the contract of src/metadata-device.ts as tests.
 * A new implementation runs this suite in its own test file and adds what is special about it.
 */
import { BLOCK_SIZE, ClosedError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';

export interface MetadataDeviceFixture {
  /** A new device of zeroes, open for writing. */
  create(nrBlocks: number): MetadataDevice;
  /** What a flushed and closed device of `create` left behind, opened again. */
  reopen(closed: MetadataDevice, mode: 'read' | 'write'): MetadataDevice;
}

export function itBehavesLikeAMetadataDevice(fixture: MetadataDeviceFixture): void {
  const opened: MetadataDevice[] = [];
  const create = (nrBlocks: number): MetadataDevice => keep(fixture.create(nrBlocks));
  const reopen = (closed: MetadataDevice, mode: 'read' | 'write'): MetadataDevice => keep(fixture.reopen(closed, mode));
  const keep = (device: MetadataDevice): MetadataDevice => {
    opened.push(device);
    return device;
  };
  afterEach(() => {
    for (const device of opened.splice(0)) device.close();
  });

  it('has the size it was created with, and reads as zeroes', () => {
    const device = create(5);
    expect(device.nrBlocks).toBe(5);
    expect(device.readOnly).toBe(false);
    expect(device.name).not.toBe('');
    expect(blocksOf(device)).toEqual([0, 0, 0, 0, 0]);
  });

  it('reads back what was written, and nothing else changes', () => {
    const device = create(6);
    device.write(1, blocks(11, 12, 13));
    device.write(2, blocks(22));
    expect(blocksOf(device)).toEqual([0, 11, 22, 13, 0, 0]);
    const run = new Uint8Array(2 * BLOCK_SIZE);
    device.read(2, run);
    expect(valuesOf(run)).toEqual([22, 13]);
  });

  it('moves exactly the bytes of a view into a larger buffer', () => {
    const device = create(2);
    const buffer = new Uint8Array(3 * BLOCK_SIZE).fill(9);
    const view = buffer.subarray(100, 100 + BLOCK_SIZE); // not aligned to anything
    view.fill(5);
    device.write(1, view);
    expect(blocksOf(device)).toEqual([0, 5]);
    device.read(0, view);
    expect(view.every((byte) => byte === 0)).toBe(true);
    expect([buffer[99], buffer[100 + BLOCK_SIZE]]).toEqual([9, 9]);
  });

  it('keeps the bytes of a write when the caller changes the array afterwards', () => {
    const device = create(1);
    const bytes = blocks(7);
    device.write(0, bytes);
    bytes.fill(8);
    expect(blocksOf(device)).toEqual([7]);
  });

  it('moves nothing for an empty run, even at the very end', () => {
    const device = create(3);
    device.write(3, new Uint8Array(0));
    device.read(3, new Uint8Array(0));
    expect(blocksOf(device)).toEqual([0, 0, 0]);
  });

  it.each([
    { what: 'a run past the end', first: 3, bytes: 2 * BLOCK_SIZE, says: /blocks 3\.\.4.*has 4 blocks/ },
    { what: 'a block behind the end', first: 4, bytes: BLOCK_SIZE, says: /block 4.*has 4 blocks/ },
    { what: 'an empty run behind the end', first: 5, bytes: 0, says: /block 5.*has 4 blocks/ },
    { what: 'a negative block number', first: -1, bytes: BLOCK_SIZE, says: /block -1.*has 4 blocks/ },
    { what: 'a block number with a fraction', first: 0.5, bytes: BLOCK_SIZE, says: /block 0\.5.*has 4 blocks/ },
    { what: 'a block number past 2^53', first: 2 ** 53, bytes: BLOCK_SIZE, says: /block 9007199254740992.*has 4/ },
    { what: 'NaN for a block number', first: Number.NaN, bytes: BLOCK_SIZE, says: /block NaN.*has 4 blocks/ },
    { what: 'a part of a block', first: 0, bytes: BLOCK_SIZE - 1, says: /4095 bytes.*whole number/ },
  ])('refuses $what, naming the device and its size', ({ first, bytes, says }) => {
    const device = create(4);
    const run = new Uint8Array(bytes).fill(1);
    for (const operation of ['read', 'write'] as const) {
      const refusal = thrownBy(() => device[operation](first, run));
      expect(refusal).toBeInstanceOf(RangeError);
      expect(refusal.message).toMatch(says);
      expect(refusal.message).toContain(operation);
      expect(refusal.message).toContain(device.name);
    }
    expect(blocksOf(device)).toEqual([0, 0, 0, 0]);
  });

  it('is found as it was flushed when it is opened again', () => {
    const device = create(3);
    device.write(0, blocks(1, 2));
    device.flush();
    device.close();
    const again = reopen(device, 'read');
    expect(again.nrBlocks).toBe(3);
    expect(blocksOf(again)).toEqual([1, 2, 0]);
  });

  it('flushes asynchronously, several at once, while writes go on', async () => {
    const device = create(3);
    device.write(0, blocks(1));
    const first = device.flushAsync();
    device.write(1, blocks(2));
    await Promise.all([first, device.flushAsync(), device.flushAsync()]);
    device.flush();
    expect(blocksOf(device)).toEqual([1, 2, 0]);
  });

  it('grows, keeping what it holds', () => {
    const device = create(2);
    device.write(0, blocks(1, 2));
    device.grow(4);
    expect(device.nrBlocks).toBe(4);
    device.write(3, blocks(4));
    const whole = blocksOf(device);
    expect([whole[0], whole[1], whole[3]]).toEqual([1, 2, 4]);
    device.flush();
    device.close();
    expect(reopen(device, 'read').nrBlocks).toBe(4);
  });

  it('accepts growing to the size it has, and refuses to shrink', () => {
    const device = create(3);
    device.grow(3);
    for (const size of [2, 0, -1, 3.5, Number.NaN]) {
      const refusal = thrownBy(() => device.grow(size));
      expect(refusal).toBeInstanceOf(RangeError);
      expect(refusal.message).toContain(`${size} blocks`);
      expect(refusal.message).toContain('at least 3');
    }
    expect(device.nrBlocks).toBe(3);
  });

  it('refuses writes, flushes and growing when open for reading, and still reads', async () => {
    const device = create(2);
    device.write(0, blocks(1, 2));
    device.flush();
    device.close();
    const reader = reopen(device, 'read');
    expect(reader.readOnly).toBe(true);
    expect(thrownBy(() => reader.write(0, blocks(9)))).toBeInstanceOf(ReadOnlyError);
    expect(thrownBy(() => reader.flush())).toBeInstanceOf(ReadOnlyError);
    expect(thrownBy(() => reader.grow(8))).toBeInstanceOf(ReadOnlyError);
    await expect(reader.flushAsync()).rejects.toBeInstanceOf(ReadOnlyError);
    expect(reader.nrBlocks).toBe(2);
    expect(blocksOf(reader)).toEqual([1, 2]);
  });

  it('refuses everything after close, naming itself, except a second close', async () => {
    const device = create(2);
    device.close();
    const uses: (() => void)[] = [
      () => device.read(0, blocks(0)),
      () => device.write(0, blocks(0)),
      () => device.flush(),
      () => device.grow(5),
    ];
    for (const use of uses) {
      const refusal = thrownBy(use);
      expect(refusal).toBeInstanceOf(ClosedError);
      expect(refusal.message).toContain(device.name);
    }
    await expect(device.flushAsync()).rejects.toBeInstanceOf(ClosedError);
    device.close();
  });

  it('holds what a plain array would after any sequence of writes, growing and flushes', () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ do: fc.constant('write'), at: fc.nat(30), nr: fc.integer({ min: 1, max: 8 }) }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('grow'), at: fc.nat(4), nr: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('flush'), at: fc.constant(0), nr: fc.constant(0) }) },
    );
    const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const device = create(8);
      const model: number[] = new Array(8).fill(0);
      steps.forEach(({ do: what, at, nr }, index) => {
        const value = (index % 255) + 1;
        if (what === 'flush') device.flush();
        else if (what === 'grow') {
          device.grow(device.nrBlocks + at);
          while (model.length < device.nrBlocks) model.push(0);
          // What new blocks contain is not said, so it is said here.
          for (let blockNr = model.length - at; blockNr < model.length; blockNr++) device.write(blockNr, blocks(0));
        } else if (at + nr <= model.length) {
          device.write(at, blocks(...new Array<number>(nr).fill(value)));
          model.fill(value, at, at + nr);
        }
      });
      expect(blocksOf(device)).toEqual(model);
      device.flush();
      device.close();
      const again = reopen(device, 'read');
      expect(blocksOf(again)).toEqual(model);
      again.close();
    });
    fc.assert(property, { seed: 20261120, numRuns: 40 });
  });
}

/** One block per value, filled with it. */
export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_SIZE);
  values.forEach((value, index) => {
    bytes.fill(value, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
  });
  return bytes;
}

/** The value that fills each block; "mixed" where a block is not all one value. */
export function valuesOf(bytes: Uint8Array): (number | string)[] {
  return Array.from({ length: bytes.byteLength / BLOCK_SIZE }, (_, nr) => {
    const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    return block.every((byte) => byte === block[0]) ? (block[0] ?? 0) : 'mixed';
  });
}

/** The whole device, read in one run, as `valuesOf` tells it. */
export function blocksOf(device: MetadataDevice): (number | string)[] {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE);
  device.read(0, bytes);
  return valuesOf(bytes);
}

/** What `action` throws; fails the test when it throws nothing. */
export function thrownBy(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error, none was thrown');
}
