/**
 * The kernel's table line of a mirror, read and printed.
 *
 *   [BEGIN LENGTH] mirror LOG_TYPE #ARGS ARGS… #LEGS (DEVICE OFFSET)… [#FEATURES FEATURES…]
 *
 * Reading answers as the kernel does, in its words, where these say what is wrong. Devices are names: no spaces in them.
 * Format: docs/format/mirror-log.md, section 10.
 */
import { MAX_LEGS, MIN_LEGS } from '../format/limits.js';
import { MirrorTableError } from './errors.js';

export type MirrorTableLog =
  | { readonly type: 'core'; readonly regionSize: number; readonly sync?: 'sync' | 'nosync' }
  | {
      readonly type: 'disk';
      readonly device: string;
      readonly regionSize: number;
      readonly sync?: 'sync' | 'nosync';
    }
  | { readonly type: 'userspace'; readonly args: readonly string[] };

export interface MirrorTable {
  /** Sectors of the mirror; missing when the line began with `mirror`, or with the log. */
  readonly length?: number;
  readonly log: MirrorTableLog;
  /** `offset` in sectors. */
  readonly legs: readonly { readonly device: string; readonly offset: number }[];
  readonly handleErrors: boolean;
  readonly keepLog: boolean;
}

/** @throws {@link MirrorTableError} */
export function parseMirrorTable(line: string): MirrorTable {
  const words = new Words(line);
  const length = lengthOf(words);
  const log = logOf(words);
  const legs = legsOf(words);
  const features = featuresOf(words);
  return { ...(length === undefined ? {} : { length }), log, legs, ...features };
}

/** As the kernel prints it: `mirror disk 2 LOG 128 2 LEG0 0 LEG1 0 1 handle_errors`, after `0 LENGTH ` if that is known. */
export function printMirrorTable({ length, log, legs, handleErrors, keepLog }: MirrorTable): string {
  return `${length === undefined ? '' : `0 ${length} `}mirror ${printMirrorArguments(logText(log), legs, { handleErrors, keepLog })}`;
}

/** What comes after the word `mirror`. @param logWords the log's part: `core 1 128` */
export function printMirrorArguments(
  logWords: string,
  legs: MirrorTable['legs'],
  { handleErrors, keepLog }: Pick<MirrorTable, 'handleErrors' | 'keepLog'>,
): string {
  const features = [...(handleErrors ? ['handle_errors'] : []), ...(keepLog ? ['keep_log'] : [])];
  return [
    logWords,
    legs.length,
    ...legs.flatMap(({ device, offset }) => [device, offset]),
    ...(features.length === 0 ? [] : [features.length, ...features]),
  ].join(' ');
}

function logText(log: MirrorTableLog): string {
  const args =
    log.type === 'userspace'
      ? log.args
      : [...(log.type === 'disk' ? [log.device] : []), log.regionSize, ...(log.sync === undefined ? [] : [log.sync])];
  return [log.type, args.length, ...args].join(' ');
}

class Words {
  readonly #words: string[];
  #at = 0;

  constructor(line: string) {
    this.#words = line.split(/\s+/).filter((word) => word !== '');
  }

  get left(): number {
    return this.#words.length - this.#at;
  }

  look(ahead = 0): string {
    return this.#words[this.#at + ahead] ?? '';
  }

  next(): string {
    return this.#words[this.#at++] ?? '';
  }

  take(nr: number): string[] {
    return Array.from({ length: nr }, () => this.next());
  }
}

function lengthOf(words: Words): number | undefined {
  if (words.look() === 'mirror') {
    words.next();
    return undefined;
  }
  if (words.look(2) !== 'mirror') return undefined;
  const [begin, length] = [words.next(), words.next()].map(wholeNumber);
  words.next();
  if (begin !== 0 || length === undefined)
    throw new MirrorTableError('a table of a mirror begins with 0 and its length in sectors');
  return length;
}

function logOf(words: Words): MirrorTableLog {
  if (words.left < 2) throw new MirrorTableError('Insufficient mirror log arguments');
  const type = words.next();
  const nr = wholeNumber(words.next());
  if (nr === undefined || nr > words.left) throw new MirrorTableError('Invalid mirror log argument count');
  const args = words.take(nr);
  if (type === 'userspace') return { type, args };
  const refuse: (why: string) => never = (why) => {
    throw new MirrorTableError(`Error creating mirror dirty log: ${why}`);
  };
  if (type !== 'core' && type !== 'disk') return refuse(`there is no log of type "${type}"`);
  const [device, ...others] = type === 'disk' ? args : ['', ...args];
  const [size, sync, ...more] = others;
  if (device === undefined || size === undefined || more.length > 0)
    return refuse(`a ${type} log has ${type === 'core' ? '1 or 2' : '2 or 3'} arguments`);
  const regionSize = wholeNumber(size);
  if (regionSize === undefined || regionSize < 2 || !Number.isInteger(Math.log2(regionSize)) || regionSize > 2 ** 31)
    return refuse(`invalid region size ${size}: a power of two from 2 on`);
  const options = { regionSize, ...syncOf(sync, refuse) };
  return type === 'core' ? { type, ...options } : { type, device, ...options };
}

function syncOf(word: string | undefined, refuse: (why: string) => never): { readonly sync?: 'sync' | 'nosync' } {
  if (word === undefined) return {};
  if (word === 'sync' || word === 'nosync') return { sync: word };
  const hint = word === 'block_on_error' ? '; it is the feature handle_errors today' : '';
  return refuse(`unrecognised word "${word}"${hint}`);
}

function legsOf(words: Words): MirrorTable['legs'] {
  const nr = wholeNumber(words.next());
  if (nr === undefined || nr < MIN_LEGS || nr > MAX_LEGS) throw new MirrorTableError('Invalid number of mirrors');
  if (words.left < 2 * nr) throw new MirrorTableError('Too few mirror arguments');
  return Array.from({ length: nr }, () => {
    const device = words.next();
    const offset = wholeNumber(words.next());
    if (offset === undefined) throw new MirrorTableError('Invalid offset');
    return { device, offset };
  });
}

function featuresOf(words: Words): Pick<MirrorTable, 'handleErrors' | 'keepLog'> {
  const none = { handleErrors: false, keepLog: false };
  if (words.left === 0) return none;
  const nr = wholeNumber(words.next());
  if (nr === undefined) throw new MirrorTableError('Invalid number of features');
  if (nr > words.left) throw new MirrorTableError('Not enough arguments to support feature count');
  const features = words.take(nr);
  if (features.some((feature) => feature !== 'handle_errors' && feature !== 'keep_log'))
    throw new MirrorTableError('Unrecognised feature requested');
  if (words.left > 0) throw new MirrorTableError('Too many mirror arguments');
  const found = { handleErrors: features.includes('handle_errors'), keepLog: features.includes('keep_log') };
  if (found.keepLog && !found.handleErrors)
    throw new MirrorTableError('keep_log feature requires the handle_errors feature');
  return found;
}

const wholeNumber = (word: string): number | undefined => {
  if (!/^\d{1,16}$/.test(word)) return undefined;
  const value = Number(word);
  return Number.isSafeInteger(value) ? value : undefined;
};
