/**
 * What a device holds when it is not the metadata that a command wants: most often the data beside it, or another target's.
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

/** Targets whose metadata is known by its magic. */
export type Target = 'thin' | 'cache' | 'era' | 'clone';

/** What differs from target to target in what is said of other content. */
export interface TargetAdvice {
  readonly target: Target;
  /** How to find the metadata device. */
  readonly notMetadata: string;
  /** What a file system is, most likely: "so probably the pool's data device or a thin volume". */
  readonly probably: string;
  /** Of a device whose first block is all zero, and on which nothing else is to be seen. */
  readonly unformatted: ForeignContent;
  /** To the kernel the same as {@link unformatted}. But there somebody has something to lose. */
  readonly wiped: ForeignContent;
}

interface Signature extends ForeignContent {
  readonly at: number;
  readonly bytes: readonly number[];
}

const ascii = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));
const MAGICS: Readonly<Record<Target, readonly number[]>> = {
  thin: [0xba, 0x52, 0x9c, 0x01, 0, 0, 0, 0],
  cache: [0x03, 0xc4, 0x18, 0, 0, 0, 0, 0],
  era: [0x7b, 0x07, 0xc1, 0x7e, 0, 0, 0, 0],
  clone: [0x64, 0x7f, 0xf2, 0x8a, 0, 0, 0, 0],
};
const MAGIC_AT = 32;
const COMMANDS_OF: Readonly<Record<Target, string>> = {
  thin: 'use thin_check, thin_dump or thin_ls',
  cache: 'use cache_check, cache_dump or cache_repair',
  era: 'use era_check, era_dump or era_restore',
  clone: 'use clone_check, clone_dump or clone_repair',
};

const compressed = (what: string, command: string, bytes: readonly number[]): Signature => ({
  at: 0,
  bytes,
  what: `a file compressed with ${what}`,
  nextStep: `unpack it first: ${command}`,
});

function signatures({ target, notMetadata, probably }: TargetAdvice): readonly Signature[] {
  const other = (what: string, at: number, bytes: readonly number[]): Signature => ({
    at,
    bytes,
    what,
    nextStep: notMetadata,
  });
  const fileSystem = (what: string, at: number, bytes: readonly number[]): Signature =>
    other(`${what}, ${probably}`, at, bytes);
  const others = (Object.keys(MAGICS) as Target[]).filter((name) => name !== target);
  return [
    ...others.map((name) => ({
      at: MAGIC_AT,
      bytes: MAGICS[name],
      what: `dm-${name} metadata`,
      nextStep: COMMANDS_OF[name],
    })),
    other("a dm-mirror's log", 0, ascii('rRiM')),
    other("a dm-snapshot's exception store", 0, ascii('SnAp')),
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
    other('an LVM physical volume', 512, ascii('LABELONE')),
    other('a disk with a partition table', 512, ascii('EFI PART')),
    other('a qcow2 disk image', 0, [...ascii('QFI'), 0xfb]),
    fileSystem('a boot sector or a partition table', 510, [0x55, 0xaa]),
  ];
}

/** The start of an unformatted device: LVM's own test looks at these bytes. */
const NR_ZERO_BYTES = 64;

/**
 * @param start the first bytes of the device, up to {@link NR_BYTES_TO_LOOK_AT}
 * @returns undefined when nothing is recognized, which says nothing about the metadata
 */
export function foreignContent(start: Uint8Array, advice: TargetAdvice): ForeignContent | undefined {
  for (const signature of signatures(advice)) {
    const { at, bytes } = signature;
    if (start.length >= at + bytes.length && bytes.every((byte, i) => start[at + i] === byte)) return signature;
  }
  if (start.subarray(0, NR_ZERO_BYTES).some((byte) => byte !== 0)) return undefined;
  return holdsMetadata(start) ? advice.wiped : advice.unformatted;
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

/** Whether the magic of that target's superblock is in its place. */
export const isMetadataOf = (start: Uint8Array, target: Target): boolean =>
  MAGICS[target].every((byte, i) => start[MAGIC_AT + i] === byte);

/** What thin_check 1.1.0 takes for XML: one of these at the very start. */
export function looksLikeXml(start: Uint8Array): boolean {
  const text = String.fromCharCode(...start.subarray(0, 16));
  return ['<superblock', '?xml', '<?xml', '<!DOCTYPE'].some((opening) => text.startsWith(opening));
}
