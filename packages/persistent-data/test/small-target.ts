/**
 * The smallest target there can be: a superblock that remembers the metadata space map, perhaps a data space map, and the
 * roots of trees by number. What tests of whole transactions commit, abort, reopen and audit.
 *
 *   offset  size   field
 *        0     4   checksum    constant 20261120
 *        8     8   blockNr     0
 *       32     8   magic       0x74657374 ("test")
 *       40     8   data        1 when there is a data space map
 *       48     8   nrRoots
 *       64   128   metadata space map
 *      192   128   data space map
 *      320  8 nr   roots
 */
import type { MetadataDevice } from '@pdata/device';
import {
  type Block,
  BlockManager,
  type BlockManagerOptions,
  type BlockValidator,
  checkHomeAndChecksum,
  createTransactionManagerOn,
  DataSpaceMap,
  openTransactionManagerOn,
  readSpaceMapRoot,
  sealHomeAndChecksum,
  setU64At,
  type TransactionManager,
  u64At,
  writeSpaceMapRoot,
} from '@pdata/persistent-data';
import { expect } from 'vitest';

const XOR = 20261120;
const MAGIC = 0x74657374;
const AT = { blockNr: 8, magic: 32, data: 40, nrRoots: 48, metadataMap: 64, dataMap: 192, roots: 320 } as const;
/** All of it lies in one block; the fields are small, so that a torn write could not mix two. */
const MAX_ROOTS = 400;

export const superblockValidator: BlockValidator = {
  structure: 'test superblock',
  check: (block) => checkHomeAndChecksum(block, 'test superblock', AT.blockNr, XOR),
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, XOR),
};

export class SmallTarget {
  readonly blocks: BlockManager;
  tm!: TransactionManager;
  data: DataSpaceMap | undefined;
  /** Written by `commit`, read back by `open` and `abort`. */
  roots: number[] = [];

  private constructor(blocks: BlockManager) {
    this.blocks = blocks;
  }

  /** A formatted device; with `dataBlocks`, with a data space map for so many. Committed. */
  static format(device: MetadataDevice, options: BlockManagerOptions & { dataBlocks?: number } = {}): SmallTarget {
    const target = new SmallTarget(new BlockManager(device, options));
    target.tm = createTransactionManagerOn(target.blocks);
    if (options.dataBlocks !== undefined) {
      target.data = DataSpaceMap.create(target.tm);
      target.data.extend(options.dataBlocks);
    }
    target.#commit(true);
    return target;
  }

  static open(device: MetadataDevice, options?: BlockManagerOptions): SmallTarget {
    const target = new SmallTarget(new BlockManager(device, options));
    target.#load();
    return target;
  }

  commit(): void {
    this.#commit(false);
  }

  /** Drops the transaction: everything as of the last commit. */
  abort(): void {
    this.blocks.drop();
    this.#load();
  }

  #commit(formatting: boolean): void {
    this.data?.settle();
    this.tm.preCommit();
    const metadataRoot = this.tm.spaceMap.root;
    const dataRoot = this.data?.root;
    expect(this.roots.length).toBeLessThanOrEqual(MAX_ROOTS);
    const fill = ({ view }: Block): void => {
      setU64At(view, AT.magic, MAGIC);
      setU64At(view, AT.data, dataRoot === undefined ? 0 : 1);
      setU64At(view, AT.nrRoots, this.roots.length);
      writeSpaceMapRoot(view, AT.metadataMap, metadataRoot);
      if (dataRoot !== undefined) writeSpaceMapRoot(view, AT.dataMap, dataRoot);
      this.roots.forEach((root, i) => {
        setU64At(view, AT.roots + 8 * i, root);
      });
    };
    this.tm.commit(superblockValidator, fill, { formatting });
    this.data?.committed();
  }

  #load(): void {
    const { view } = this.blocks.read(0, superblockValidator);
    expect(u64At(view, AT.magic)).toBe(MAGIC);
    const hasData = u64At(view, AT.data) === 1;
    const dataRoot = readSpaceMapRoot(view, AT.dataMap);
    const metadataRoot = readSpaceMapRoot(view, AT.metadataMap);
    this.roots = Array.from({ length: u64At(view, AT.nrRoots) }, (_, i) => u64At(view, AT.roots + 8 * i));
    this.tm = openTransactionManagerOn(this.blocks, metadataRoot);
    this.data = hasData ? DataSpaceMap.open(this.tm, dataRoot) : undefined;
  }
}
