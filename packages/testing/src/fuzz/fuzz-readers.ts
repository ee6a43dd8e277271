/**
 * Runs readers over images that were changed on purpose. A reader may do its work, or refuse with an expected error; anything else is a
 * failure: another exception, more reading than any device of that size takes (a walk in circles), more memory than allowed.
 *
 * A loop that does not even read cannot be ended from inside; who expects one runs the fuzzer in a thread, and ends that.
 */
import { BLOCK_SIZE, MemoryMetadataDevice, type MetadataDevice, StoreError } from '@pdata/device';
import { inWords } from '../crash/in-words.js';
import { PassingMetadataDevice } from '../passing-devices.js';
import { type MutationOptions, mutatedImages } from './mutate-image.js';

export interface FuzzReader {
  readonly name: string;
  /** Whether it writes: it gets a copy of the image then. */
  readonly writes?: boolean;
  /** It is dear, and run on one image in so many. Default 1: on each. */
  readonly every?: number;
  run(device: MetadataDevice): void | Promise<void>;
}

export interface FuzzOptions extends MutationOptions {
  readonly readers: readonly FuzzReader[];
  /** How many images. */
  readonly images: number;
  /** What a reader may throw. Default: a `StoreError`. */
  readonly isExpected?: (error: unknown) => boolean;
  /** Blocks that a reader may read, as a multiple of the blocks of the device. Default 200. */
  readonly mostReads?: number;
  /** Milliseconds: who takes longer is told of. Default 500. */
  readonly slowAfter?: number;
  /** Told before each image, for whoever watches from outside. */
  readonly onImage?: (description: string) => void;
}

export interface FuzzReport {
  readonly nrImages: number;
  /** Of each reader: how often it did its work, and how often it refused. */
  readonly outcomes: Readonly<Record<string, { done: number; refused: number }>>;
  readonly failures: readonly string[];
  /** Slow runs, slowest first. */
  readonly slow: readonly { readonly milliseconds: number; readonly what: string }[];
  readonly slowest: number;
}

/** A reader reads on and on. */
class BudgetError extends Error {
  override readonly name = 'BudgetError';
}

/** Fuzzes readers; failures are reported, not thrown. */
export async function fuzzReaders(options: FuzzOptions): Promise<FuzzReport> {
  const { readers, images, isExpected = (error) => error instanceof StoreError, slowAfter = 500, seed } = options;
  const outcomes = Object.fromEntries(readers.map(({ name }) => [name, { done: 0, refused: 0 }]));
  const failures: string[] = [];
  const slow: { milliseconds: number; what: string }[] = [];
  let [nrImages, slowest] = [0, 0];
  for (const { bytes, description } of mutatedImages(options)) {
    if (nrImages === images) break;
    nrImages++;
    options.onImage?.(description);
    for (const [nr, reader] of readers.entries()) {
      // Not all dear ones on the same image.
      if ((nrImages + nr) % (reader.every ?? 1) !== 0) continue;
      const what = `${reader.name}, image ${nrImages} of seed ${seed}: ${description}`;
      const outcome = outcomes[reader.name] as { done: number; refused: number };
      const began = performance.now();
      try {
        await reader.run(deviceFor(reader, bytes, options.mostReads ?? 200));
        outcome.done++;
      } catch (error) {
        if (isExpected(error)) outcome.refused++;
        else failures.push(`${what}: ${inWords(error)}`);
      }
      const milliseconds = performance.now() - began;
      slowest = Math.max(slowest, milliseconds);
      if (milliseconds > slowAfter) slow.push({ milliseconds, what });
    }
  }
  slow.sort((a, b) => b.milliseconds - a.milliseconds);
  return { nrImages, outcomes, failures, slow, slowest };
}

function deviceFor({ writes = false }: FuzzReader, bytes: Uint8Array, mostReads: number): MetadataDevice {
  const memory = writes
    ? new MemoryMetadataDevice({ bytes: bytes.slice() })
    : new MemoryMetadataDevice({ bytes, readOnly: true });
  return new BudgetedDevice(memory, mostReads * memory.nrBlocks);
}

class BudgetedDevice extends PassingMetadataDevice {
  #blocksLeft: number;

  constructor(inner: MetadataDevice, mostBlocks: number) {
    super(inner);
    this.#blocksLeft = mostBlocks;
  }

  override read(firstBlockNr: number, into: Uint8Array): void {
    this.#blocksLeft -= into.byteLength / BLOCK_SIZE;
    if (this.#blocksLeft < 0) throw new BudgetError('it reads on and on: a walk in circles?');
    super.read(firstBlockNr, into);
  }
}
