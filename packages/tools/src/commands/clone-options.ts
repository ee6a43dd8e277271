/** Options that the commands for a clone share: the sizes that its table names, and another bitset. */
import { value } from '../command-line/option-table.js';
import { u64 } from '../command-line/value-types.js';
import { ToolError } from '../failure/tool-error.js';
import { given } from './given.js';

export const sizeOptions = {
  'region-size': value(u64, {
    placeholder: 'SECTORS',
    help: 'Sectors per region, as in the table of the clone.',
  }),
  'target-size': value(u64, {
    placeholder: 'SECTORS',
    help: 'Sectors of the whole clone, as in its table.',
  }),
} as const;

export const bitsetRootOption = {
  'override-bitset-root': value(u64, {
    placeholder: 'BLOCKNR',
    help: "Use this block as root of the bitset, instead of the superblock's.",
  }),
} as const;

interface Given {
  readonly 'region-size': bigint | undefined;
  readonly 'target-size': bigint | undefined;
  readonly 'override-bitset-root'?: bigint | undefined;
}

/** As the library takes them. What is above 2^53 is rounded, and refused there: nothing is that large. */
export function regionOptions(options: Given) {
  const number = (option: bigint | undefined): number | undefined =>
    option === undefined ? undefined : Number(option);
  return {
    ...given('regionSize', number(options['region-size'])),
    ...given('targetSize', number(options['target-size'])),
    ...given('bitsetRoot', number(options['override-bitset-root'])),
  };
}

/** Runs `work`, which refuses what no clone can have by a RangeError at once. */
export function refusingOptions<T>(effect: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ToolError('ERR_OPTION', error.message, { effect }, { cause: error });
  }
}
