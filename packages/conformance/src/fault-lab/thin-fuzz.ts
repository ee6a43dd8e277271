/** Pools' metadata for the fuzzer: images that a kernel made, and images of ours, small and of every shape. Offsets: docs/format/thin.md, section 1. */
import { MemoryMetadataDevice } from '@pdata/device';
import { type FormatStructure, seededRandom } from '@pdata/testing';
import { ThinMetadata, thinSuperblockValidator } from '@pdata/thin';
import { fixture } from '../fixtures.js';
import { CORE_STRUCTURES, sealedBy, spaceMapRoot } from './format-tables.js';
import type { FuzzTarget } from './fuzz-targets.js';
import { ThinRun, subject as thinMetadata } from './thin-metadata-subject.js';
import { thinReaders } from './thin-readers.js';
import { thinCommands } from './tool-fuzz.js';

/** Every so many pools one is a kernel's: they are larger, and each takes as long as many of ours. */
const KERNEL_EVERY = 10;
const KERNEL_POOLS = ['thin-basic', 'thin-metasnap', 'thin-powercut'] as const;

const thinSuperblock: FormatStructure = {
  name: 'thin superblock',
  ...sealedBy(thinSuperblockValidator),
  fields: [
    { name: 'flags', kind: 'flags', size: 4, at: 4 },
    { name: 'uuid', kind: 'number', size: 8, at: 16, count: () => 2 },
    { name: 'magic', kind: 'number', size: 8, at: 32 },
    { name: 'version', kind: 'number', size: 4, at: 40 },
    { name: 'time', kind: 'number', size: 4, at: 44 },
    { name: 'transaction id', kind: 'number', size: 8, at: 48 },
    { name: 'held root', kind: 'pointer', size: 8, at: 56 },
    ...spaceMapRoot('data', 64),
    ...spaceMapRoot('metadata', 192),
    { name: 'mapping root', kind: 'pointer', size: 8, at: 320 },
    { name: 'details root', kind: 'pointer', size: 8, at: 328 },
    { name: 'data block size', kind: 'size', size: 4, at: 336 },
    { name: 'metadata block size', kind: 'size', size: 4, at: 340 },
    { name: 'metadata nr blocks', kind: 'count', size: 8, at: 344 },
    { name: 'compat flags', kind: 'flags', size: 4, at: 352, count: () => 3 },
  ],
};

export const target: FuzzTarget = {
  name: 'thin',
  structures: [...CORE_STRUCTURES, thinSuperblock],
  readers: [...thinReaders, ...thinCommands],
  image: async (seed) => (seed % KERNEL_EVERY === 0 ? kernelPool(seed / KERNEL_EVERY) : ownPool(seed)),
};

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
