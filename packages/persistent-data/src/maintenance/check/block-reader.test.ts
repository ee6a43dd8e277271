import { BLOCK_SIZE, ClosedError, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice } from '@pdata/testing';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BlockReader } from './block-reader.js';

/** A device whose blocks begin with their own number. */
function numbered(nrBlocks: number): MemoryMetadataDevice {
  const device = new MemoryMetadataDevice({ nrBlocks });
  for (let nr = 0; nr < nrBlocks; nr++) device.write(nr, new Uint8Array(BLOCK_SIZE).fill(nr & 0xff));
  return device;
}

it('hands out every block asked for, once and in order', () => {
  const device = numbered(600);
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(599), { maxLength: 200 }), (wanted) => {
      const numbers = Uint32Array.from(wanted).sort();
      const reader = new BlockReader(device);
      const seen: number[] = [];
      for (const { from, to } of reader.runs(numbers)) {
        for (let i = from; i < to; i++) {
          const block = reader.block(numbers[i] as number);
          if (block instanceof DeviceError) throw block;
          expect([block.nr, block.bytes[100]]).toEqual([numbers[i], (numbers[i] as number) & 0xff]);
          seen.push(block.nr);
        }
      }
      expect(seen).toEqual([...numbers]);
    }),
    { seed: 2, numRuns: 50 },
  );
});

it('reads neighbours in one go', () => {
  const device = new FaultyMetadataDevice(numbered(600));
  const reader = new BlockReader(device);
  const numbers = Uint32Array.from({ length: 300 }, (_, i) => 2 * i);
  expect([...reader.runs(numbers)]).toHaveLength(3); // 600 blocks, 256 at a time
  expect(device.nrDone('read')).toBe(3);
});

it('loses one block only when the device cannot read one', () => {
  const reader = new BlockReader(new FaultyMetadataDevice(numbered(50), { operation: 'read', blockNr: 7 }));
  const numbers = Uint32Array.of(5, 6, 7, 8);
  for (const { from, to } of reader.runs(numbers)) {
    expect([from, to]).toEqual([0, 4]);
    expect([...numbers].map((nr) => reader.block(nr) instanceof DeviceError)).toEqual([false, false, true, false]);
  }
  expect(reader.readOne(7)).toBeInstanceOf(DeviceError);
  expect(reader.readOne(8)).toMatchObject({ nr: 8 });
});

it('does not take a closed device for a bad block', () => {
  const device = numbered(5);
  device.close();
  expect(() => new BlockReader(device).readOne(1)).toThrow(ClosedError);
});
