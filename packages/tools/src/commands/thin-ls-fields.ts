/**
 * The columns of thin_ls: their names, what each says of a device, and which of them need the mappings to be read.
 *
 * Format: docs/format/tools.md, section 6.
 */
import type { ListedThin } from '@pdata/thin';
import { InvalidValue, type ParseValue } from '../command-line/option-table.js';
import { humanSize } from './human-size.js';

/** Bytes in a sector. */
const SECTOR = 512n;

/** @param blockSize sectors in a data block */
type Cell = (thin: ListedThin, blockSize: bigint) => string;
type Amount = (thin: ListedThin) => bigint;

export interface Field {
  readonly needsMappings: boolean;
  readonly cell: Cell;
}

export const DEFAULT_FIELDS = ['DEV', 'MAPPED', 'CREATE_TIME', 'SNAP_TIME'];

const FIELDS: Readonly<Record<string, Field>> = {
  DEV: detail(({ thinId }) => thinId),
  ...amount('MAPPED', ({ mappings }) => BigInt(mappings?.mapped ?? 0)),
  ...amount('EXCLUSIVE', ({ mappings }) => BigInt(mappings?.exclusive ?? 0)),
  ...amount('SHARED', ({ mappings }) => BigInt(mappings?.shared ?? 0)),
  HIGHEST_BLOCK: { needsMappings: true, cell: (thin) => `${highestBlock(thin)}` },
  HIGHEST_SECTOR: { needsMappings: true, cell: (thin, size) => `${(highestBlock(thin) + 1n) * size - 1n}` },
  HIGHEST_BYTE: { needsMappings: true, cell: (thin, size) => `${highestByte(thin, size)}` },
  HIGHEST_MAPPED: { needsMappings: true, cell: (thin, size) => humanSize(highestByte(thin, size)) },
  TRANSACTION: detail(({ transactionId }) => transactionId),
  CREATE_TIME: detail(({ creationTime }) => creationTime),
  SNAP_TIME: detail(({ snapshottedTime }) => snapshottedTime),
};

function detail(number: (thin: ListedThin) => number | bigint): Field {
  return { needsMappings: false, cell: (thin) => `${number(thin)}` };
}

/** A number of data blocks, in its four forms. */
function amount(name: string, blocks: Amount): Record<string, Field> {
  return {
    [name]: { needsMappings: true, cell: (thin, size) => humanSize(blocks(thin) * size * SECTOR) },
    [`${name}_BLOCKS`]: { needsMappings: true, cell: (thin) => `${blocks(thin)}` },
    [`${name}_SECTORS`]: { needsMappings: true, cell: (thin, size) => `${blocks(thin) * size}` },
    [`${name}_BYTES`]: { needsMappings: true, cell: (thin, size) => `${blocks(thin) * size * SECTOR}` },
  };
}

/** Of a device without mappings the real tool says 0, as if its first block were mapped. */
function highestBlock({ mappings }: ListedThin): bigint {
  return BigInt(mappings?.highest ?? 0);
}

/** The last byte of the highest block. */
function highestByte(thin: ListedThin, blockSize: bigint): bigint {
  return (highestBlock(thin) + 1n) * blockSize * SECTOR - 1n;
}

/** A comma-separated list of field names. */
export const fieldNames: ParseValue<readonly string[]> = (text) => {
  const names = text.split(',');
  const unknown = names.find((name) => !Object.hasOwn(FIELDS, name));
  if (unknown !== undefined) throw new InvalidValue('Unknown field', [], unknown);
  return names;
};

/** @param name one that {@link fieldNames} has let pass */
export function field(name: string): Field {
  return FIELDS[name] as Field;
}

/** A device in a `--json` document: everything that is known of it, sizes in data blocks. */
export function jsonDevice(thin: ListedThin): object {
  const { thinId, transactionId, creationTime, snapshottedTime, mappings } = thin;
  const counted = mappings && {
    mappedBlocks: mappings.mapped,
    exclusiveBlocks: mappings.exclusive,
    sharedBlocks: mappings.shared,
    highestBlock: mappings.highest ?? null,
  };
  return { devId: thinId, ...counted, transaction: transactionId, creationTime, snapTime: snapshottedTime };
}
