/**
 * Where a transaction manager comes from: the one visible place in which it and the space map of its own device are tied.
 */
import type { MetadataDevice } from '@pdata/device';
import { BlockManager, type BlockManagerOptions } from '../block/block-manager.js';
import { TransactionManager } from '../transaction/transaction-manager.js';
import { MetadataSpaceMap } from './metadata-space-map.js';
import type { SpaceMapRoot } from './root.js';

/**
 * For a committed device, whose superblock says `root`.
 * @throws {@link CorruptBlockError} when the space map cannot be read
 */
export function openTransactionManager(
  device: MetadataDevice,
  root: SpaceMapRoot,
  options?: BlockManagerOptions,
): TransactionManager {
  return openTransactionManagerOn(new BlockManager(device, options), root);
}

/** As {@link openTransactionManager}, over a cache there is: the superblock has been read through it, or it was aborted. */
export function openTransactionManagerOn(blocks: BlockManager, root: SpaceMapRoot): TransactionManager {
  const tm = new TransactionManager(blocks);
  MetadataSpaceMap.open(tm, root);
  return tm;
}

/**
 * For a device that is to be formatted: block 0 stays for the superblock, the space map takes the blocks from 1 on. Nothing
 * is written before the first commit.
 * @throws {@link NoSpaceError} when the device is too small to describe itself
 */
export function createTransactionManager(device: MetadataDevice, options?: BlockManagerOptions): TransactionManager {
  return createTransactionManagerOn(new BlockManager(device, options));
}

/** As {@link createTransactionManager}, over a cache there is. */
export function createTransactionManagerOn(blocks: BlockManager): TransactionManager {
  const tm = new TransactionManager(blocks);
  MetadataSpaceMap.create(tm, blocks.nrBlocks);
  return tm;
}
