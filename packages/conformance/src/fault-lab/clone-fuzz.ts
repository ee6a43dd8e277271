/** A clone's metadata for the fuzzer. Offsets: docs/format/clone.md, section 1. */
import {
  CloneMetadata,
  checkClone,
  cloneSuperblockValidator,
  type DumpOptions,
  dumpClone,
  freeCloneLeaks,
  repairClone,
  restoreClone,
} from '@pdata/clone';
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { type FormatStructure, seededRandom } from '@pdata/testing';
import { CORE_STRUCTURES, sealedBy, spaceMapRoot } from './format-tables.js';
import type { FuzzTarget } from './fuzz-targets.js';
import { cloneCommands } from './tool-fuzz.js';

const MOST_OUTPUT = 64 * 2 ** 20;

const cloneSuperblock: FormatStructure = {
  name: 'clone superblock',
  ...sealedBy(cloneSuperblockValidator),
  fields: [
    { name: 'flags', kind: 'flags', size: 4, at: 4 },
    { name: 'uuid', kind: 'number', size: 8, at: 16, count: () => 2 },
    { name: 'magic', kind: 'number', size: 8, at: 32 },
    { name: 'version', kind: 'number', size: 4, at: 40 },
    ...spaceMapRoot('metadata', 44),
    { name: 'region size', kind: 'size', size: 8, at: 172 },
    { name: 'target size', kind: 'count', size: 8, at: 180 },
    { name: 'bitset root', kind: 'pointer', size: 8, at: 188 },
  ],
};

function drain(generator: Iterator<unknown, unknown>): void {
  while (generator.next().done !== true);
}

function* dumped(device: MetadataDevice, options: DumpOptions = {}): Generator<Uint8Array> {
  let length = 0;
  for (const part of dumpClone(device, options)) {
    length += part.byteLength;
    if (length > MOST_OUTPUT) throw new Error(`a dump of more than ${MOST_OUTPUT} bytes`);
    yield part;
  }
}

export const target: FuzzTarget = {
  name: 'clone',
  structures: [...CORE_STRUCTURES, cloneSuperblock],
  readers: [
    { name: 'check', run: (device) => drain(checkClone(device)) },
    { name: 'dump', run: (device) => drain(dumped(device)) },
    { name: 'dump --repair', run: (device) => drain(dumped(device, { repair: true })) },
    { name: 'free leaks', writes: true, run: (device) => drain(freeCloneLeaks(device)) },
    { name: 'dump, then restore', run: restored },
    { name: 'repair', run: repaired },
    { name: 'open and change', writes: true, run: openAndChange },
    ...cloneCommands,
  ],
  async image(seed) {
    const random = seededRandom(seed);
    const device = new MemoryMetadataDevice({ nrBlocks: 64 });
    const regionSize = 8 << Math.floor(4 * random());
    const nrRegions = [90, 3000, 33_000, 70_000][Math.floor(4 * random())] as number;
    const metadata = CloneMetadata.format(device, { regionSize, targetSize: regionSize * nrRegions - 3 });
    for (let commit = 0; commit < 3; commit++) {
      for (let i = 0; i < 20; i++) {
        const begin = Math.floor(nrRegions * random());
        metadata.setRangeHydrated(begin, Math.min(nrRegions, begin + 1 + Math.floor(random() * 2000)));
      }
      metadata.commit();
    }
    metadata.close();
    return device.bytes;
  },
};

function restored(device: MetadataDevice): void {
  const onto = new MemoryMetadataDevice({ nrBlocks: 96 });
  drain(restoreClone(dumped(device), onto));
  for (const { message } of checkClone(onto)) throw new Error(`restored, the check says: ${message}`);
}

function repaired(device: MetadataDevice): void {
  const onto = new MemoryMetadataDevice({ nrBlocks: 96 });
  drain(repairClone(device, onto));
  for (const { message } of checkClone(onto)) throw new Error(`repaired, the check says: ${message}`);
}

function openAndChange(device: MetadataDevice): void {
  const metadata = CloneMetadata.open(device, { cacheBlocks: 64 });
  try {
    const first = metadata.nextUnhydrated(0);
    if (!metadata.isComplete) metadata.setHydrated(first);
    metadata.commit();
  } finally {
    metadata.close();
  }
}
