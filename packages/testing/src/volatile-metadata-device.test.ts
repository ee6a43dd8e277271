import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { blocks } from '../test/blocks.js';
import { PassingMetadataDevice } from './passing-devices.js';
import { VolatileMetadataDevice } from './volatile-metadata-device.js';

/** What a block is full of; undefined for a torn one. */
function valuesOf(image: Uint8Array): (number | undefined)[] {
  return Array.from({ length: image.byteLength / BLOCK_SIZE }, (_, nr) => {
    const block = image.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    return block.every((byte) => byte === block[0]) ? block[0] : undefined;
  });
}

it('keeps what was flushed, and any part of the rest, torn perhaps, on whatever device it is', () => {
  const inner = new MemoryMetadataDevice({ nrBlocks: 4 });
  inner.write(3, blocks(9));
  const device = new VolatileMetadataDevice(new PassingMetadataDevice(inner));
  device.write(0, blocks(1));
  device.flush();
  device.write(0, blocks(2, 2));
  device.grow(5);
  const found = Array.from({ length: 200 }, (_, seed) => valuesOf(device.crash(seed)));
  const of = (nr: number): Set<number | undefined> => new Set(found.map((values) => values[nr]));
  expect(of(0)).toEqual(new Set([1, 2, undefined]));
  expect(of(1)).toEqual(new Set([0, 2, undefined]));
  expect([of(2), of(3), of(4)]).toEqual([new Set([0]), new Set([9]), new Set([0])]);
  expect(device.crash(7)).toEqual(device.crash(7));
});

it('does not cover with an asynchronous flush what was written while that ran', async () => {
  let end = (): void => {};
  const delay = (): Promise<void> =>
    new Promise((resolve) => {
      end = resolve;
    });
  const device = new VolatileMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 2 }), delay);
  device.write(0, blocks(1));
  const flushing = device.flushAsync();
  device.write(1, blocks(2));
  end();
  await flushing;
  const found = Array.from({ length: 100 }, (_, seed) => valuesOf(device.crash(seed)));
  expect(new Set(found.map(([first]) => first))).toEqual(new Set([1]));
  expect(new Set(found.map(([, second]) => second))).toEqual(new Set([0, 2, undefined]));
});
