/**
 * A dense copy of a store: every block that the last commit reaches gets a new number, in the order of a walk from the superblock in
 * which the children of a node are neighbours. Content is copied; the numbers in it are replaced; each reference is counted again.
 */
import type { MetadataDevice } from '@pdata/device';
import { Block, setU64At } from '../block/block.js';
import { BlockManager } from '../block/block-manager.js';
import { createTransactionManagerOn, openTransactionManagerOn } from '../space-map/open.js';
import type { WorkOptions } from '../work.js';
import { refuseTarget } from './backup.js';
import type { BlockKind } from './block-kinds.js';
import type { Definitions } from './definitions.js';
import type { SealedStore } from './store-state.js';
import { inSlices, superblockKind, walkFrom } from './store-walk.js';
import { readStoreRoots, storeSuperblockValidator, writeStoreRoots } from './superblock.js';

export async function compactInto(
  blocks: BlockManager,
  definitions: Definitions,
  sealed: SealedStore,
  device: MetadataDevice,
  options: WorkOptions,
): Promise<void> {
  refuseTarget(device);
  const { nrAllocated } = sealed.spaceMap;
  // The counts are the same, so the maps of the copy have no more blocks than those of the original.
  const nrBlocks = Math.max(nrAllocated + SPARE_BLOCKS, device.nrBlocks);
  if (device.nrBlocks < nrBlocks) device.grow(nrBlocks);
  const source = openTransactionManagerOn(blocks, sealed.spaceMap);
  const target = new BlockManager(device);
  const tm = createTransactionManagerOn(target);
  const numbers = new Map<number, number>();
  const superblock = new Block(new Uint8Array(4096), 0);
  writeStoreRoots(superblock, sealed.roots, sealed.spaceMap);

  const walk = walkFrom(
    source,
    superblock,
    superblockKind(definitions),
    {
      reference(nr, kind, parent, at) {
        const known = numbers.get(nr);
        if (known !== undefined) tm.inc(known);
        const number = known ?? tm.newBlock(kind.validator).nr;
        numbers.set(nr, number);
        setU64At(parent.view, at, number);
        return known === undefined;
      },
      finished(block, kind: BlockKind) {
        if (block.nr === 0) return; // the superblock; its numbers are taken below
        // Not read back: it may have been written early, full of zeros.
        target.zero(numbers.get(block.nr) as number, kind.validator).bytes.set(block.bytes);
      },
    },
    (nr, kind) => new Block(source.read(nr, kind.validator).bytes.slice(), nr),
  );
  await inSlices(walk, 'compact', nrAllocated, options);
  const roots = readStoreRoots(superblock);
  await tm.preCommitAsync();
  const spaceMap = tm.spaceMap.root;
  tm.commit(storeSuperblockValidator, (block) => writeStoreRoots(block, roots, spaceMap), { formatting: true });
}

/** What the space map of the copy may need besides: a bitmap at its end, and blocks that its own counting takes. */
const SPARE_BLOCKS = 64;
