/**
 * What the app refuses, or cannot do: one clear sentence, and a code that stays the same.
 *
 * The sentence says what is wrong, where, and what to do. It also travels: a command that talks to `thin-pool serve` gets the
 * error that was thrown there, with the same code and sentence.
 */
import { StoreError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';

export type PoolErrorCode =
  | 'ERR_NAME'
  | 'ERR_NAME_TAKEN'
  | 'ERR_NO_SUCH_VOLUME'
  | 'ERR_SIZE'
  | 'ERR_SHRINK'
  | 'ERR_TOKEN'
  | 'ERR_IN_USE'
  | 'ERR_NOT_A_POOL'
  | 'ERR_POOL_EXISTS'
  | 'ERR_NEWER_POOL'
  | 'ERR_POOL_BUSY'
  | 'ERR_POOL_DAMAGED'
  | 'ERR_NO_SPACE'
  | 'ERR_NOT_A_SNAPSHOT'
  | 'ERR_STREAM'
  | 'ERR_STREAM_TRUNCATED'
  | 'ERR_WRONG_BASE'
  | 'ERR_ALREADY_HERE'
  | 'ERR_RESUME'
  | 'ERR_FILE'
  | 'ERR_LISTEN'
  | 'ERR_CONNECTION_LOST'
  | 'ERR_PROTOCOL';

export class PoolError extends StoreError {
  override readonly name = 'PoolError';
  constructor(
    readonly code: PoolErrorCode | `ERR_${string}`,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Why something failed, for the end of a sentence: of what the operating system refused only its words, "no such file or directory". */
export const reasonOf = (error: unknown): string =>
  systemProblem(error) ?? (error instanceof Error ? error.message : String(error));

/** `file` cannot be opened, made, read…: the error that says so, with the system's reason. */
export function fileError(cannot: string, file: string, error: unknown): PoolError {
  return new PoolError('ERR_FILE', `cannot ${cannot} ${quoted(file)}: ${reasonOf(error)}`, { cause: error });
}

/** A name or path as it stands in a sentence: in quotes, without what a terminal would obey. */
export const quoted = (text: string): string => `"${printable(text)}"`;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const OBEYED = /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/** Text for a terminal, without what a terminal would obey: control characters and marks that turn the direction of writing. */
export const printable = (text: string): string =>
  text.replace(OBEYED, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`);
