/** A copy of a store's last commit, block for block, made while the store goes on. */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { Block } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import { openTransactionManagerOn } from '../space-map/open.js';
import type { WorkOptions } from '../work.js';
import type { SealedStore } from './store-state.js';
import { inSlices } from './store-walk.js';
import { storeSuperblockValidator, writeStoreRoots } from './superblock.js';

/** Blocks moved in one request. */
const BLOCKS_A_RUN = 256;

/** @throws {@link ReadOnlyError}, or RangeError when `device` holds something already */
export async function copyTo(
  blocks: BlockManager,
  sealed: SealedStore,
  device: MetadataDevice,
  options: WorkOptions,
): Promise<void> {
  refuseTarget(device);
  const { nrBlocks } = sealed.spaceMap;
  if (device.nrBlocks < nrBlocks) device.grow(nrBlocks);
  const counts = openTransactionManagerOn(blocks, sealed.spaceMap).spaceMap;
  const buffer = new Uint8Array(BLOCKS_A_RUN * 4096);
  const copy = function* (): Generator<number> {
    for (let first = 1; first < nrBlocks; ) {
      // Past what is free, then as far as it is not.
      let end = first;
      while (end < nrBlocks && end - first < BLOCKS_A_RUN && counts.count(end) > 0) end++;
      if (end > first) {
        const run = buffer.subarray(0, (end - first) * 4096);
        // From the device: all of a sealed, durable state is there, and the cache keeps what it has.
        blocks.device.read(first, run);
        device.write(first, run);
        yield end;
        first = end;
      } else first++;
    }
  };
  await inSlices(copy(), 'backup', nrBlocks, options);
  await device.flushAsync();
  const superblock = new Block(new Uint8Array(4096), 0);
  writeStoreRoots(superblock, sealed.roots, sealed.spaceMap);
  storeSuperblockValidator.prepare(superblock);
  device.write(0, superblock.bytes);
  await device.flushAsync();
}

/** A copy goes to a device that is empty. */
export function refuseTarget(device: MetadataDevice): void {
  if (device.readOnly) throw new ReadOnlyError(`${device.name} is open for reading only: nothing can be copied there`);
  const bytes = new Uint8Array(4096);
  device.read(0, bytes);
  if (bytes.some((byte) => byte !== 0))
    throw new RangeError(`${device.name} is not empty: its first block holds something, and a copy would overwrite it`);
}
