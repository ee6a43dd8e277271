/**
 * The thin-pool superblock: block 0 of the metadata device, and, as a metadata snapshot, a copy of it elsewhere.
 *
 *   offset  size   field
 *        0     4   checksum              constant 160774
 *        4     4   flags                 bit 0 needs_check; the others are kept as they are
 *        8     8   blockNr               0; a metadata snapshot: its own location
 *       16    16   uuid                  not interpreted, kept
 *       32     8   magic                 27022010
 *       40     4   version               2; 1 has the same layout; never looked at on opening
 *       44     4   time                  snapshots ever taken; must stay below 2^24
 *       48     8   transaction id        user space's own, full 64 bits
 *       56     8   held root             block of the metadata snapshot, 0 for none
 *       64   128   data space-map root
 *      192   128   metadata space-map root
 *      320     8   mapping root          two-level tree: thin id, virtual block
 *      328     8   details root
 *      336     4   data block size       sectors
 *      340     4   metadata block size   sectors, 8
 *      344     8   metadata nr blocks    device size when formatted; informative
 *      352     4   compat flags          ignored
 *      356     4   compat_ro flags       non-zero: may only be opened read-only
 *      360     4   incompat flags        non-zero: may not be opened
 *      364         zero when formatted, kept afterwards
 *
 * Only the first 512 bytes ever change between commits, so a torn write leaves either version, whole.
 *
 * Format: docs/format/thin.md, section 1.
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

export const THIN_MAGIC = 27022010;
export const THIN_VERSION = 2;
export const THIN_SUPERBLOCK_CHECKSUM_XOR = 160774;
export const NEEDS_CHECK = 1;
const AT = {
  flags: 4,
  uuid: 16,
  magic: 32,
  version: 40,
  time: 44,
  transactionId: 48,
  heldRoot: 56,
  dataSpaceMap: 64,
  metadataSpaceMap: 192,
  mappingRoot: 320,
  detailsRoot: 328,
  dataBlockSize: 336,
  metadataBlockSize: 340,
  metadataNrBlocks: 344,
  compatFlags: 352,
  compatRoFlags: 356,
  incompatFlags: 360,
} as const;

/** Byte offsets of the two fields that a metadata snapshot has zeroed. */
export const DATA_SPACE_MAP_AT = AT.dataSpaceMap;
export const METADATA_SPACE_MAP_AT = AT.metadataSpaceMap;

export interface ThinSuperblock {
  /** Bit 0 is needs_check; the others are nobody's and are kept. */
  flags: number;
  uuid: Uint8Array;
  version: number;
  time: number;
  transactionId: bigint;
  /** Block of the metadata snapshot, 0 for none. */
  heldRoot: number;
  dataSpaceMap: SpaceMapRoot;
  metadataSpaceMap: SpaceMapRoot;
  mappingRoot: number;
  detailsRoot: number;
  /** Sectors. */
  dataBlockSize: number;
  metadataBlockSize: number;
  metadataNrBlocks: number;
  compatFlags: number;
  compatRoFlags: number;
  incompatFlags: number;
}

export function readThinSuperblock({ view, bytes }: Block): ThinSuperblock {
  return {
    flags: view.getUint32(AT.flags, true),
    uuid: bytes.slice(AT.uuid, AT.uuid + 16),
    version: view.getUint32(AT.version, true),
    time: view.getUint32(AT.time, true),
    transactionId: view.getBigUint64(AT.transactionId, true),
    heldRoot: u64At(view, AT.heldRoot),
    dataSpaceMap: readSpaceMapRoot(view, AT.dataSpaceMap),
    metadataSpaceMap: readSpaceMapRoot(view, AT.metadataSpaceMap),
    mappingRoot: u64At(view, AT.mappingRoot),
    detailsRoot: u64At(view, AT.detailsRoot),
    dataBlockSize: view.getUint32(AT.dataBlockSize, true),
    metadataBlockSize: view.getUint32(AT.metadataBlockSize, true),
    metadataNrBlocks: u64At(view, AT.metadataNrBlocks),
    compatFlags: view.getUint32(AT.compatFlags, true),
    compatRoFlags: view.getUint32(AT.compatRoFlags, true),
    incompatFlags: view.getUint32(AT.incompatFlags, true),
  };
}

/** Stores every field; bytes behind the fields stay as they are. */
export function writeThinSuperblock({ view, bytes }: Block, superblock: ThinSuperblock): void {
  view.setUint32(AT.flags, superblock.flags, true);
  bytes.set(superblock.uuid, AT.uuid);
  setU64At(view, AT.magic, THIN_MAGIC);
  view.setUint32(AT.version, superblock.version, true);
  view.setUint32(AT.time, superblock.time, true);
  view.setBigUint64(AT.transactionId, superblock.transactionId, true);
  setU64At(view, AT.heldRoot, superblock.heldRoot);
  writeSpaceMapRoot(view, AT.dataSpaceMap, superblock.dataSpaceMap);
  writeSpaceMapRoot(view, AT.metadataSpaceMap, superblock.metadataSpaceMap);
  setU64At(view, AT.mappingRoot, superblock.mappingRoot);
  setU64At(view, AT.detailsRoot, superblock.detailsRoot);
  view.setUint32(AT.dataBlockSize, superblock.dataBlockSize, true);
  view.setUint32(AT.metadataBlockSize, superblock.metadataBlockSize, true);
  setU64At(view, AT.metadataNrBlocks, superblock.metadataNrBlocks);
  view.setUint32(AT.compatFlags, superblock.compatFlags, true);
  view.setUint32(AT.compatRoFlags, superblock.compatRoFlags, true);
  view.setUint32(AT.incompatFlags, superblock.incompatFlags, true);
}

export const thinSuperblockValidator = superblockValidator('thin superblock', THIN_MAGIC, THIN_SUPERBLOCK_CHECKSUM_XOR);
