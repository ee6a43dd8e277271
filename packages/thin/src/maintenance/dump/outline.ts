/**
 * What a dump knows of a pool before it reads any mapping: the superblock's figures, and each device's record and root.
 *
 * Details tree and upper mapping tree must name the same devices. A dump that passed over a device which only one of them
 * knows would lose it without a word.
 *
 * Format: docs/format/thin.md, sections 1 and 2.
 */
import type { CorruptBlockError } from '@pdata/device';
import type { DumpOptions } from './dump-options.js';
import type { DumpedSuperblock } from './dump-writer.js';
import { type BlockSource, ForgivingSource } from './forgiving-source.js';
import type { OnDamage } from './leaf-walk.js';
import { corruptNode, type NodeReader } from './node-reader.js';
import { type PoolOutline, type PoolRoots, readDetails, readMappingRoots, readRoots } from './pool-roots.js';
import { salvage } from './salvage.js';
import { ThinDamageError } from './thin-damage.js';

/** Reads what a dump with `options` needs to know first; a forgiving source is one to be repaired. */
export function readOutline(device: BlockSource, reader: NodeReader, options: DumpOptions): PoolOutline {
  const outline =
    device instanceof ForgivingSource ? salvage(device, reader, options) : intact(device, reader, options);
  const wanted = options.devices && !options.skipMappings ? new Set(options.devices) : undefined;
  return {
    ...outline,
    // thin_dump passes over the overrides when it prints a metadata snapshot.
    superblock: options.metadataSnapshot ? outline.superblock : overridden(outline.superblock, options),
    devices: wanted ? outline.devices.filter(({ printed }) => wanted.has(printed.thinId)) : outline.devices,
  };
}

function overridden(superblock: DumpedSuperblock, options: DumpOptions): DumpedSuperblock {
  return {
    ...superblock,
    transactionId: larger(superblock.transactionId, options.transactionId ?? 0n),
    dataBlockSize: options.dataBlockSize ?? superblock.dataBlockSize,
    nrDataBlocks: larger(superblock.nrDataBlocks, BigInt(options.nrDataBlocks ?? 0)),
  };
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);

function intact(device: BlockSource, reader: NodeReader, options: DumpOptions): PoolOutline {
  const roots = readRoots(device, options.metadataSnapshot ?? false);
  const incomplete = (what: string): OnDamage => {
    return (error) => {
      throw wholePool(error, `${what} cannot be read, so nothing can be dumped`);
    };
  };
  const details = readDetails(reader, roots.detailsRoot, incomplete('the records of the thin devices'));
  const mappingRoots = readMappingRoots(reader, roots.mappingRoot, incomplete('the list of mapping trees'));
  requireSameDevices(details, mappingRoots, roots);
  const devices = [...mappingRoots].map(([thinId, rootNr]) => ({ rootNr, printed: details.get(thinId)! }));
  return { superblock: roots.superblock, devices, bad: new Set(), endOfData: Number.POSITIVE_INFINITY, lost: [] };
}

/** Damage that concerns every device. */
function wholePool(error: CorruptBlockError, effect: string): ThinDamageError {
  const nextStep = 'run thin_check to see the whole damage, or dump with --repair to save what can be read';
  return new ThinDamageError(error.detail, { thinId: undefined, effect, nextStep });
}

function requireSameDevices(details: Map<number, unknown>, roots: Map<number, number>, at: PoolRoots): void {
  const refuse = (thinId: number, blockNr: number, missing: string, present: string): never => {
    const error = corruptNode(blockNr, `thin device ${thinId}`, 'missing', `present, as in the ${present} tree`);
    throw wholePool(error, `${missing} of thin device ${thinId} is lost`);
  };
  for (const thinId of roots.keys()) {
    if (!details.has(thinId)) refuse(thinId, at.detailsRoot, 'the record', 'mapping');
  }
  for (const thinId of details.keys()) {
    if (!roots.has(thinId)) refuse(thinId, at.mappingRoot, 'the mapping tree', 'details');
  }
}
