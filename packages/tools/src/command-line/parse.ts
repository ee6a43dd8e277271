/**
 * Reads a command line as thin-provisioning-tools 1.1.0 does (it uses clap 4): what it accepts we accept, what it refuses
 * we refuse, both with its exit codes.
 *
 *   - `-abc` is `-a -b -c`; a short option with a value takes the rest of its word (`-o=F` and `-oF` are the same)
 *   - an optional value is taken only after `=`, never from the next word
 *   - a word that begins with a dash is never a value, but `-` alone is; after `--` all words are arguments
 *   - long names are not abbreviated; an option given twice is an error unless it is repeatable
 *   - the first error from the left decides, and `--help` before it wins; then `--version`, conflicts, missing arguments
 *
 * Why not a library: Node's `parseArgs` and commander 14 know neither the optional value nor the repeated option nor the
 * order of the errors, so around either of them most of this file would remain.
 */
import {
  type CommandLine,
  InvalidValue,
  type Option,
  type OptionTable,
  optionName,
  type ParsedOptions,
  usageLine,
} from './option-table.js';
import { similarName } from './similar-name.js';

/** The command line cannot be used. `message` says why, over several lines, ending with how to get help. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'ERR_USAGE';
  constructor(command: CommandLine, reason: string, details: readonly string[] = [], showsUsage = true) {
    const lines = [`error: ${reason}`, ...details];
    if (showsUsage) lines.push('', usageLine(command));
    lines.push('', `For more information, try '${command.name} --help'.`);
    super(lines.join('\n'));
  }
}

export type Parsed<Table extends OptionTable> =
  | { readonly wants: 'help' | 'version' }
  | { readonly wants: 'run'; readonly options: ParsedOptions<Table>; readonly positional: string };

/**
 * @param argv the words after the command's name
 * @returns what is wanted; `positional` is empty for a command without one
 * @throws {@link UsageError}
 */
export function parseCommandLine<Table extends OptionTable>(
  command: CommandLine<Table>,
  argv: readonly string[],
): Parsed<Table> {
  const reader = new Reader(command, argv);
  if (reader.readsUntilHelp()) return { wants: 'help' };
  if (reader.wantsVersion) {
    if (reader.nrGiven > 1) {
      throw new UsageError(
        command,
        "the argument '--version' cannot be used with one or more of the other specified arguments",
      );
    }
    return { wants: 'version' };
  }
  reader.checkConflicts();
  reader.checkRequired();
  return { wants: 'run', options: reader.options() as ParsedOptions<Table>, positional: reader.positional ?? '' };
}

class Reader {
  readonly #command: CommandLine;
  readonly #argv: readonly string[];
  readonly #longOfShort = new Map<string, string>();
  /** Values in order of appearance, by long name. */
  readonly #given = new Map<string, unknown[]>();
  positional: string | undefined;
  wantsVersion = false;
  #next = 0;

  constructor(command: CommandLine, argv: readonly string[]) {
    this.#command = command;
    this.#argv = argv;
    for (const [long, { short }] of Object.entries(command.options)) {
      if (short !== undefined) this.#longOfShort.set(short, long);
    }
  }

  get nrGiven(): number {
    return this.#given.size + (this.positional === undefined ? 0 : 1) + (this.wantsVersion ? 1 : 0);
  }

  /** Reads the words from the left; true as soon as help is asked for. */
  readsUntilHelp(): boolean {
    while (this.#next < this.#argv.length) {
      const word = this.#argv[this.#next++] as string;
      if (word === '--') {
        for (const argument of this.#argv.slice(this.#next)) this.#takePositional(argument);
        return false;
      }
      const isHelp = word.startsWith('--')
        ? this.#readLong(word)
        : word.startsWith('-') && word.length > 1
          ? this.#readShorts(word)
          : this.#takePositional(word);
      if (isHelp) return true;
    }
    return false;
  }

  #readLong(word: string): boolean {
    const equals = word.indexOf('=');
    const long = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const text = equals < 0 ? undefined : word.slice(equals + 1);
    if ((long === 'help' || long === 'version') && text !== undefined) throw this.#unexpectedValue(`--${long}`, text);
    if (long === 'help') return true;
    if (long === 'version') return this.#takeVersion();
    const option = Object.hasOwn(this.#command.options, long) ? this.#command.options[long] : undefined;
    if (option === undefined) throw this.#unknownLong(long);
    this.#take(long, option, text);
    return false;
  }

  #readShorts(word: string): boolean {
    for (let at = 1; at < word.length; at++) {
      const letter = word[at] as string;
      if (letter === 'h') return true;
      if (letter === 'V') {
        this.#takeVersion();
        continue;
      }
      const long = this.#longOfShort.get(letter);
      if (long === undefined) throw this.#unexpected(`-${letter}`);
      const option = this.#command.options[long] as Option;
      const rest = word.slice(at + 1);
      if (option.kind === 'flag' || option.kind === 'count') {
        this.#take(long, option, undefined);
      } else if (option.kind === 'optionalValue' && !rest.startsWith('=')) {
        this.#take(long, option, undefined);
      } else {
        this.#take(long, option, rest === '' ? undefined : rest.replace(/^=/, ''));
        return false;
      }
    }
    return false;
  }

  #take(long: string, option: Option, attached: string | undefined): void {
    const values = this.#given.get(long) ?? [];
    const isRepeatable = option.kind === 'count' || option.kind === 'repeatable';
    const takesValue = option.kind !== 'flag' && option.kind !== 'count';
    if (!takesValue && attached !== undefined) throw this.#unexpectedValue(`--${long}`, attached);
    const needsValue = takesValue && option.kind !== 'optionalValue';
    const text = attached ?? (needsValue ? this.#valueFromNextWord(long, option) : undefined);
    if (values.length > 0 && !isRepeatable) {
      throw new UsageError(this.#command, `the argument '${optionName(long, option)}' cannot be used multiple times`);
    }
    const taken = text === undefined ? true : this.#parsed(long, option, text);
    values.push(taken);
    this.#given.set(long, values);
  }

  #valueFromNextWord(long: string, option: Option): string {
    const word = this.#argv[this.#next];
    if (word === undefined || (word.startsWith('-') && word.length > 1)) {
      // An unknown option after it is the better finding: `-b -1` is most likely a number that may not be negative.
      if (word !== undefined && word !== '--' && !this.#isKnown(word)) throw this.#unexpected(word);
      throw new UsageError(
        this.#command,
        `a value is required for '${optionName(long, option)}' but none was supplied`,
        [],
        false,
      );
    }
    this.#next++;
    return word;
  }

  #parsed(long: string, option: Option, text: string): unknown {
    try {
      return 'parse' in option ? option.parse(text) : true;
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      const name = optionName(long, option);
      const { possible, message } = error;
      if (possible.length === 0) {
        const refused = error.part ?? text;
        throw new UsageError(this.#command, `invalid value '${refused}' for '${name}': ${message}`, [], false);
      }
      const choices = `  [possible values: ${possible.join(', ')}]`;
      if (text === '') {
        const reason = `a value is required for '${name}' but none was supplied`;
        throw new UsageError(this.#command, reason, [choices], false);
      }
      const similar = similarName(text, possible);
      const tip = similar === undefined ? [] : ['', `  tip: a similar value exists: '${similar}'`];
      throw new UsageError(this.#command, `invalid value '${text}' for '${name}'`, [choices, ...tip], false);
    }
  }

  #takePositional(word: string): false {
    if (this.#command.positional === undefined || this.positional !== undefined) throw this.#unexpected(word);
    this.positional = word;
    return false;
  }

  #takeVersion(): false {
    if (this.wantsVersion) {
      throw new UsageError(this.#command, "the argument '--version' cannot be used multiple times");
    }
    this.wantsVersion = true;
    return false;
  }

  checkConflicts(): void {
    for (const [long, option] of Object.entries(this.#command.options)) {
      const other = option.conflictsWith?.find((name) => this.#given.has(name));
      if (!this.#given.has(long) || other === undefined) continue;
      const otherName = optionName(other, this.#command.options[other] as Option);
      throw new UsageError(
        this.#command,
        `the argument '${optionName(long, option)}' cannot be used with '${otherName}'`,
      );
    }
  }

  checkRequired(): void {
    const missing = Object.entries(this.#command.options)
      .filter(([long, option]) => option.kind === 'value' && option.required && !this.#given.has(long))
      .map(([long, option]) => `  ${optionName(long, option)}`);
    const { positional } = this.#command;
    if (positional !== undefined && this.positional === undefined) missing.push(`  <${positional.name}>`);
    if (missing.length === 0) return;
    throw new UsageError(this.#command, 'the following required arguments were not provided:', missing);
  }

  options(): Record<string, unknown> {
    const all: Record<string, unknown> = {};
    for (const [long, { kind }] of Object.entries(this.#command.options)) {
      const values = this.#given.get(long) ?? [];
      all[long] =
        kind === 'flag'
          ? values.length > 0
          : kind === 'count'
            ? values.length
            : kind === 'repeatable'
              ? values
              : values[0];
    }
    return all;
  }

  #isKnown(word: string): boolean {
    if (word.startsWith('--')) {
      const long = word.slice(2).split('=')[0] as string;
      return long === 'help' || long === 'version' || Object.hasOwn(this.#command.options, long);
    }
    return word[1] === 'h' || word[1] === 'V' || this.#longOfShort.has(word[1] as string);
  }

  #unknownLong(long: string): UsageError {
    const shown = Object.keys(this.#command.options).filter((name) => !this.#command.options[name]?.hidden);
    const similar = similarName(long, [...shown, 'help', 'version']);
    if (similar === undefined) return this.#unexpected(`--${long}`);
    return new UsageError(this.#command, `unexpected argument '--${long}' found`, [
      '',
      `  tip: a similar argument exists: '--${similar}'`,
    ]);
  }

  #unexpected(word: string): UsageError {
    const canBeAnArgument = word.startsWith('-') && this.#command.positional !== undefined;
    const tip = canBeAnArgument ? ['', `  tip: to pass '${word}' as a value, use '-- ${word}'`] : [];
    return new UsageError(this.#command, `unexpected argument '${word}' found`, tip);
  }

  #unexpectedValue(name: string, text: string): UsageError {
    return new UsageError(this.#command, `unexpected value '${text}' for '${name}' found; no more were expected`);
  }
}
