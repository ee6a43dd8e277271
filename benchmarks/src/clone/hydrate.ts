/**
 * A contender as a program: hydrate METADATA SOURCE DESTINATION REGION-SECTORS THRESHOLD BATCH SEED READS-A-SECOND
 *
 * Makes a clone, and ends when all of it is hydrated and committed; with a threshold of 0, which hydrates nothing, after two seconds. Meanwhile somebody uses it: reads of 4 KiB at random places,
 * so many a second, begun when they are due whether or not those before have ended. Prints how long they took, as JSON, counted
 * from when each was due: so a program that is too busy to begin them does not get away with it.
 */
import { CloneDevice } from '@pdata/clone';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';

export interface ForegroundReads {
  readonly nrReads: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

const READ_SIZE = 4096;
/** Milliseconds. */
const AT_REST = 2000;

async function main([metadataPath, sourcePath, destinationPath, ...numbers]: string[]): Promise<void> {
  const [regionSize, hydrationThreshold, hydrationBatchSize, seed, readsASecond] = numbers.map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const source = await openFileDataDevice(sourcePath as string, { mode: 'read' });
  const create = { size: source.size };
  const destination = await openFileDataDevice(destinationPath as string, { mode: 'write', create });
  const metadata = openFileMetadataDevice(metadataPath as string, { mode: 'write', create: { nrBlocks: 4096 } });
  const options = { regionSize, hydrationThreshold, hydrationBatchSize };
  const clone = await CloneDevice.format(metadata, { source, destination }, options);
  const complete = new Promise<void>((resolve) => clone.on('complete', () => resolve()));
  const stopReading = new AbortController();
  const reading = readInForeground(clone, seed, readsASecond, stopReading.signal);
  if (hydrationThreshold === 0) await new Promise((resolve) => setTimeout(resolve, AT_REST));
  else await complete;
  stopReading.abort();
  const reads = await reading;
  await clone.close();
  await destination.close();
  await source.close();
  metadata.close();
  process.stdout.write(`${JSON.stringify(reads)}\n`);
}

async function readInForeground(
  clone: CloneDevice,
  seed: number,
  aSecond: number,
  stopped: AbortSignal,
): Promise<ForegroundReads> {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Knuth's linear congruential generator
    return state / 2 ** 32;
  };
  const nrPlaces = clone.size / READ_SIZE;
  const millis: number[] = [];
  const reads: Promise<void>[] = [];
  const interval = 1000 / aSecond;
  for (let due = performance.now() + interval; !stopped.aborted; due += interval) {
    const early = due - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    const offset = Math.floor(next() * nrPlaces) * READ_SIZE;
    const from = Math.min(due, performance.now()); // a timer may be a little early
    reads.push(
      clone.read(offset, new Uint8Array(READ_SIZE)).then(() => {
        millis.push(performance.now() - from);
      }),
    );
  }
  await Promise.all(reads);
  millis.sort((a, b) => a - b);
  const at = (part: number): number => millis[Math.min(millis.length - 1, Math.floor(part * millis.length))] ?? 0;
  return { nrReads: millis.length, p50: at(0.5), p99: at(0.99), longest: at(1) };
}

await main(process.argv.slice(2));
