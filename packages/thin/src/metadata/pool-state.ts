/**
 * Everything a pool's metadata is in memory: what the last committed superblock says, and the trees and space maps opened
 * from it. Made whole by opening or formatting, thrown away whole by an abort.
 *
 * Format: docs/format/thin.md, sections 1 to 3.
 */
import { CorruptBlockError } from '@pdata/device';
import {
  type BlockManager,
  BTree,
  createTransactionManagerOn,
  DataSpaceMap,
  NestedBTree,
  openTransactionManagerOn,
  type TransactionManager,
} from '@pdata/persistent-data';
import { MAX_DATA_BLOCKS } from '../format/block-time.js';
import { type DeviceDetails, deviceDetailsType } from '../format/device-details.js';
import { checkDataBlockSize, metadataReserve } from '../format/limits.js';
import {
  readThinSuperblock,
  THIN_VERSION,
  type ThinSuperblock,
  thinSuperblockValidator,
  writeThinSuperblock,
} from '../format/superblock.js';
import { type MappingValue, mappingType } from './mapping-type.js';

/**
 * A device's record as this transaction sees it. Its entry in the details tree is this transaction's own from the first
 * change on (see `markChanged`), and is overwritten by the commit.
 */
export interface OpenDetails {
  mappedBlocks: number;
  readonly transactionId: bigint;
  readonly creationTime: number;
  snapshottedTime: number;
  changed: boolean;
}

export class PoolState {
  readonly tm: TransactionManager;
  /** As last committed, except `time`, `transactionId`, `heldRoot` and `flags`, which this transaction changes here. */
  readonly superblock: ThinSuperblock;
  readonly dataSpaceMap: DataSpaceMap;
  readonly mappings: NestedBTree<MappingValue>;
  readonly details: BTree<DeviceDetails>;
  readonly openDetails = new Map<number, OpenDetails>();

  private constructor(
    tm: TransactionManager,
    superblock: ThinSuperblock,
    dataSpaceMap: DataSpaceMap,
    roots: { mappings?: number; details?: number },
  ) {
    this.tm = tm;
    this.superblock = superblock;
    this.dataSpaceMap = dataSpaceMap;
    const type = mappingType(dataSpaceMap);
    this.mappings =
      roots.mappings === undefined ? NestedBTree.create(tm, 2, type) : new NestedBTree(tm, 2, type, roots.mappings);
    this.details =
      roots.details === undefined
        ? BTree.create(tm, deviceDetailsType)
        : new BTree(tm, deviceDetailsType, roots.details);
  }

  /** From the superblock on the device. @throws {@link CorruptBlockError} */
  static open(blocks: BlockManager): PoolState {
    return PoolState.openAt(blocks, readThinSuperblock(blocks.read(0, thinSuperblockValidator)));
  }

  /** What `committed` describes, whatever block 0 may hold by now. @throws {@link CorruptBlockError} */
  static openAt(blocks: BlockManager, committed: ThinSuperblock): PoolState {
    const superblock = { ...committed };
    refuseNonsense(superblock);
    const tm = openTransactionManagerOn(blocks, superblock.metadataSpaceMap);
    const dataSpaceMap = DataSpaceMap.open(tm, superblock.dataSpaceMap);
    return new PoolState(tm, superblock, dataSpaceMap, {
      mappings: superblock.mappingRoot,
      details: superblock.detailsRoot,
    });
  }

  /** New and empty, in the order in which the kernel lays out its blocks. Nothing is written before the commit. */
  static format(blocks: BlockManager, dataBlockSize: number): PoolState {
    const tm = createTransactionManagerOn(blocks);
    const dataSpaceMap = DataSpaceMap.create(tm);
    const none = { nrBlocks: 0, nrAllocated: 0, bitmapRoot: 0, refCountRoot: 0 };
    return new PoolState(
      tm,
      {
        flags: 0,
        uuid: new Uint8Array(16),
        version: THIN_VERSION,
        time: 0,
        transactionId: 0n,
        heldRoot: 0,
        dataSpaceMap: none,
        metadataSpaceMap: none,
        mappingRoot: 0,
        detailsRoot: 0,
        dataBlockSize,
        metadataBlockSize: 8,
        metadataNrBlocks: tm.spaceMap.nrBlocks,
        compatFlags: 0,
        compatRoFlags: 0,
        incompatFlags: 0,
      },
      dataSpaceMap,
      {},
    );
  }

  /**
   * Metadata blocks that a commit would allocate now, at most. The entries that it writes back (records, bitmaps of the data
   * space map) are in blocks of this transaction already; but to overwrite one may still split a full node above it, which
   * only trees of hundreds of leaves have.
   */
  get nrBlocksToCommit(): number {
    const { nrBlocksToSettle, nrBlocks } = this.tm.spaceMap;
    return nrBlocksToSettle === 0 ? 0 : nrBlocksToSettle + Math.min(8, Math.floor(metadataReserve(nrBlocks) / 4));
  }

  /** Writes this transaction: records, space maps, blocks, flush, superblock, flush. */
  commit(how: { formatting?: boolean } = {}): void {
    this.#writeBack();
    this.tm.preCommit();
    this.#takeRoots();
    this.tm.commit(thinSuperblockValidator, (block) => writeThinSuperblock(block, this.superblock), how);
    this.dataSpaceMap.committed();
  }

  /** As {@link commit}, without holding up the event loop. Nothing may be changed before it has settled; looking goes on. */
  async commitAsync(): Promise<void> {
    this.#writeBack();
    await this.tm.preCommitAsync();
    this.#takeRoots();
    await this.tm.commitAsync(thinSuperblockValidator, (block) => writeThinSuperblock(block, this.superblock));
    this.dataSpaceMap.committed();
  }

  #writeBack(): void {
    for (const [thinId, details] of this.openDetails) {
      if (!details.changed) continue;
      this.details.insert(thinId, details);
      details.changed = false;
    }
    this.tm.blocks.hold(() => this.dataSpaceMap.settle());
  }

  #takeRoots(): void {
    const { superblock } = this;
    superblock.dataSpaceMap = this.dataSpaceMap.root;
    superblock.metadataSpaceMap = this.tm.spaceMap.root;
    superblock.mappingRoot = this.mappings.root;
    superblock.detailsRoot = this.details.root;
  }
}

/** What a checksum cannot vouch for. */
function refuseNonsense(superblock: ThinSuperblock): void {
  const refuse = (field: string, found: number, expected: string): never => {
    throw new CorruptBlockError({ structure: 'thin superblock', blockNr: 0, field, found, expected });
  };
  const sizeProblem = checkDataBlockSize(superblock.dataBlockSize);
  if (sizeProblem !== undefined) refuse('data block size', superblock.dataBlockSize, sizeProblem);
  if (superblock.dataSpaceMap.nrBlocks > MAX_DATA_BLOCKS) {
    refuse('data blocks', superblock.dataSpaceMap.nrBlocks, `at most ${MAX_DATA_BLOCKS}`);
  }
}
