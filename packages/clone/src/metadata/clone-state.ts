/**
 * Everything a clone's metadata is in memory besides its maps of regions: what the last committed superblock says, the space
 * map and the bitset opened from it. Made whole by opening or formatting, thrown away whole by an abort.
 *
 * Format: docs/format/clone.md, sections 1 and 2.
 */
import { CorruptBlockError } from '@pdata/device';
import {
  Bitset,
  type Block,
  type BlockManager,
  createTransactionManagerOn,
  openTransactionManagerOn,
  type TransactionManager,
} from '@pdata/persistent-data';
import { checkRegionSize, checkTargetSize, nrRegionsFor } from '../format/limits.js';
import {
  CLONE_VERSION,
  type CloneSuperblock,
  cloneSuperblockValidator,
  writeCloneSuperblock,
} from '../format/superblock.js';
import type { DirtyRegions } from './dirty-regions.js';

export class CloneState {
  readonly tm: TransactionManager;
  readonly bitset: Bitset;
  /** As last committed. */
  readonly superblock: CloneSuperblock;

  private constructor(tm: TransactionManager, bitset: Bitset, superblock: CloneSuperblock) {
    this.tm = tm;
    this.bitset = bitset;
    this.superblock = superblock;
  }

  /** What `committed` describes, whatever block 0 may hold by now. @throws {@link CorruptBlockError} */
  static openAt(blocks: BlockManager, committed: CloneSuperblock): CloneState {
    refuseNonsense(committed);
    const { metadataSpaceMap, bitsetRoot, targetSize, regionSize } = committed;
    const tm = openTransactionManagerOn(blocks, metadataSpaceMap);
    return new CloneState(tm, new Bitset(tm, bitsetRoot, nrRegionsFor(targetSize, regionSize)), { ...committed });
  }

  /** New, no region hydrated, in the order in which the kernel lays out its blocks. Nothing is written before the commit. */
  static format(blocks: BlockManager, regionSize: number, targetSize: number): CloneState {
    const tm = createTransactionManagerOn(blocks);
    const bitset = Bitset.create(tm, nrRegionsFor(targetSize, regionSize));
    return new CloneState(tm, bitset, {
      version: CLONE_VERSION,
      metadataSpaceMap: tm.spaceMap.root,
      regionSize,
      targetSize,
      bitsetRoot: bitset.root,
    });
  }

  /** Writes this transaction: bits, space map, blocks, flush, superblock, flush. */
  commit(dirty: DirtyRegions, how: { formatting?: boolean } = {}): void {
    this.#setBits(dirty);
    this.tm.preCommit();
    this.#takeRoots();
    this.tm.commit(cloneSuperblockValidator, (block) => this.#fill(block), how);
  }

  /** As {@link commit}, without holding up the event loop. */
  async commitAsync(dirty: DirtyRegions): Promise<void> {
    this.#setBits(dirty);
    await this.tm.preCommitAsync();
    this.#takeRoots();
    await this.tm.commitAsync(cloneSuperblockValidator, (block) => this.#fill(block));
  }

  #setBits(dirty: DirtyRegions): void {
    for (const { begin, end } of dirty.wordRuns()) this.bitset.setInWords(dirty.bits, begin, end);
  }

  #takeRoots(): void {
    this.superblock.metadataSpaceMap = this.tm.spaceMap.root;
    this.superblock.bitsetRoot = this.bitset.root;
  }

  #fill(block: Block): void {
    writeCloneSuperblock(block, this.superblock);
  }
}

/** What a checksum cannot vouch for. */
function refuseNonsense({ regionSize, targetSize }: CloneSuperblock): void {
  const refuse = (field: string, found: number, expected: string): never => {
    throw new CorruptBlockError({ structure: 'clone superblock', blockNr: 0, field, found, expected });
  };
  const regionProblem = checkRegionSize(regionSize);
  if (regionProblem !== undefined) refuse('region size', regionSize, regionProblem);
  const targetProblem = checkTargetSize(targetSize, regionSize);
  if (targetProblem !== undefined) refuse('target size', targetSize, targetProblem);
}
