/**
 * How large each volume is served.
 *
 * The metadata does not know: in the kernel the table line that activates a volume says it, and whoever made the volume (LVM)
 * remembers it. So it can be told; otherwise a volume reaches as far as something is mapped in it, and on to the end of an LVM
 * extent, because LVM makes volumes of whole extents: a file system whose last blocks were never written then still finds
 * them. What is not mapped reads as zeros, and a volume served larger than it was does no harm.
 *
 * Format: docs/format/thin.md, section 10 (the table of a thin device), section 13 (its size is not stored).
 */
import { InvalidValue, type ParseValue } from '../command-line/option-table.js';
import { ToolError } from '../failure/tool-error.js';

/** LVM's default extent: 4 MiB. */
const EXTENT = 4 * 2 ** 20;
const SECTOR = 512;
const UNITS = 'kmgtpe';

/**
 * A size in bytes: a number alone, or with `s` (sectors), or with k, m, g, t, p, e, small or capital, alone or with iB: powers
 * of 1024, as NBD's own tools take them. `10G` is 10 737 418 240 bytes.
 */
export const numberOfBytes: ParseValue<number> = (text) => {
  const [, digits, unit = ''] = /^([0-9]+)(?:([bBsS]|[kmgtpeKMGTPE](?:iB)?))?$/.exec(text) ?? [];
  if (digits === undefined)
    throw new InvalidValue('expected a number of bytes, or one with s, k, m, g, t: 512000s, 10G');
  return Number(digits) * bytesOfUnit(unit);
};

/** A {@link numberOfBytes} that a volume can have. */
export const volumeSize: ParseValue<number> = (text) => {
  const bytes = numberOfBytes(text);
  if (bytes === 0) throw new InvalidValue('a volume of no bytes cannot be served');
  if (bytes % SECTOR !== 0)
    throw new InvalidValue(`${bytes} bytes are not a whole number of sectors of ${SECTOR} bytes`);
  if (!Number.isSafeInteger(bytes)) throw new InvalidValue('no volume is larger than 8P');
  return bytes;
};

function bytesOfUnit(unit: string): number {
  if (unit === '' || unit.toLowerCase() === 'b') return 1;
  if (unit.toLowerCase() === 's') return SECTOR;
  return 1024 ** (UNITS.indexOf(unit.charAt(0).toLowerCase()) + 1);
}

export interface SizeOfThin {
  readonly thinId: number;
  readonly size: number;
}

/** `ID=SIZE`. */
export const sizeOfThin: ParseValue<SizeOfThin> = (text) => {
  const [, id, size] = /^([0-9]{1,8})=(.*)$/.exec(text) ?? [];
  if (id === undefined || size === undefined) throw new InvalidValue('expected ID=SIZE: 7=10G');
  return { thinId: Number(id), size: volumeSize(size) };
};

/** What the metadata knows of a volume. */
export interface ThinExtent {
  readonly thinId: number;
  readonly mappedBlocks: number;
  /** Undefined when nothing is mapped. */
  readonly highestMapped: number | undefined;
}

export interface ServedSize extends ThinExtent {
  /** Bytes. */
  readonly size: number;
  /** Whether the user said so. */
  readonly isGiven: boolean;
  /** Whether something is mapped behind the end. */
  readonly isCutOff: boolean;
}

/**
 * @param dataBlockBytes bytes of a data block
 * @throws {@link ToolError} for a size of a volume that is not there, and for two sizes of one
 */
export function servedSizes(
  thins: readonly ThinExtent[],
  dataBlockBytes: number,
  given: { readonly each: readonly SizeOfThin[]; readonly others: number | undefined },
): ServedSize[] {
  const sizes = new Map<number, number>();
  for (const { thinId, size } of given.each) {
    if (sizes.has(thinId)) {
      throw new ToolError('ERR_OPTION', `volume ${thinId} is given two sizes`, {
        nextStep: 'give one --size for each volume',
      });
    }
    if (!thins.some((thin) => thin.thinId === thinId)) {
      throw new ToolError('ERR_OPTION', `there is no volume ${thinId} in this pool to have a size`, {
        nextStep: `give --size for those there are: ${listed(thins)}`,
      });
    }
    sizes.set(thinId, size);
  }
  return thins.map((thin) => {
    const end = ((thin.highestMapped ?? -1) + 1) * dataBlockBytes;
    const said = sizes.get(thin.thinId) ?? given.others;
    const size = said ?? Math.max(1, Math.ceil(end / EXTENT)) * EXTENT;
    return { ...thin, size, isGiven: said !== undefined, isCutOff: end > size && end - size >= dataBlockBytes };
  });
}

const MOST_LISTED = 10;

function listed(thins: readonly ThinExtent[]): string {
  if (thins.length === 0) return 'none';
  const ids = thins.slice(0, MOST_LISTED).map(({ thinId }) => thinId);
  return thins.length > MOST_LISTED ? `${ids.join(', ')} and ${thins.length - MOST_LISTED} more` : ids.join(', ');
}
