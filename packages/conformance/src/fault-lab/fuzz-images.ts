/** The images that the fuzzer begins with: pools that a kernel made, and pools of ours, small and of every shape. */
import { MemoryMetadataDevice } from '@pdata/device';
import { type FuzzReport, fuzzReaders, seededRandom } from '@pdata/testing';
import { ThinMetadata } from '@pdata/thin';
import { fixture } from '../fixtures.js';
import { STRUCTURES } from './format-tables.js';
import { ThinRun, subject as thinMetadata } from './thin-metadata-subject.js';
import { thinReaders } from './thin-readers.js';

/** Images made from one pool before the next one is taken. */
export const IMAGES_PER_POOL = 100;
/** Every so many pools one is a kernel's: they are larger, and each takes as long as many of ours. */
const KERNEL_EVERY = 10;
const KERNEL_POOLS = ['thin-basic', 'thin-metasnap', 'thin-powercut'] as const;

/** Fuzzes one pool's worth of images; `seed` decides which pool. */
export function fuzzPool(seed: number, onImage?: (description: string) => void): FuzzReport {
  const image = seed % KERNEL_EVERY === 0 ? kernelPool(seed / KERNEL_EVERY) : ownPool(seed);
  const watched = onImage === undefined ? {} : { onImage };
  const images = seed % KERNEL_EVERY === 0 ? IMAGES_PER_POOL / 10 : IMAGES_PER_POOL;
  return fuzzReaders({ ...watched, image, structures: STRUCTURES, seed, images, readers: thinReaders });
}

function kernelPool(nr: number): Uint8Array {
  return fixture(KERNEL_POOLS[nr % KERNEL_POOLS.length] as (typeof KERNEL_POOLS)[number]).metadata();
}

function ownPool(seed: number): Uint8Array {
  const device = new MemoryMetadataDevice(thinMetadata.media.metadata);
  void thinMetadata.prepare?.({ metadata: device }); // of metadata alone: done when it returns
  const metadata = ThinMetadata.open(device);
  const run = new ThinRun(metadata);
  const ending = [{ op: 'reserve' }, { op: 'commit' }] as const;
  for (const operation of [...thinMetadata.operations(seededRandom(seed)), ...ending])
    run.apply(operation, (commit) => commit());
  metadata.close();
  return device.bytes;
}
