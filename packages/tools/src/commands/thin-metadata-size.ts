/**
 * thin_metadata_size: how large a metadata device a pool needs. Pure arithmetic; nothing is opened.
 *
 * Format: docs/format/tools.md, section 2.
 */
import { estimateMetadataBlocks } from '@pdata/thin';
import { optionalValue, value } from '../command-line/option-table.js';
import { oneOf, SECTORS, sizeInBytes, sizeUnit, type Unit, u64 } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { defineCommand, jsonOption } from './command.js';

const KIB_64 = 64n * 1024n;
const GIB = 1024n ** 3n;
const METADATA_BLOCK_SIZE = 4096n;

export const thinMetadataSize = defineCommand(
  {
    name: 'thin_metadata_size',
    summary: 'Estimate how large the metadata device of a thin pool should be.',
    options: {
      'block-size': value(sizeInBytes, {
        short: 'b',
        placeholder: 'SIZE[bskmg]',
        required: true,
        help: "Size of the pool's data blocks: a multiple of 64 KiB, at most 1 GiB.",
      }),
      'pool-size': value(sizeInBytes, {
        short: 's',
        placeholder: 'SIZE[bskmgtp]',
        required: true,
        help: "Size of the pool's data device.",
      }),
      'max-thins': value(u64, {
        short: 'm',
        placeholder: 'NUM',
        required: true,
        help: 'How many thin devices and snapshots the pool will hold at most.',
      }),
      unit: value(sizeUnit, {
        short: 'u',
        placeholder: 'UNIT',
        help: 'Unit of the answer, one of bskmgtpe or KMGTPE [default: s].',
      }),
      'numeric-only': optionalValue(oneOf('short', 'long'), {
        short: 'n',
        placeholder: 'OPT',
        help: 'Print the number alone, or with -n=short (-n=long) the number with the letter (name) of its unit.',
      }),
      ...jsonOption,
    },
    notes: `Sizes: a number and a unit, b bytes, s sectors of 512 bytes, k m g t p e powers of 1024, K M G T P E powers of
1000; also KiB, kB, kibibyte and the like. Without a unit: sectors.

Exit codes: 0 done; 2 the command line cannot be understood; 64 sizes that no pool can have.

Examples:
  thin_metadata_size -b 64k -s 1t -m 1000           1073232 sectors
  thin_metadata_size -b 64k -s 1t -m 1000 -u m -n   524.04`,
  },
  ({ options, print, facts }) => {
    const dataBlockSize = options['block-size'];
    const poolSize = options['pool-size'];
    refuseImpossible(dataBlockSize, poolSize);
    const nrBlocks = estimateMetadataBlocks({
      poolBytes: poolSize,
      dataBlockBytes: dataBlockSize,
      maxThins: options['max-thins'],
    });
    const bytes = BigInt(nrBlocks) * METADATA_BLOCK_SIZE;
    const unit = options.unit ?? SECTORS;
    const number = inUnit(bytes, unit);
    const form = options['numeric-only'];
    print(
      form === undefined
        ? `${number} ${unit.name}s`
        : form === true
          ? number
          : `${number}${form === 'short' ? unit.letter : `${unit.name}s`}`,
    );
    Object.assign(facts, {
      blockSize: dataBlockSize,
      poolSize,
      maxThins: options['max-thins'],
      metadataBlocks: nrBlocks,
      metadataSectors: bytes / 512n,
      metadataBytes: bytes,
      size: number,
      unit: `${unit.name}s`,
    });
    return SUCCESS;
  },
);

function refuseImpossible(dataBlockSize: bigint, poolSize: bigint): void {
  if (dataBlockSize === 0n || dataBlockSize % KIB_64 !== 0n) {
    throw new ToolError('ERR_BLOCK_SIZE', 'block size must be a multiple of 64 KiB', {
      nextStep: `give --block-size as 64k, 128k, … up to 1g; ${dataBlockSize} bytes were given (without a unit: sectors)`,
    });
  }
  if (dataBlockSize > GIB) {
    throw new ToolError('ERR_BLOCK_SIZE', 'maximum block size is 1 GiB', { nextStep: 'give a smaller --block-size' });
  }
  if (poolSize < dataBlockSize) {
    throw new ToolError('ERR_POOL_SIZE', 'pool size must be larger than block size', {
      nextStep: `give a --pool-size of at least one block; ${poolSize} bytes were given (without a unit: sectors)`,
    });
  }
}

/** As the real tool prints it: whole numbers whole, below 1 with all digits, otherwise two decimals. */
function inUnit(bytes: bigint, { bytes: unitBytes }: Unit): string {
  if (bytes % unitBytes === 0n) return (bytes / unitBytes).toString();
  const number = Number(bytes) / Number(unitBytes);
  return number < 1 ? withoutExponent(number) : twoDecimals(number);
}

/**
 * The shortest digits that give the number back, written out: 4.8e-7 is 0.00000048. Where two are equally near, the larger,
 * as Rust has it; JavaScript takes the even one.
 */
function withoutExponent(number: number): string {
  const [digits, exponent] = scientific(number.toExponential());
  const [exact] = scientific(number.toExponential(60));
  const isBetweenTwo = /^50*$/.test(exact.slice(digits.length));
  const larger = (BigInt(exact.slice(0, digits.length)) + 1n).toString();
  const shortest = isBetweenTwo && Number(`${larger}e-${exponent + digits.length - 1}`) === number ? larger : digits;
  return `0.${'0'.repeat(exponent - 1)}${shortest}`;
}

/** The digits of a number below 1, and its exponent without the sign. */
function scientific(text: string): [digits: string, exponent: number] {
  const [mantissa = '', exponent = ''] = text.split('e-');
  return [mantissa.replace('.', ''), Number(exponent)];
}

/** Halves go to the even digit, as Rust has it: 1.125 is 1.12; `toFixed` alone would say 1.13. */
function twoDecimals(number: number): string {
  const isHalf = Math.abs(number * 200) % 2 === 1;
  const hundredths = Math.floor(number * 100);
  return isHalf && hundredths % 2 === 0 ? (hundredths / 100).toFixed(2) : number.toFixed(2);
}
