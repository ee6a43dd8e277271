/** The program, from the words of its command line to its exit code. */
import { StoreError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';
import { Backups } from './backups.js';

const USAGE = `usage: node dist/index.js BACKUPS COMMAND
  backup DIRECTORY NAME    backs up DIRECTORY as NAME
  list                     all backups
  diff NAME NAME           what changed from one to the other
  restore NAME DIRECTORY   writes the files of a backup
  drop NAME                forgets a backup, and gives back what only it had
  check                    reads and counts everything

BACKUPS is a directory, which is made if it is not there.
Exit codes: 0 done; 1 it could not be done, or the check found something; 2 the command line cannot be understood.`;

/** How many words follow each command. */
const COMMANDS: ReadonlyMap<string, number> = new Map([
  ['backup', 2],
  ['list', 0],
  ['diff', 2],
  ['restore', 2],
  ['drop', 1],
  ['check', 0],
]);

export interface Output {
  out(line: string): void;
  err(line: string): void;
}

/** @param argv the words after the program's name. @returns the exit code */
export async function program(argv: readonly string[], { out, err }: Output): Promise<number> {
  const [directory, command, ...words] = argv;
  if (argv.includes('--help')) {
    out(USAGE);
    return 0;
  }
  if (directory === undefined || command === undefined || COMMANDS.get(command) !== words.length) {
    err(USAGE);
    return 2;
  }
  let backups: Backups | undefined;
  try {
    backups = new Backups(directory);
    return await run(backups, command, words as [string, string], out);
  } catch (error) {
    err(sentence(error));
    return 1;
  } finally {
    await backups?.close();
  }
}

async function run(
  backups: Backups,
  command: string,
  [first, second]: readonly [string, string],
  out: Output['out'],
): Promise<number> {
  switch (command) {
    case 'backup': {
      const { nrFiles, nrChanged, nrRemoved, newBytes } = await backups.backUp(first, second);
      out(
        `${second}: ${nrFiles} files, ${nrChanged} new or changed, ${nrRemoved} removed; ${newBytes} bytes that no backup had`,
      );
      return 0;
    }
    case 'list':
      for (const { name, time, nrFiles } of backups.list())
        out(`${new Date(time).toISOString()}  ${name}  ${nrFiles} files`);
      out(`${backups.storedBytes} bytes of content in all`);
      return 0;
    case 'diff':
      for (const { path, what } of backups.diff(first, second)) out(`${what.padEnd(8)} ${path}`);
      return 0;
    case 'restore':
      out(`${backups.restore(first, second)} files written`);
      return 0;
    case 'drop':
      await backups.drop(first);
      return 0;
    default: {
      const findings = await backups.check();
      for (const finding of findings) out(finding);
      if (findings.length === 0) out('all is well');
      return findings.length === 0 ? 0 : 1;
    }
  }
}

/** What went wrong. A bug is none of it, and is thrown on. */
function sentence(error: unknown): string {
  if (error instanceof StoreError) return error.message;
  const problem = systemProblem(error);
  if (problem === undefined) throw error;
  const { path, syscall } = error as NodeJS.ErrnoException;
  return `cannot ${syscall} ${path ?? 'the pack'}: ${problem}`;
}
