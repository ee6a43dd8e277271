import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { blocks, blocksOf } from '../test/blocks.js';
import { FaultyMetadataDevice } from './faulty-metadata-device.js';
import { RecordingMetadataDevice } from './recording-metadata-device.js';

const memory = (nrBlocks: number): MemoryMetadataDevice => new MemoryMetadataDevice({ nrBlocks, name: 'scratch' });

it('passes everything on, and tells the order in words', () => {
  const inner = memory(8);
  const device = new RecordingMetadataDevice(inner);
  device.write(3, blocks(1, 2));
  device.flush();
  device.write(0, blocks(9));
  device.flush();
  device.promise('commit 1');
  device.grow(10);
  expect(device.summary).toEqual([
    'write blocks 3..4',
    'flush',
    'write block 0',
    'flush',
    'promise commit 1',
    'grow to 10 blocks',
  ]);
  expect(blocksOf(inner)).toEqual([9, 0, 0, 1, 2, 0, 0, 0, 0, 0]);
  expect([device.name, device.nrBlocks, device.readOnly]).toEqual(['scratch', 10, false]);
});

it('counts requests and the blocks they move', () => {
  const device = new RecordingMetadataDevice(memory(8), { reads: true });
  device.write(3, blocks(1, 2));
  device.write(3, blocks(5));
  device.flush();
  device.read(0, new Uint8Array(8 * BLOCK_SIZE));
  expect([device.nrOf('write'), device.nrBlocksOf('write'), device.nrOf('flush')]).toEqual([2, 3, 1]);
  expect([device.nrOf('read'), device.nrBlocksOf('read')]).toEqual([1, 8]);
  device.clear();
  expect(device.operations).toEqual([]);
});

it('notes reads only when asked to', () => {
  const device = new RecordingMetadataDevice(memory(1));
  device.read(0, blocks(0));
  expect(device.summary).toEqual([]);
});

it('keeps the bytes as they were when written, from a Buffer too', () => {
  const device = new RecordingMetadataDevice(memory(1));
  const bytes = Buffer.from(blocks(4));
  device.write(0, bytes);
  bytes.fill(5);
  expect(device.operations[0]).toEqual({ op: 'write', firstBlockNr: 0, nrBlocks: 1, bytes: blocks(4) });
});

it('keeps no bytes when told so', () => {
  const device = new RecordingMetadataDevice(memory(1), { keepBytes: false });
  device.write(0, blocks(4));
  expect(device.operations).toEqual([{ op: 'write', firstBlockNr: 0, nrBlocks: 1, bytes: undefined }]);
});

it('notes an asynchronous flush when it is over, and that it covers only the writes before it began', async () => {
  const device = new RecordingMetadataDevice(memory(2), { keepBytes: false });
  device.write(0, blocks(1));
  const flushed = device.flushAsync();
  device.write(1, blocks(2));
  await flushed;
  device.flush();
  expect(device.summary).toEqual(['write block 0', 'write block 1', 'flush', 'flush']);
  expect(device.operations.slice(2)).toEqual([
    { op: 'flush', nrCovered: 1 },
    { op: 'flush', nrCovered: 3 },
  ]);
});

it('notes nothing that failed', async () => {
  const faulty = new FaultyMetadataDevice(memory(2), { operation: 'write', nth: 1 }, { operation: 'flush', nth: 1 });
  const device = new RecordingMetadataDevice(faulty, { reads: true });
  expect(() => device.write(0, blocks(1))).toThrow(DeviceError);
  expect(() => device.flush()).toThrow(DeviceError);
  await expect(device.flushAsync()).rejects.toThrow(DeviceError);
  expect(() => device.read(2, blocks(1))).toThrow(RangeError);
  expect(() => device.grow(1)).toThrow(RangeError);
  expect(device.operations).toEqual([]);
});

it('calls back at each operation it notes, so that a test can stop the world there', async () => {
  const seen: string[] = [];
  const device: RecordingMetadataDevice = new RecordingMetadataDevice(memory(2), {
    onOperation: ({ op }) => seen.push(`${op} ${device.operations.length}`),
  });
  device.write(0, blocks(1));
  await device.flushAsync();
  device.promise('commit 1');
  expect(seen).toEqual(['write 1', 'flush 2', 'promise 3']);
});
