import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { RandomSchedule, turned } from './random-schedule.js';
import { RecordingMetadataDevice } from './recording-metadata-device.js';
import { seededRandom } from './seeded-random.js';
import { SlowMetadataDevice } from './slow-metadata-device.js';

const blockOf = (value: number): Uint8Array => new Uint8Array(BLOCK_SIZE).fill(value);

it('keeps an asynchronous flush waiting, and nothing else', async () => {
  const schedule = new RandomSchedule(seededRandom(1));
  const below = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 4 }));
  const device = new SlowMetadataDevice(below, schedule.wait);
  device.write(1, blockOf(1));
  let isFlushed = false;
  const flushing = device.flushAsync().then(() => {
    isFlushed = true;
  });
  device.write(2, blockOf(2));
  device.flush();
  await turned();
  expect([below.summary, isFlushed]).toEqual([['write block 1', 'write block 2', 'flush'], false]);
  schedule.letGo();
  await flushing;
  expect(below.summary.at(-1)).toBe('flush');
  expect(below.nrOf('flush')).toBe(2);
});

it('lets the recording above it know that what was written during a flush is not covered by it', async () => {
  const schedule = new RandomSchedule(seededRandom(1));
  const device = new RecordingMetadataDevice(
    new SlowMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 4 }), schedule.wait),
  );
  device.write(1, blockOf(1));
  const flushing = device.flushAsync();
  device.write(2, blockOf(2));
  schedule.letGo();
  await flushing;
  expect(device.operations.at(-1)).toEqual({ op: 'flush', nrCovered: 1 });
});
