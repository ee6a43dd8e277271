/**
 * The program `pdata`: its first word names a command, the rest is the command's. The separate programs (`thin_check`…)
 * come here with their own name as the first word.
 */
import { similarName } from './command-line/similar-name.js';
import { COMMANDS } from './commands/registry.js';
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
    const [name, ...rest] = argv;
    const command = COMMANDS.find((registered) => registered.name === name);
    if (command !== undefined) return await (await command.load()).run(rest, io);
    if (name === '--help' || name === '-h' || name === 'help') {
      io.out(`${overview()}\n`);
      return SUCCESS;
    }
    if (name === '--version' || name === '-V') {
      io.out(`${PDATA_VERSION}\n`);
      return SUCCESS;
    }
    io.err(`${name === undefined ? 'which command?' : unrecognized(name)}\n\n${overview()}\n`);
    return FAILURE;
  } catch (error) {
    if (!(error instanceof BrokenPipeError)) io.err(printable(failureText(failureReport(error, io.isDebugging))));
    return FAILURE;
  }
}

function unrecognized(name: string): string {
  const similar = similarName(
    name,
    COMMANDS.map((command) => command.name),
  );
  return `unrecognised command '${printable(name)}'${similar === undefined ? '' : `; did you mean '${similar}'?`}`;
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    'pdata: the metadata of Linux thin pools, checked, dumped and restored on any operating system.',
    '',
    'Usage: pdata <command> <args>',
    'commands:',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    "Each is a program of its own too. 'pdata COMMAND --help' tells all about it.",
    '',
    'Exit codes: 0 done; 2 the command line of a command cannot be understood; 64 anything else, such as no command',
    'or an unknown one; 130 interrupted.',
  ].join('\n');
}
