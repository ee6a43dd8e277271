/**
 * The program `pdata`: its first word names a command, the rest is the command's. The separate programs (`thin_check`…)
 * come here with their own name as the first word.
 */
import { similarName } from './command-line/similar-name.js';
import { COMMANDS, type RegisteredCommand } from './commands/registry.js';
import { FAILURE, SUCCESS } from './exit-codes.js';
import { failureReport, failureText } from './failure/failure-report.js';
import { BrokenPipeError, type Io } from './io/io.js';
import { printable } from './io/printable.js';
import { PDATA_VERSION } from './version.js';

/**
 * Runs one command.
 * @param argv the words after `pdata`
 * @returns the exit code; never throws
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    const [name] = argv;
    const command = COMMANDS.find((registered) => registered.name === wordsLike(registered, argv));
    if (command !== undefined) return await (await command.load()).run(argv.slice(nrWords(command)), io);
    if (name === '--help' || name === '-h' || name === 'help') {
      io.out(`${overview()}\n`);
      return SUCCESS;
    }
    if (name === '--version' || name === '-V') {
      io.out(`${PDATA_VERSION}\n`);
      return SUCCESS;
    }
    io.err(`${name === undefined ? 'which command?' : unrecognized(argv)}\n\n${overview()}\n`);
    return FAILURE;
  } catch (error) {
    if (!(error instanceof BrokenPipeError)) io.err(printable(failureText(failureReport(error, io.isDebugging))));
    return FAILURE;
  }
}

const nrWords = ({ name }: RegisteredCommand): number => name.split(' ').length;

/** As many words of the line as the command's name has. */
const wordsLike = (command: RegisteredCommand, argv: readonly string[]): string =>
  argv.slice(0, nrWords(command)).join(' ');

function unrecognized(argv: readonly string[]): string {
  const ofTwoWords = COMMANDS.filter(({ name }) => name.startsWith(`${argv[0]} `));
  const [first] = ofTwoWords;
  const name = first === undefined ? (argv[0] as string) : wordsLike(first, argv);
  const known = (first === undefined ? COMMANDS : ofTwoWords).map((command) => command.name);
  if (first !== undefined && (argv[1] === undefined || argv[1].startsWith('-'))) {
    const names = known
      .map((full) => `'${full}'`)
      .join(', ')
      .replace(/, ([^,]*)$/, ' or $1');
    return `'${printable(argv[0] as string)}' alone is no command: ${names}`;
  }
  const similar = similarName(name, known) ?? first?.name;
  return `unrecognised command '${printable(name)}'${similar === undefined ? '' : `; did you mean '${similar}'?`}`;
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    'pdata: Linux thin pools, clones and mirrors on any operating system: their metadata checked, dumped, restored; all served.',
    '',
    'Usage: pdata <command> <args>',
    'commands:',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    "Those of one word are programs of their own too. 'pdata COMMAND --help' tells all about a command.",
    '',
    'Exit codes: 0 done; 2 the command line of a command cannot be understood; 64 anything else, such as no command',
    'or an unknown one; 130 interrupted.',
  ].join('\n');
}
