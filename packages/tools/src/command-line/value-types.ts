/**
 * The values options take, with the bounds and the words of thin-provisioning-tools 1.1.0.
 *
 * Whole numbers are decimal, an optional `+` before them, nothing around them. Most are u64 on the disk and stay exact: as
 * `bigint`, or as `number` where the format itself ends below 2^53.
 */
import { InvalidValue, type ParseValue } from './option-table.js';

const U32_MAX = 2n ** 32n - 1n;
const U64_MAX = 2n ** 64n - 1n;

export const u64: ParseValue<bigint> = (text) => {
  const number = wholeNumber(text);
  if (number > U64_MAX) throw new InvalidValue('number too large to fit in target type');
  return number;
};

export const u32: ParseValue<number> = (text) => {
  const number = u64(text);
  if (number > U32_MAX) throw new InvalidValue(`${number} is not in 0..=${U32_MAX}`);
  return Number(number);
};

export const anyText: ParseValue<string> = (text) => text;

export const oneOf =
  <T extends string>(...possible: readonly T[]): ParseValue<T> =>
  (text) => {
    const found = possible.find((choice) => choice === text);
    if (found === undefined) throw new InvalidValue('not one of the possible values', possible);
    return found;
  };

function wholeNumber(text: string): bigint {
  if (text === '') throw new InvalidValue('cannot parse integer from empty string');
  if (!/^\+?[0-9]+$/.test(text)) throw new InvalidValue('invalid digit found in string');
  return BigInt(text.replace('+', ''));
}

export interface Unit {
  /** One letter: `m`. */
  readonly letter: string;
  /** `mebibyte`; the plural adds an s. */
  readonly name: string;
  readonly bytes: bigint;
}

const unit = (letter: string, symbol: string, name: string, bytes: bigint) => ({ letter, symbol, name, bytes });
/** Small letters are powers of 1024, capitals powers of 1000, as LVM has them. */
const UNITS: readonly (Unit & { readonly symbol: string })[] = [
  unit('b', 'byte', 'byte', 1n),
  unit('s', 'sector', 'sector', 512n),
  ...['kibi', 'mebi', 'gibi', 'tebi', 'pebi', 'exbi'].map((prefix, i) => {
    const letter = prefix[0] as string;
    return unit(letter, `${letter.toUpperCase()}iB`, `${prefix}byte`, 1024n ** BigInt(i + 1));
  }),
  ...['kilo', 'mega', 'giga', 'tera', 'peta', 'exa'].map((prefix, i) => {
    const letter = (prefix[0] as string).toUpperCase();
    return unit(letter, i === 0 ? 'kB' : `${letter}B`, `${prefix}byte`, 1000n ** BigInt(i + 1));
  }),
];
export const SECTORS = UNITS[1] as Unit;

/**
 * `m`, `MiB`, `mebibyte`; and, as version 0.9.0 has it, any beginning of at least two letters of `mebibytes`. In order of
 * the table, so `me` is mebibytes.
 */
export const sizeUnit: ParseValue<Unit> = (text) => {
  const found =
    UNITS.find(({ letter, symbol, name }) => text === letter || text === symbol || text === name) ??
    (text.length >= 2 ? UNITS.find(({ name }) => `${name}s`.startsWith(text)) : undefined);
  if (found === undefined) throw new InvalidValue('Invalid unit specifier');
  return found;
};

/** A size such as `64k`, `1TB`, `128` (sectors), in bytes. */
export const sizeInBytes: ParseValue<bigint> = (text) => {
  const digits = /^[0-9]*/.exec(text)?.[0] ?? '';
  const number = u64(digits);
  const rest = text.slice(digits.length);
  const bytes = number * (rest === '' ? SECTORS : sizeUnit(rest)).bytes;
  if (bytes > U64_MAX) throw new InvalidValue('value out of bounds');
  return bytes;
};
