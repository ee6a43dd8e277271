/**
 * Block 0 of a store: the one block that is overwritten in place, with the 512 bytes that a commit comes down to.
 *
 *   offset  size   field
 *        0     4   checksum        see block/block.ts; constant 20261128
 *        4     4   reserved        zero
 *        8     8   blockNr         0
 *       16     8   magic           "pdataSTO"
 *       24     4   formatVersion   1
 *       28     4   directoryLength bytes of the directory
 *       32     8   commitNr        1 for the first commit
 *       40     8   time            of the commit, in milliseconds since 1970
 *       48     8   stateNr         table of the current state (state-block.ts)
 *       56     8   catalogueRoot   page tree: id → name, kind and table of a snapshot or clone (catalogue.ts)
 *       64   128   metadata space map (space-map/root.ts)
 *      192     8   historyRoot     btree: commit number → its table and time
 *      200     8   mapsRoot        btree: collection id → root of a space map of units
 *      208     8   directoryNr     first block of the directory: what the collections are (overflow.ts, directory.ts)
 *      216     8   historyLength   commits in the history
 *
 * A store that is being made has the magic here, format version 0 and nothing else, before any other block is written: so one whose making
 * was interrupted is told from one whose block 0 is lost.
 *
 * Format: docs/format/store.md, section 2.
 */
import { BLOCK_SIZE } from '@pdata/device';
import type { Block, BlockValidator } from '../block/block.js';
import { checkHomeAndChecksum, corrupt, sealHomeAndChecksum, setU64At, u64At } from '../block/block.js';
import { readSpaceMapRoot, type SpaceMapRoot, writeSpaceMapRoot } from '../space-map/root.js';

const STRUCTURE = 'store superblock';
const SUPERBLOCK_CHECKSUM_XOR = 20261128;
/** "pdataSTO", as two words. */
const MAGIC = [0x74616470, 0x4f545361] as const;
export const FORMAT_VERSION = 1;
/** The format version of a store that is being made. */
export const BEING_MADE = 0;
const AT = {
  blockNr: 8,
  magic: 16,
  formatVersion: 24,
  directoryLength: 28,
  commitNr: 32,
  time: 40,
  stateNr: 48,
  catalogueRoot: 56,
  spaceMap: 64,
  historyRoot: 192,
  mapsRoot: 200,
  directoryNr: 208,
  historyLength: 216,
} as const;

/** Where the superblock names blocks, besides the metadata space map. */
export const SUPERBLOCK_POINTERS = {
  stateNr: AT.stateNr,
  catalogueRoot: AT.catalogueRoot,
  historyRoot: AT.historyRoot,
  mapsRoot: AT.mapsRoot,
  directoryNr: AT.directoryNr,
} as const;

export interface StoreRoots {
  commitNr: number;
  time: number;
  stateNr: number;
  catalogueRoot: number;
  historyRoot: number;
  historyLength: number;
  mapsRoot: number;
  directoryNr: number;
  directoryLength: number;
}

export function readStoreRoots({ view }: Block): StoreRoots & { spaceMap: SpaceMapRoot } {
  return {
    commitNr: u64At(view, AT.commitNr),
    time: u64At(view, AT.time),
    stateNr: u64At(view, AT.stateNr),
    catalogueRoot: u64At(view, AT.catalogueRoot),
    historyRoot: u64At(view, AT.historyRoot),
    historyLength: u64At(view, AT.historyLength),
    mapsRoot: u64At(view, AT.mapsRoot),
    directoryNr: u64At(view, AT.directoryNr),
    directoryLength: view.getUint32(AT.directoryLength, true),
    spaceMap: readSpaceMapRoot(view, AT.spaceMap),
  };
}

export function writeStoreRoots({ view }: Block, roots: StoreRoots, spaceMap: SpaceMapRoot): void {
  view.setUint32(AT.magic, MAGIC[0], true);
  view.setUint32(AT.magic + 4, MAGIC[1], true);
  view.setUint32(AT.formatVersion, FORMAT_VERSION, true);
  view.setUint32(AT.directoryLength, roots.directoryLength, true);
  setU64At(view, AT.commitNr, roots.commitNr);
  setU64At(view, AT.time, roots.time);
  setU64At(view, AT.stateNr, roots.stateNr);
  setU64At(view, AT.catalogueRoot, roots.catalogueRoot);
  writeSpaceMapRoot(view, AT.spaceMap, spaceMap);
  setU64At(view, AT.historyRoot, roots.historyRoot);
  setU64At(view, AT.mapsRoot, roots.mapsRoot);
  setU64At(view, AT.directoryNr, roots.directoryNr);
  setU64At(view, AT.historyLength, roots.historyLength);
}

/** Block 0 of a store that is being made. */
export function blockOfUnmadeStore(): Uint8Array {
  const view = new DataView(new ArrayBuffer(BLOCK_SIZE));
  view.setUint32(AT.magic, MAGIC[0], true);
  view.setUint32(AT.magic + 4, MAGIC[1], true);
  view.setUint32(AT.formatVersion, BEING_MADE, true);
  return new Uint8Array(view.buffer);
}

/** What a block 0 that is not zero says it is, whatever its checksum: a store, and of which format; undefined for something else. */
export function formatOf(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(AT.magic, true) !== MAGIC[0] || view.getUint32(AT.magic + 4, true) !== MAGIC[1]) return undefined;
  return view.getUint32(AT.formatVersion, true);
}

export const storeSuperblockValidator: BlockValidator = {
  structure: STRUCTURE,
  check(block) {
    checkHomeAndChecksum(block, STRUCTURE, AT.blockNr, SUPERBLOCK_CHECKSUM_XOR);
    const format = formatOf(block.bytes);
    if (format !== FORMAT_VERSION) corrupt(block, STRUCTURE, 'formatVersion', format ?? 'none', FORMAT_VERSION);
    const { nrBlocks, nrAllocated } = readSpaceMapRoot(block.view, AT.spaceMap);
    if (nrAllocated > nrBlocks)
      corrupt(block, STRUCTURE, 'nrAllocated', nrAllocated, `at most ${nrBlocks}, its nrBlocks`);
  },
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, SUPERBLOCK_CHECKSUM_XOR),
};
