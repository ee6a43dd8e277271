/**
 * A target of the lab's own on the core alone: some trees, a data space map whose blocks the trees' values are, one superblock.
 *
 *   offset  size   field
 *        0     4   checksum   constant 20261128
 *        8     8   blockNr    0
 *       16     8   nrRoots
 *       64   128   metadata space map
 *      192   128   data space map
 *      320  8 nr   roots of the trees
 */
import type { MetadataDevice } from '@pdata/device';
import {
  type Block,
  BlockManager,
  type BlockValidator,
  BTree,
  checkHomeAndChecksum,
  createTransactionManagerOn,
  DataSpaceMap,
  openTransactionManagerOn,
  readSpaceMapRoot,
  type SpaceMapRoot,
  sealHomeAndChecksum,
  setU64At,
  type TransactionManager,
  u64At,
  type ValueType,
  writeSpaceMapRoot,
} from '@pdata/persistent-data';

const XOR = 20261128;
const AT = { blockNr: 8, nrRoots: 16, metadataMap: 64, dataMap: 192, roots: 320 } as const;

/** Nine values a leaf: trees of several levels in few blocks. */
export const VALUE_SIZE = 400;

const superblockValidator: BlockValidator = {
  structure: 'superblock of the lab',
  check: (block) => checkHomeAndChecksum(block, 'superblock of the lab', AT.blockNr, XOR),
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, XOR),
};

export class CoreTarget {
  readonly blocks: BlockManager;
  tm!: TransactionManager;
  data!: DataSpaceMap;
  trees: BTree<number>[] = [];
  /** As they are on the device. */
  metadataRoot!: SpaceMapRoot;
  dataRoot!: SpaceMapRoot;
  #values!: ValueType<number>;

  private constructor(blocks: BlockManager) {
    this.blocks = blocks;
  }

  static format(device: MetadataDevice, nrDataBlocks: number): CoreTarget {
    const target = new CoreTarget(new BlockManager(device, { cacheBlocks: device.nrBlocks }));
    target.tm = createTransactionManagerOn(target.blocks);
    target.#attach(DataSpaceMap.create(target.tm));
    target.data.extend(nrDataBlocks);
    target.trees = [BTree.create(target.tm, target.#values)];
    target.#commit(true);
    return target;
  }

  static open(device: MetadataDevice, cacheBlocks = device.nrBlocks): CoreTarget {
    const target = new CoreTarget(new BlockManager(device, { cacheBlocks }));
    target.#load();
    return target;
  }

  /** Another tree with all that `tree` holds. */
  snapshot(tree: BTree<number>): void {
    this.tm.inc(tree.root);
    this.trees.push(new BTree(this.tm, this.#values, tree.root));
  }

  commit(): void {
    this.#commit(false);
  }

  abort(): void {
    this.blocks.drop();
    this.#load();
  }

  #commit(formatting: boolean): void {
    this.data.settle();
    this.tm.preCommit();
    this.metadataRoot = this.tm.spaceMap.root;
    this.dataRoot = this.data.root;
    const fill = ({ view }: Block): void => {
      setU64At(view, AT.nrRoots, this.trees.length);
      writeSpaceMapRoot(view, AT.metadataMap, this.metadataRoot);
      writeSpaceMapRoot(view, AT.dataMap, this.dataRoot);
      this.trees.forEach(({ root }, i) => {
        setU64At(view, AT.roots + 8 * i, root);
      });
    };
    this.tm.commit(superblockValidator, fill, { formatting });
    this.data.committed();
  }

  #load(): void {
    const { view } = this.blocks.read(0, superblockValidator);
    this.metadataRoot = readSpaceMapRoot(view, AT.metadataMap);
    this.dataRoot = readSpaceMapRoot(view, AT.dataMap);
    const roots = Array.from({ length: u64At(view, AT.nrRoots) }, (_, i) => u64At(view, AT.roots + 8 * i));
    this.tm = openTransactionManagerOn(this.blocks, this.metadataRoot);
    this.#attach(DataSpaceMap.open(this.tm, this.dataRoot));
    this.trees = roots.map((root) => new BTree(this.tm, this.#values, root));
  }

  #attach(data: DataSpaceMap): void {
    this.data = data;
    this.#values = {
      size: VALUE_SIZE,
      decode: u64At,
      encode: setU64At,
      inc: (view, at, count) => {
        for (let i = 0; i < count; i++) data.inc(u64At(view, at + VALUE_SIZE * i));
      },
      dec: (view, at, count) => {
        for (let i = 0; i < count; i++) data.dec(u64At(view, at + VALUE_SIZE * i));
      },
    };
  }
}
