import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { blocks, valuesOf } from '../test/blocks.js';
import { type CrashImage, crashImages } from './crash-images.js';
import { RecordingMetadataDevice } from './recording-metadata-device.js';

/** What `program` does to a device of `nrBlocks`, and the crash images of that. */
function crashes(
  nrBlocks: number,
  program: (device: RecordingMetadataDevice) => void,
  options: { seed?: number; imagesPerInterval?: number; onlyAtEnd?: boolean } = {},
): CrashImage[] {
  const initial = new Uint8Array(nrBlocks * BLOCK_SIZE);
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes: initial.slice() }));
  program(device);
  const images = [...crashImages({ initial, operations: device.operations, seed: 1, ...options })];
  expect(
    initial.every((byte) => byte === 0),
    'the initial image is not changed',
  ).toBe(true);
  return images;
}

it('tries each interval between flushes: nothing, everything, the last write alone, all but the last', () => {
  const images = crashes(
    4,
    (device) => {
      device.write(1, blocks(1, 2));
      device.flush();
      device.write(0, blocks(9));
      device.write(3, blocks(3));
      device.flush();
    },
    { imagesPerInterval: 4 },
  );
  expect(images.map(({ bytes, nrFlushes }) => [nrFlushes, ...valuesOf(bytes)])).toEqual([
    [0, 0, 0, 0, 0],
    [0, 0, 1, 2, 0],
    [0, 0, 0, 2, 0],
    [0, 0, 1, 0, 0],
    [1, 0, 1, 2, 0],
    [1, 9, 1, 2, 3],
    [1, 0, 1, 2, 3],
    [1, 9, 1, 2, 0],
    [2, 9, 1, 2, 3], // nothing in doubt: one image is enough
  ]);
  expect(images[6]?.description).toBe(
    'crash after flush 1 of 2: 1 of 2 block writes in doubt landed: 3 (seed 1, image 2 of the interval)',
  );
});

it('tries only a crash after the last operation when asked to', () => {
  const program = (device: RecordingMetadataDevice): void => {
    device.write(1, blocks(1));
    device.flush();
    device.write(0, blocks(9));
  };
  const images = crashes(2, program, { imagesPerInterval: 4, onlyAtEnd: true });
  expect(images.map(({ bytes }) => valuesOf(bytes))).toEqual([
    [0, 1],
    [9, 1],
    [9, 1],
    [0, 1],
  ]);
});

it('tears one block between its sectors, now and then', () => {
  const images = crashes(1, (device) => device.write(0, blocks(7)), { imagesPerInterval: 40 });
  const torn = images.map(({ bytes }) => valuesOf(bytes)[0]).filter((value) => typeof value !== 'number');
  expect(torn.length).toBeGreaterThan(5);
  for (const sectors of torn) expect(new Set(sectors)).toEqual(new Set([0, 7]));
  expect(images.find(({ description }) => description.includes('torn'))?.description).toMatch(/0 torn, sectors \[/);
});

it('gives the same images for the same seed, others for another', () => {
  const program = (device: RecordingMetadataDevice): void => device.write(0, blocks(1, 2, 3, 4, 5, 6, 7, 8));
  const ofSeed = (seed: number) => crashes(8, program, { seed }).map(({ bytes }) => valuesOf(bytes));
  expect(ofSeed(5)).toEqual(ofSeed(5));
  expect(ofSeed(5)).not.toEqual(ofSeed(6));
});

it('does not take a write for safe that came while an asynchronous flush was running', async () => {
  const initial = new Uint8Array(2 * BLOCK_SIZE);
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 2 }));
  device.write(0, blocks(1));
  const flushed = device.flushAsync();
  device.write(1, blocks(2));
  await flushed;
  const images = [...crashImages({ initial, operations: device.operations, seed: 1 })];
  const afterFlush = images.filter(({ nrFlushes }) => nrFlushes === 1).map(({ bytes }) => valuesOf(bytes));
  expect(afterFlush.map(([first]) => first)).toEqual(afterFlush.map(() => 1));
  expect(afterFlush[0]).toEqual([1, 0]);
  expect(afterFlush[1]).toEqual([1, 2]);
});

it('follows a device that grows', () => {
  const images = crashes(1, (device) => {
    device.write(0, blocks(1));
    device.grow(3);
    device.write(2, blocks(3));
    device.flush();
  });
  expect(valuesOf(images.at(-1)?.bytes ?? new Uint8Array())).toEqual([1, 0, 3]);
  expect(new Set(images.map(({ bytes }) => bytes.byteLength))).toEqual(new Set([3 * BLOCK_SIZE]));
});

it('needs a recording with bytes', () => {
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 1 }), { keepBytes: false });
  device.write(0, blocks(1));
  const images = crashImages({ initial: blocks(0), operations: device.operations, seed: 1 });
  expect(() => [...images]).toThrow(TypeError);
});

it('leaves in each sector what a flush covered or what a later write may have put there, never anything else', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ at: fc.nat(7), nr: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 1, arbitrary: fc.constant('flush' as const) },
  );
  const property = fc.property(fc.array(step, { maxLength: 25 }), fc.integer(), (steps, seed) => {
    // possible[i][blockNr]: the values a sector may have after i flushes and a crash
    const possible: Set<number>[][] = [Array.from({ length: 10 }, () => new Set([0]))];
    const latest: number[] = new Array(10).fill(0);
    const images = crashes(
      10,
      (device) => {
        steps.forEach((what, index) => {
          if (what === 'flush') {
            device.flush();
            possible.push(latest.map((value) => new Set([value])));
          } else {
            device.write(what.at, blocks(...new Array<number>(what.nr).fill(index + 1)));
            latest.fill(index + 1, what.at, what.at + what.nr);
            for (let nr = what.at; nr < what.at + what.nr; nr++) possible.at(-1)?.[nr]?.add(index + 1);
          }
        });
      },
      { seed, imagesPerInterval: 8 },
    );
    for (const { bytes, nrFlushes, description } of images) {
      valuesOf(bytes).forEach((value, blockNr) => {
        const allowed = possible[nrFlushes]?.[blockNr];
        for (const sector of [value].flat())
          expect(allowed?.has(sector), `block ${blockNr}, ${description}`).toBe(true);
      });
    }
  });
  fc.assert(property, { seed: 20261120, numRuns: 100 });
});

/**
 * A store of one value, as simple as copy-on-write can be: the value goes to a free block, then the superblock (block 0)
 * points there. The crash images must tell a right commit from the usual wrong ones.
 */
function commit(device: RecordingMetadataDevice, value: number, flushes: { before: boolean; after: boolean }): void {
  device.write(value, blocks(value));
  if (flushes.before) device.flush();
  device.write(0, blocks(value));
  if (flushes.after) device.flush();
  device.promise(`${value}`);
}

/** Whether `image` holds a whole value, promised last or on its way. A torn superblock counts as unreadable. */
function isFine({ bytes, lastPromise, nextPromise }: CrashImage): boolean {
  const values = valuesOf(bytes);
  const found = values[0];
  if (typeof found !== 'number') return true; // one sector holds the real superblock: it cannot tear
  return [lastPromise ?? '0', nextPromise].includes(`${found}`) && values[found] === found;
}

it.each([
  { which: 'a right commit', flushes: { before: true, after: true }, isRight: true },
  {
    which: 'a commit without the flush before its superblock',
    flushes: { before: false, after: true },
    isRight: false,
  },
  {
    which: 'a commit that returns before its superblock is durable',
    flushes: { before: true, after: false },
    isRight: false,
  },
])('judges $which', ({ flushes, isRight }) => {
  const images = crashes(5, (device) => {
    for (const value of [1, 2, 3, 4]) commit(device, value, flushes);
  });
  expect(images.length).toBeGreaterThan(20);
  expect(images.every(isFine)).toBe(isRight);
});
