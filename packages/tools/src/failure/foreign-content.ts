/**
 * What a device holds when it is not thin metadata: most often the data device, or the metadata of a cache.
 *
 * Signatures are looked for where each format keeps them. Offsets and values: docs/format (thin.md, cache.md, era.md,
 * clone.md, mirror-log.md, section 1 of each, and tools.md, section 7) for device-mapper's, the formats' own documents for
 * the others.
 */
import { BLOCK_SIZE, CorruptBlockError } from '@pdata/device';
import {
  Block,
  type BlockValidator,
  bitmapValidator,
  indexBlockValidator,
  nodeValidator,
} from '@pdata/persistent-data';

export interface ForeignContent {
  /** Continues "this is …". */
  readonly what: string;
  readonly effect?: string;
  readonly nextStep: string;
}

/** Bytes from the start of a device that {@link foreignContent} looks at. */
export const NR_BYTES_TO_LOOK_AT = 68 * 1024;

const NOT_METADATA =
  'find the metadata device: `lvs -a -o name,devices` shows it as NAME_tmeta; without LVM it is the first device in the ' +
  'thin-pool line of `dmsetup table`';

interface Signature extends ForeignContent {
  readonly at: number;
  readonly bytes: readonly number[];
}

const ascii = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));
const metadataOf = (target: string, advice: string, bytes: readonly number[]): Signature => ({
  at: 32,
  bytes,
  what: `dm-${target} metadata`,
  nextStep: advice,
});
const fileSystem = (what: string, at: number, bytes: readonly number[]): Signature => ({
  at,
  bytes,
  what: `${what}, so probably the pool's data device or a thin volume`,
  nextStep: NOT_METADATA,
});
const compressed = (what: string, command: string, bytes: readonly number[]): Signature => ({
  at: 0,
  bytes,
  what: `a file compressed with ${what}`,
  nextStep: `unpack it first: ${command}`,
});

const SIGNATURES: readonly Signature[] = [
  metadataOf('cache', 'use cache_check, cache_dump or cache_repair', [0x03, 0xc4, 0x18, 0, 0, 0, 0, 0]),
  metadataOf('era', 'use era_check, era_dump or era_restore', [0x7b, 0x07, 0xc1, 0x7e, 0, 0, 0, 0]),
  metadataOf('clone', 'pdata has no command for it yet', [0x64, 0x7f, 0xf2, 0x8a, 0, 0, 0, 0]),
  {
    at: 0,
    bytes: ascii('rRiM'),
    what: "a dm-mirror's log",
    nextStep: `use mirror_check or mirror_dump for it; else ${NOT_METADATA}`,
  },
  { at: 0, bytes: ascii('SnAp'), what: "a dm-snapshot's exception store", nextStep: NOT_METADATA },
  {
    at: 0,
    bytes: [0x77, 0xef, 0x09, 0x63, 0xaa, 0xa0, 0x37, 0xa5],
    what: 'a packed metadata file',
    nextStep: 'unpack it first: thin_metadata_unpack -i PACKED -o IMAGE',
  },
  compressed('gzip', 'gunzip -c FILE > IMAGE', [0x1f, 0x8b]),
  compressed('xz', 'xz -dc FILE > IMAGE', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
  compressed('zstd', 'zstd -dc FILE > IMAGE', [0x28, 0xb5, 0x2f, 0xfd]),
  compressed('bzip2', 'bzip2 -dc FILE > IMAGE', ascii('BZh')),
  fileSystem('an XFS file system', 0, ascii('XFSB')),
  fileSystem('an ext2, ext3 or ext4 file system', 1024 + 56, [0x53, 0xef]),
  fileSystem('a Btrfs file system', 64 * 1024 + 64, ascii('_BHRfS_M')),
  fileSystem('an NTFS file system', 3, ascii('NTFS    ')),
  fileSystem('an encrypted volume (LUKS)', 0, [...ascii('LUKS'), 0xba, 0xbe]),
  fileSystem('a swap area', 4096 - 10, ascii('SWAPSPACE2')),
  { at: 512, bytes: ascii('LABELONE'), what: 'an LVM physical volume', nextStep: NOT_METADATA },
  { at: 512, bytes: ascii('EFI PART'), what: 'a disk with a partition table', nextStep: NOT_METADATA },
  { at: 0, bytes: [...ascii('QFI'), 0xfb], what: 'a qcow2 disk image', nextStep: NOT_METADATA },
  fileSystem('a boot sector or a partition table', 510, [0x55, 0xaa]),
];

/** The start of an unformatted device: LVM's own test looks at these bytes. */
const NR_ZERO_BYTES = 64;

const UNFORMATTED: ForeignContent = {
  what: 'an unformatted device: its superblock is all zeros',
  nextStep:
    'there is nothing to check or dump: the kernel formats such a device when the pool is first activated; ' +
    'thin_restore writes metadata to it',
};

/** To the kernel the same as {@link UNFORMATTED}. But here somebody has a pool to lose. */
const SUPERBLOCK_WIPED: ForeignContent = {
  what: 'metadata without its superblock, which is all zeros',
  effect: 'the kernel takes it for a new device, and formats it when the pool is activated: do not activate it',
  nextStep:
    'if thin_restore was interrupted here, run it again; otherwise restore the metadata from a backup, or search for the ' +
    'newest trees that are whole: thin_dump --repair --data-block-size SECTORS',
};

/**
 * @param start the first bytes of the device, up to {@link NR_BYTES_TO_LOOK_AT}
 * @returns undefined when nothing is recognized, which says nothing about thin metadata
 */
export function foreignContent(start: Uint8Array): ForeignContent | undefined {
  for (const signature of SIGNATURES) {
    const { at, bytes } = signature;
    if (start.length >= at + bytes.length && bytes.every((byte, i) => start[at + i] === byte)) return signature;
  }
  if (start.subarray(0, NR_ZERO_BYTES).some((byte) => byte !== 0)) return undefined;
  return holdsMetadata(start) ? SUPERBLOCK_WIPED : UNFORMATTED;
}

/** Formatting and restoring fill a device from its start, so whatever was metadata shows in its first blocks. */
function holdsMetadata(start: Uint8Array): boolean {
  for (let nr = 1; (nr + 1) * BLOCK_SIZE <= start.length; nr++) {
    const block = new Block(start.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE), nr);
    if ([nodeValidator, indexBlockValidator, bitmapValidator].some((validator) => isValid(block, validator)))
      return true;
  }
  return false;
}

function isValid(block: Block, validator: BlockValidator): boolean {
  try {
    validator.check(block);
    return true;
  } catch (error) {
    if (error instanceof CorruptBlockError) return false;
    throw error;
  }
}

/** What thin_check 1.1.0 takes for XML: one of these at the very start. */
export function looksLikeXml(start: Uint8Array): boolean {
  const text = String.fromCharCode(...start.subarray(0, 16));
  return ['<superblock', '?xml', '<?xml', '<!DOCTYPE'].some((opening) => text.startsWith(opening));
}

/** Whether the magic of a thin superblock is there, 27022010 at byte 32. */
export const looksLikeThinMetadata = (start: Uint8Array): boolean =>
  start.length >= 40 && new DataView(start.buffer, start.byteOffset).getBigUint64(32, true) === 27022010n;
