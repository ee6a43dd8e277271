/** Everything that reads a pool's metadata, for the fuzzer: library functions, as the commands use them. */
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import type { FuzzReader } from '@pdata/testing';
import { checkThin, type DumpOptions, dumpThin, listThin, repairThin, restoreThin, ThinMetadata } from '@pdata/thin';

/** A hostile pool of some hundred blocks may have many devices share what there is; more output than this is no dump any more. */
const MOST_OUTPUT = 128 * 2 ** 20;
const MOST_RANGES = 20_000;

function drain(generator: Iterator<unknown, unknown>): void {
  while (generator.next().done !== true);
}

function* dumped(device: MetadataDevice, options: DumpOptions): Generator<Uint8Array> {
  let length = 0;
  for (const part of dumpThin(device, options)) {
    length += part.byteLength;
    if (length > MOST_OUTPUT) throw new Error(`a dump of more than ${MOST_OUTPUT} bytes`);
    yield part;
  }
}

export const thinReaders: readonly FuzzReader[] = [
  { name: 'check', run: (device) => drain(checkThin(device)) },
  { name: 'check --skip-mappings', run: (device) => drain(checkThin(device, { skipMappings: true })) },
  { name: 'check --metadata-snap', run: (device) => drain(checkThin(device, { metadataSnapshot: true })) },
  { name: 'repair', writes: true, run: repair },
  { name: 'dump', run: (device) => drain(dumped(device, {})) },
  { name: 'dump --repair', run: (device) => drain(dumped(device, { repair: true })) },
  {
    name: 'dump --metadata-snap',
    run: (device) => drain(dumped(device, { metadataSnapshot: true, format: 'human_readable' })),
  },
  { name: 'ls', run: (device) => drain(listThin(device)) },
  { name: 'dump --repair, then restore', run: restore },
  { name: 'open and read', run: openAndRead },
  { name: 'open and change', writes: true, run: openAndChange },
];

/** What is repaired has to be clean then. */
function repair(device: MetadataDevice): void {
  const findings = repairThin(device);
  let step = findings.next();
  while (step.done !== true) step = findings.next();
  const { repaired, needsCheckCleared } = step.value;
  if (repaired.data + repaired.metadata === 0 && !needsCheckCleared) return;
  for (const { severity, message } of checkThin(device))
    if (severity !== 'shape') throw new Error(`repaired, the check says: ${message}`);
}

/** What a repairing dump prints can be restored, and is clean, unless the restore refuses it. */
function restore(device: MetadataDevice): void {
  const target = new MemoryMetadataDevice({ nrBlocks: 256 });
  try {
    drain(restoreThin(dumped(device, { repair: true }), target));
  } catch (error) {
    if (error instanceof NoSpaceError) return;
    throw error;
  }
  for (const { message } of checkThin(target)) throw new Error(`restored, the check says: ${message}`);
}

function openAndRead(device: MetadataDevice): void {
  const metadata = ThinMetadata.open(device, { cacheBlocks: 64 });
  let nr = 0;
  for (const { thinId } of metadata.devices()) {
    for (const { end } of metadata.mappedRanges(thinId)) {
      if (nr++ > MOST_RANGES) return;
      metadata.find(thinId, end - 1);
    }
    metadata.highestMapped(thinId);
  }
  metadata.close();
}

function openAndChange(device: MetadataDevice): void {
  const metadata = ThinMetadata.open(device, { cacheBlocks: 64 });
  try {
    const [first] = metadata.devices();
    metadata.createThin(0x123456);
    for (let block = 0; block < 40; block += 13) metadata.insert(0x123456, block, metadata.allocateDataBlock());
    if (first !== undefined) {
      metadata.createSnapshot(0x123457, first.thinId);
      const range = metadata.findRange(first.thinId, 0, 2 ** 40, 8);
      if (range !== undefined) metadata.removeRange(first.thinId, range.begin, range.end);
      metadata.commit();
      metadata.deleteDevice(first.thinId);
    }
    metadata.commit();
  } finally {
    metadata.close();
  }
}
