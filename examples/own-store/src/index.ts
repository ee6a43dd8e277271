/** The program: `node dist/index.js BACKUPS COMMAND …`. */
import { StoreError } from '@pdata/device';
import { Backups } from './backups.js';

const USAGE = `usage: node dist/index.js BACKUPS COMMAND
  backup DIRECTORY NAME    backs up DIRECTORY as NAME
  list                     all backups
  diff NAME NAME           what changed from one to the other
  restore NAME DIRECTORY   writes the files of a backup
  drop NAME                forgets a backup, and gives back what only it had
  check                    reads and counts everything`;

async function run(
  backups: Backups,
  command: string | undefined,
  [first, second]: readonly string[],
): Promise<boolean> {
  if (command === 'backup' && first !== undefined && second !== undefined) {
    const { nrFiles, nrChanged, nrRemoved, newBytes } = await backups.backUp(first, second);
    console.log(
      `${second}: ${nrFiles} files, ${nrChanged} new or changed, ${nrRemoved} removed; ${newBytes} bytes that no backup had`,
    );
  } else if (command === 'list') {
    for (const { name, time, nrFiles } of backups.list())
      console.log(`${new Date(time).toISOString()}  ${name}  ${nrFiles} files`);
    console.log(`${backups.storedBytes} bytes of content in all`);
  } else if (command === 'diff' && first !== undefined && second !== undefined) {
    for (const { path, what } of backups.diff(first, second)) console.log(`${what.padEnd(8)} ${path}`);
  } else if (command === 'restore' && first !== undefined && second !== undefined) {
    console.log(`${backups.restore(first, second)} files written`);
  } else if (command === 'drop' && first !== undefined) {
    await backups.drop(first);
  } else if (command === 'check') {
    const findings = await backups.check();
    for (const finding of findings) console.log(finding);
    if (findings.length > 0) process.exitCode = 1;
    else console.log('all is well');
  } else return false;
  return true;
}

const [directory, command, ...rest] = process.argv.slice(2);
if (directory === undefined || command === undefined) {
  console.error(USAGE);
  process.exitCode = 2;
} else {
  let backups: Backups | undefined;
  try {
    backups = new Backups(directory);
    if (!(await run(backups, command, rest))) {
      console.error(USAGE);
      process.exitCode = 2;
    }
  } catch (error) {
    if (!(error instanceof StoreError) && (error as { code?: string }).code === undefined) throw error;
    console.error((error as Error).message);
    process.exitCode = 1;
  } finally {
    await backups?.close();
  }
}
