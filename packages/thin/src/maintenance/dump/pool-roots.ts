/**
 * Where a pool's trees begin, and what the small ones among them say: the superblock's figures, each device's record, each
 * device's root.
 *
 * Format: docs/format/thin.md, sections 1 and 2.
 */
import { BLOCK_SIZE, CorruptBlockError } from '@pdata/device';
import { Block, keyAt, nrEntries, u64At, valueOffset } from '@pdata/persistent-data';
import { DEVICE_DETAILS_SIZE } from '../../format/device-details.js';
import { NEEDS_CHECK, readThinSuperblock, thinSuperblockValidator } from '../../format/superblock.js';
import { NoMetadataSnapshotError } from '../no-metadata-snapshot-error.js';
import type { DumpedDevice, DumpedSuperblock } from './dump-writer.js';
import type { BlockSource } from './forgiving-source.js';
import { LeafWalk, type OnDamage } from './leaf-walk.js';
import { type NodeReader, requireChild, requireLeafOf, requireRange } from './node-reader.js';
import type { ThinDamageError } from './thin-damage.js';

export interface PoolDevice {
  /** Root of the device's own mapping tree. */
  readonly rootNr: number;
  readonly printed: DumpedDevice;
}

export interface PoolOutline {
  readonly superblock: DumpedSuperblock;
  /** Those to print, by ascending thin id. */
  readonly devices: readonly PoolDevice[];
  /** Blocks that a repairing dump passes over, because they are damaged or hold keys that belong elsewhere. */
  readonly bad: ReadonlySet<number>;
  /** A repairing dump leaves out mappings to this data block and above; infinite where there are none to leave out. */
  readonly endOfData: number;
  readonly lost: readonly ThinDamageError[];
}

/** Where the trees of a pool, or of its metadata snapshot, begin. */
export interface PoolRoots {
  readonly superblock: DumpedSuperblock;
  readonly mappingRoot: number;
  readonly detailsRoot: number;
}

/** @throws {@link CorruptBlockError} when the superblock, or the snapshot's copy of it, is damaged */
export function readRoots(device: BlockSource, ofSnapshot: boolean): PoolRoots {
  const live = readSuperblockAt(device, 0);
  if (!ofSnapshot) return rootsOf(live);
  const { heldRoot } = readThinSuperblock(live);
  if (heldRoot === 0) {
    throw new NoMetadataSnapshotError(
      `${device.name} holds no metadata snapshot: reserve one first (dmsetup message POOL 0 reserve_metadata_snap)`,
    );
  }
  if (heldRoot >= device.nrBlocks) {
    const expected = `below ${device.nrBlocks}`;
    throw new CorruptBlockError({
      structure: 'thin superblock',
      blockNr: 0,
      field: 'held root',
      found: heldRoot,
      expected,
    });
  }
  return rootsOf(readSuperblockAt(device, heldRoot));
}

function readSuperblockAt(device: BlockSource, blockNr: number): Block {
  const block = new Block(new Uint8Array(BLOCK_SIZE), blockNr);
  device.read(blockNr, block.bytes);
  thinSuperblockValidator.check(block);
  return block;
}

function rootsOf(block: Block): PoolRoots {
  const { time, transactionId, flags, version, dataBlockSize, mappingRoot, detailsRoot } = readThinSuperblock(block);
  // All 64 bits: the number is printed, and a damaged one must not be printed rounded. Zero in a metadata snapshot.
  const nrDataBlocks = block.view.getBigUint64(64, true);
  const needsCheck = (flags & NEEDS_CHECK) !== 0;
  return {
    superblock: { time, transactionId, needsCheck, version, dataBlockSize, nrDataBlocks },
    mappingRoot,
    detailsRoot,
  };
}

/** Every device's record, by ascending thin id. */
export function readDetails(reader: NodeReader, rootNr: number, onDamage: OnDamage): Map<number, DumpedDevice> {
  const details = new Map<number, DumpedDevice>();
  forEachEntry(reader, rootNr, DEVICE_DETAILS_SIZE, onDamage, (leaf, i) => {
    const at = valueOffset(leaf, i);
    const thinId = keyAt(leaf, i);
    details.set(thinId, {
      thinId,
      mappedBlocks: leaf.view.getBigUint64(at, true),
      transactionId: leaf.view.getBigUint64(at + 8, true),
      creationTime: leaf.view.getUint32(at + 16, true),
      snapshottedTime: leaf.view.getUint32(at + 20, true),
    });
  });
  return details;
}

/** The root of every device's mapping tree, by ascending thin id. */
export function readMappingRoots(reader: NodeReader, rootNr: number, onDamage: OnDamage): Map<number, number> {
  const roots = new Map<number, number>();
  forEachEntry(reader, rootNr, 8, onDamage, (leaf, i) => {
    const root = u64At(leaf.view, valueOffset(leaf, i));
    const thinId = keyAt(leaf, i);
    try {
      requireChild(leaf.nr, i, root, reader.nrBlocks);
    } catch (error) {
      onDamage(error as CorruptBlockError, leaf.nr, thinId, thinId + 1);
      return;
    }
    roots.set(thinId, root);
  });
  return roots;
}

/** Visits the entries of a small one-level tree in order. */
function forEachEntry(
  reader: NodeReader,
  rootNr: number,
  valueSize: number,
  onDamage: OnDamage,
  visit: (leaf: Block, index: number) => void,
): void {
  if (rootNr < 1 || rootNr >= reader.nrBlocks) {
    const error = { structure: 'thin superblock', blockNr: 0, field: 'tree root', found: rootNr };
    const expected = `a block from 1 to ${reader.nrBlocks - 1}`;
    onDamage(new CorruptBlockError({ ...error, expected }), rootNr, 0, Number.POSITIVE_INFINITY);
    return;
  }
  for (const batch of new LeafWalk(reader, onDamage).batches(rootNr)) {
    for (let i = 0; i < batch.nr; i++) {
      const [blockNr, low, high] = [batch.blockNrs[i]!, batch.lows[i]!, batch.highs[i]!];
      let leaf: Block;
      try {
        leaf = reader.node(blockNr);
        requireLeafOf(leaf, valueSize);
        requireRange(leaf, low, high);
      } catch (error) {
        if (!(error instanceof CorruptBlockError)) throw error;
        onDamage(error, blockNr, low, high);
        continue;
      }
      for (let entry = 0; entry < nrEntries(leaf); entry++) visit(leaf, entry);
    }
  }
}
