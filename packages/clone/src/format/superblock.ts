/**
 * The clone superblock: block 0 of the metadata device.
 *
 *   offset  size   field
 *        0     4   checksum              constant 257649492
 *        4     4   flags                 0
 *        8     8   blockNr               0
 *       16    16   uuid                  0
 *       32     8   magic                 0x8af27f64
 *       40     4   version               1
 *       44   128   metadata space-map root
 *      172     8   region size           sectors
 *      180     8   target size           sectors
 *      188     8   bitset root           the hydrated regions, one bit each
 *      196         zero
 *
 * Packed: from 44 on, fields lie at odd multiples of 4. Each commit writes the whole block anew, so bytes that are not in this
 * table do not survive one; and only the first 512 ever change, so that a torn write leaves either version, whole.
 *
 * Format: docs/format/clone.md, section 1.
 */
import {
  type Block,
  readSpaceMapRoot,
  type SpaceMapRoot,
  setU64At,
  superblockValidator,
  u64At,
  writeSpaceMapRoot,
} from '@pdata/persistent-data';

export const CLONE_MAGIC = 0x8af27f64;
export const CLONE_VERSION = 1;
export const CLONE_SUPERBLOCK_CHECKSUM_XOR = 257649492;
/** What of the 128 bytes of a space-map root is used. */
const SPACE_MAP_RECORD_SIZE = 32;
const AT = {
  flags: 4,
  blockNr: 8,
  uuid: 16,
  magic: 32,
  version: 40,
  metadataSpaceMap: 44,
  regionSize: 172,
  targetSize: 180,
  bitsetRoot: 188,
  end: 196,
} as const;

export interface CloneSuperblock {
  version: number;
  metadataSpaceMap: SpaceMapRoot;
  /** Sectors per region. */
  regionSize: number;
  /** Sectors of the clone, its source and its destination. */
  targetSize: number;
  /** Block of the array index under which the bits are. */
  bitsetRoot: number;
}

export function readCloneSuperblock({ view }: Block): CloneSuperblock {
  return {
    version: view.getUint32(AT.version, true),
    metadataSpaceMap: readSpaceMapRoot(view, AT.metadataSpaceMap),
    regionSize: u64At(view, AT.regionSize),
    targetSize: u64At(view, AT.targetSize),
    bitsetRoot: u64At(view, AT.bitsetRoot),
  };
}

/** Offsets of bytes that are not zero although no field lies there: flags, uuid, what follows the space-map root, the rest. */
export function unusedBytesOf({ bytes }: Block): number[] {
  const unused = [
    [AT.flags, AT.blockNr],
    [AT.uuid, AT.magic],
    [AT.metadataSpaceMap + SPACE_MAP_RECORD_SIZE, AT.regionSize],
    [AT.end, bytes.length],
  ] as const;
  const found: number[] = [];
  for (const [begin, end] of unused) for (let at = begin; at < end; at++) if (bytes[at] !== 0) found.push(at);
  return found;
}

/** The whole block: what is not a field becomes zero. */
export function writeCloneSuperblock({ view, bytes }: Block, superblock: CloneSuperblock): void {
  bytes.fill(0);
  setU64At(view, AT.magic, CLONE_MAGIC);
  view.setUint32(AT.version, superblock.version, true);
  writeSpaceMapRoot(view, AT.metadataSpaceMap, superblock.metadataSpaceMap);
  setU64At(view, AT.regionSize, superblock.regionSize);
  setU64At(view, AT.targetSize, superblock.targetSize);
  setU64At(view, AT.bitsetRoot, superblock.bitsetRoot);
}

/** The version is for who opens it to judge. */
export const cloneSuperblockValidator = superblockValidator(
  'clone superblock',
  CLONE_MAGIC,
  CLONE_SUPERBLOCK_CHECKSUM_XOR,
);
