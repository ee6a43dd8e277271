/**
 * The kernel's table line of a clone, read and printed.
 *
 *   [BEGIN LENGTH] clone METADATA DESTINATION SOURCE REGION_SIZE [#FEATURES FEATURES… [#WORDS KEY VALUE…]]
 *
 * Reading answers as the kernel does, in its words, where these say what is wrong. Devices are names: no spaces in them.
 * Format: docs/format/clone.md, section 8.
 */
import { wholeNumberIn, wordsOf } from '@pdata/device/engine';
import { checkRegionSize, checkTargetSize, MAX_REGION_SIZE, MIN_REGION_SIZE } from '../format/limits.js';
import { CloneTableError } from './errors.js';

export interface CloneTable {
  /** Sectors of the clone; missing when the line began with `clone`, or with the metadata device. */
  readonly length?: number;
  readonly metadata: string;
  readonly destination: string;
  readonly source: string;
  /** Sectors. */
  readonly regionSize: number;
  readonly noHydration: boolean;
  readonly noDiscardPassdown: boolean;
  /** Missing when the line does not say: the kernel then takes 1. */
  readonly hydrationThreshold?: number;
  /** As {@link hydrationThreshold}. */
  readonly hydrationBatchSize?: number;
}

/** @throws {@link CloneTableError} */
export function parseCloneTable(line: string): CloneTable {
  const words = wordsOf(line);
  const length = lengthOf(words);
  const [metadata, destination, source, size, ...rest] = words;
  if (metadata === undefined || destination === undefined || source === undefined || size === undefined)
    throw new CloneTableError(
      'Invalid number of arguments: a clone has its metadata, destination, source and region size',
    );
  const regionSize = regionSizeOf(size);
  if (length !== undefined && checkTargetSize(length, regionSize) !== undefined)
    throw new CloneTableError('Too many regions. Consider increasing the region size');
  const features = featuresOf(rest);
  const core = coreArgumentsOf(rest);
  if (rest.length > 0) throw new CloneTableError(`there are words behind the last argument, from "${rest[0]}" on`);
  return {
    ...(length === undefined ? {} : { length }),
    metadata,
    destination,
    source,
    regionSize,
    ...features,
    ...core,
  };
}

/** `clone META DEST SOURCE 8 1 no_hydration 2 hydration_threshold 16`, after `0 LENGTH ` if that is known. */
export function printCloneTable(table: CloneTable): string {
  const { length, metadata, destination, source, regionSize, hydrationThreshold, hydrationBatchSize } = table;
  const features = [
    ...(table.noHydration ? ['no_hydration'] : []),
    ...(table.noDiscardPassdown ? ['no_discard_passdown'] : []),
  ];
  const core = [
    ...(hydrationThreshold === undefined ? [] : ['hydration_threshold', hydrationThreshold]),
    ...(hydrationBatchSize === undefined ? [] : ['hydration_batch_size', hydrationBatchSize]),
  ];
  return [
    ...(length === undefined ? [] : [0, length]),
    ...['clone', metadata, destination, source, regionSize],
    ...(features.length + core.length === 0 ? [] : [features.length, ...features]),
    ...(core.length === 0 ? [] : [core.length, ...core]),
  ].join(' ');
}

/** Takes what comes before the devices from `words`. */
function lengthOf(words: string[]): number | undefined {
  if (words[0] === 'clone') {
    words.shift();
    return undefined;
  }
  if (words[2] !== 'clone') return undefined;
  const [begin, length] = words.splice(0, 3).map((word) => wholeNumberIn(word));
  if (begin !== 0n || length === undefined || length < 1n || length > Number.MAX_SAFE_INTEGER)
    throw new CloneTableError('a table of a clone begins with 0 and its length in sectors');
  return Number(length);
}

function regionSizeOf(word: string): number {
  const regionSize = Number(wholeNumberIn(word) ?? Number.NaN);
  if (!(regionSize >= MIN_REGION_SIZE && regionSize <= MAX_REGION_SIZE))
    throw new CloneTableError(
      `Invalid region size: ${word} is not from ${MIN_REGION_SIZE} to ${MAX_REGION_SIZE} sectors`,
    );
  if (checkRegionSize(regionSize) !== undefined)
    throw new CloneTableError(`Region size is not a power of 2: ${regionSize}`);
  return regionSize;
}

/** Takes a number of words, and these, from `words`. */
function groupOf(words: string[], most: number, refusal: string): string[] {
  const [first] = words.splice(0, 1);
  if (first === undefined) return [];
  const nr = wholeNumberIn(first);
  if (nr === undefined || nr > most || nr > words.length) throw new CloneTableError(refusal);
  return words.splice(0, Number(nr)).map((word) => word.toLowerCase());
}

function featuresOf(words: string[]): Pick<CloneTable, 'noHydration' | 'noDiscardPassdown'> {
  const features = groupOf(words, 2, 'Invalid number of feature arguments');
  const unknown = features.find((feature) => feature !== 'no_hydration' && feature !== 'no_discard_passdown');
  if (unknown !== undefined) throw new CloneTableError(`Invalid feature argument: ${unknown}`);
  return {
    noHydration: features.includes('no_hydration'),
    noDiscardPassdown: features.includes('no_discard_passdown'),
  };
}

const CORE_ARGUMENTS: Readonly<Record<string, 'hydrationThreshold' | 'hydrationBatchSize'>> = {
  hydration_threshold: 'hydrationThreshold',
  hydration_batch_size: 'hydrationBatchSize',
};

function coreArgumentsOf(words: string[]): Pick<CloneTable, 'hydrationThreshold' | 'hydrationBatchSize'> {
  const group = groupOf(words, 4, 'Invalid number of core arguments');
  if (group.length % 2 !== 0) throw new CloneTableError('Number of core arguments must be even');
  const found: { hydrationThreshold?: number; hydrationBatchSize?: number } = {};
  for (let at = 0; at < group.length; at += 2) {
    const [key = '', text] = group.slice(at);
    const name = Object.hasOwn(CORE_ARGUMENTS, key) ? CORE_ARGUMENTS[key] : undefined;
    if (name === undefined) throw new CloneTableError(`Invalid core argument: ${key}`);
    const number = wholeNumberIn(text);
    if (number === undefined || number >= 2n ** 32n) throw new CloneTableError(`Invalid value for argument \`${key}'`);
    found[name] = Number(number);
  }
  return found;
}
