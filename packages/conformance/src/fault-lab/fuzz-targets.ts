/** Everything of ours that the fuzzer is pointed at. A new target is one file (thin-fuzz.ts), and a line in fuzz-registry.ts. */
import { type FormatStructure, type FuzzReader, type FuzzReport, fuzzReaders } from '@pdata/testing';
import { removeCommandFiles } from './command-readers.js';

export interface FuzzTarget {
  readonly name: string;
  readonly structures: readonly FormatStructure[];
  readonly readers: readonly FuzzReader[];
  /** What is changed; a good one, of its own for each seed. Blocks of 4096 bytes. */
  image(seed: number): Promise<Uint8Array>;
}

/** Images made from one good one before the next is taken; fewer of large ones, which take as long. */
const IMAGES_OF_EACH = 100;
const FEW_IMAGES = 10;
const LARGE = 2 ** 20;

export async function fuzzTarget({ structures, readers, image: make }: FuzzTarget, seed: number): Promise<FuzzReport> {
  const image = await make(seed);
  const images = image.byteLength > LARGE ? FEW_IMAGES : IMAGES_OF_EACH;
  try {
    return await fuzzReaders({ image, structures, seed, images, readers });
  } finally {
    removeCommandFiles();
  }
}
