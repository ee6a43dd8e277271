/** A command line from its words to its exit code. */
import { InvariantError, StoreError } from '@pdata/device';
import { commandGroups, commands } from '../commands/registry.js';
import { PoolError, printable, quoted, reasonOf } from '../words/pool-error.js';
import { type Io, UsageError } from './command.js';
import { helpText, overview } from './help-text.js';
import { parseCommandLine } from './parse.js';

export const EXIT = { done: 0, failed: 1, usage: 2 } as const;
/** The program's version: that of its pools' format. */
const VERSION = 'thin-pool 0.1.0, pools of format 1';

export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    const parsed = parseCommandLine(commands, argv);
    if (parsed.wants === 'run') return await parsed.command.run(parsed.args, io);
    const { command } = parsed;
    const help = command === undefined ? overview(commandGroups) : helpText(command);
    await io.out(parsed.wants === 'version' ? `${VERSION}\n` : help);
    return argv.length === 0 ? EXIT.usage : EXIT.done;
  } catch (error) {
    io.err(`thin-pool: ${sentence(error)}\n`);
    return error instanceof UsageError || (error instanceof PoolError && WRONG_WORDS.has(error.code))
      ? EXIT.usage
      : EXIT.failed;
  }
}

/** What was typed can never be right, whatever the pool holds. */
const WRONG_WORDS = new Set<string>(['ERR_NAME', 'ERR_SIZE', 'ERR_TOKEN']);

function sentence(error: unknown): string {
  if (error instanceof UsageError || error instanceof StoreError) return printable(error.message);
  if (error instanceof InvariantError) return `${error.message}\n${error.stack}`;
  if (error instanceof Error && 'syscall' in error) {
    const { syscall, path } = error as NodeJS.ErrnoException;
    return `cannot ${syscall}${path === undefined ? '' : ` ${quoted(path)}`}: ${reasonOf(error)}`;
  }
  return `this is a bug of thin-pool, please report it: ${error instanceof Error ? error.stack : String(error)}`;
}
