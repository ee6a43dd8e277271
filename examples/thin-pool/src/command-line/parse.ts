/**
 * Reads a command line. Options stand anywhere (`--name VALUE`, `--name=VALUE`, `-n VALUE`), operands in their order; behind `--` all
 * words are operands. A mistyped command or option gets the name that was probably meant.
 */
import { quoted } from '../words/pool-error.js';
import { similarName } from '../words/similar-name.js';
import { type Arguments, type Command, type Option, UsageError, usageLine } from './command.js';

export type Parsed =
  | { readonly wants: 'help'; readonly command?: Command }
  | { readonly wants: 'version'; readonly command?: undefined }
  | { readonly wants: 'run'; readonly command: Command; readonly args: Arguments };

/** @throws {@link UsageError} */
export function parseCommandLine(commands: readonly Command[], argv: readonly string[]): Parsed {
  const [first, ...rest] = argv;
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    const command = commands.find(({ name }) => name === rest.filter((word) => !word.startsWith('-')).join(' '));
    return { wants: 'help', ...(command === undefined ? {} : { command }) };
  }
  if (first === '--version' || first === '-V') return { wants: 'version' };
  const { command, words } = findCommand(commands, argv);
  if (words.some((word, index) => isHelp(word) && !words.slice(0, index).includes('--'))) {
    return { wants: 'help', command };
  }
  return { wants: 'run', command, args: parseArguments(command, words) };
}

const isHelp = (word: string): boolean => word === '--help' || word === '-h';

function findCommand(
  commands: readonly Command[],
  argv: readonly string[],
): { command: Command; words: readonly string[] } {
  const [first = '', second] = argv;
  const two = commands.find(({ name }) => name === `${first} ${second}`);
  if (two !== undefined) return { command: two, words: argv.slice(2) };
  const one = commands.find(({ name }) => name === first);
  if (one !== undefined) return { command: one, words: argv.slice(1) };
  const family = commands.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name);
  if (family.length > 0) {
    const typed = second === undefined || second.startsWith('-') ? undefined : `${first} ${second}`;
    const meant = typed === undefined ? undefined : similarName(typed, family);
    throw new UsageError(
      typed === undefined
        ? `"thin-pool ${first}" wants one more word: ${family.map((name) => name.slice(first.length + 1)).join(', ')}`
        : unknown(`command ${quoted(typed)}`, meant),
    );
  }
  const names = [...new Set(commands.map(({ name }) => name.split(' ')[0]!))];
  throw new UsageError(
    first.startsWith('-')
      ? `the command comes first, then its options: thin-pool COMMAND … ${first}`
      : unknown(`command ${quoted(first)}`, similarName(first, names)),
  );
}

function parseArguments(command: Command, words: readonly string[]): Arguments {
  const operands: string[] = [];
  const flags = new Set<string>();
  const values: Record<string, string | undefined> = {};
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === '--') {
      operands.push(...words.slice(at + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      operands.push(word);
      continue;
    }
    const { long, option, attached } = findOption(command, word);
    if (flags.has(long) || values[long] !== undefined) throw new UsageError(`--${long} is given twice`);
    if (option.kind === 'flag') {
      if (attached !== undefined) throw new UsageError(`--${long} takes no value`);
      flags.add(long);
    } else {
      const value = attached ?? words[++at];
      if (value === undefined) throw new UsageError(`--${long} wants a value: --${long} ${option.placeholder}`);
      values[long] = value;
    }
  }
  return { operands: nameOperands(command, operands), flags, values };
}

function findOption(command: Command, word: string): { long: string; option: Option; attached: string | undefined } {
  const [, dashes = '', typed = '', , attached] = /^(--?)([^=]*)(=(.*))?$/s.exec(word) ?? [];
  const entries = Object.entries(command.options);
  const found = entries.find(([long, { short }]) => (dashes === '--' ? long === typed : short === typed));
  if (found !== undefined) return { long: found[0], option: found[1], attached };
  const meant = similarName(
    typed,
    entries.map(([long]) => long),
  );
  throw new UsageError(
    unknown(`option ${quoted(`${dashes}${typed}`)}`, meant === undefined ? undefined : `--${meant}`, command),
  );
}

function nameOperands(command: Command, given: readonly string[]): Record<string, string> {
  const { operands } = command;
  const missing = operands.slice(given.length).find(({ optional }) => optional !== true);
  if (missing !== undefined) throw new UsageError(`${missing.name} is missing: ${usageLine(command)}`);
  const extra = given[operands.length];
  if (extra !== undefined) throw new UsageError(`${quoted(extra)} is one word too many: ${usageLine(command)}`);
  const empty = given.indexOf('');
  if (empty >= 0) throw new UsageError(`${operands[empty]!.name} is empty: ${usageLine(command)}`);
  return Object.fromEntries(given.map((word, index) => [operands[index]!.name, word]));
}

const unknown = (what: string, meant: string | undefined, of?: Command): string =>
  meant === undefined
    ? `there is no ${what}; ${of === undefined ? 'see: thin-pool --help' : usageLine(of)}`
    : `there is no ${what}; did you mean ${quoted(meant)}?`;
