/**
 * The first minute with pdata: a pool that a Linux kernel made is read by the library, then checked, dumped, restored and
 * checked again by the programs. Each step says what it shows, and the command that does the same by hand.
 */
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Io, run } from '@pdata/tools';
import { describePool } from './read-a-pool.js';

/**
 * Shows it all with files in `folder`, which stay there.
 * @returns the exit code: 0 when every step did what it says
 */
export async function showAll(folder: string, io: Io): Promise<number> {
  const [pool, dump, restored, again] = ['pool.img', 'pool.xml', 'restored.img', 'again.xml'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  const say = (text: string): void => io.out(`${text}\n`);
  const title = (text: string): void => say(`\n== ${text}\n`);
  let failed = 0;
  const runs = async (name: string, ...args: string[]): Promise<boolean> => {
    say(`$ npx ${name} ${args.join(' ')}`);
    failed = await run([name, ...args], io);
    return failed === 0;
  };
  const image = gunzipSync(readFileSync(new URL('../pool.img.gz', import.meta.url)));
  writeFileSync(pool, image);

  title('A thin pool that Linux made');
  say(
    'Its metadata, 4 MiB, was copied off a machine: five volumes, some of them snapshots. The library opens it on any',
  );
  say(
    'operating system and without root; this is examples/read-a-pool/src/read-a-pool.ts, forty lines to copy from:\n',
  );
  for (const line of describePool(pool)) say(line);

  title('Is it sound?');
  say('Every block is read once, every reference counted and compared with what the pool believes.\n');
  if (!(await runs('thin_check', pool))) return failed;
  say('\nExit code 0: it is.');

  title('As text');
  say('All mappings as XML, byte for byte what thin_dump of thin-provisioning-tools 1.1.0 prints.\n');
  if (!(await runs('thin_dump', pool, '-o', dump))) return failed;
  const lines = readFileSync(dump, 'utf8').split('\n');
  say(`\n${lines.slice(0, 4).join('\n')}\n… and ${lines.length - 4} lines more`);

  title('Back again');
  say('From the text alone, new metadata that a kernel can activate, checked and dumped like the first.\n');
  writeFileSync(restored, '');
  truncateSync(restored, image.length);
  if (!(await runs('thin_restore', '-i', dump, '-o', restored))) return failed;
  if (!(await runs('thin_check', restored))) return failed;
  if (!(await runs('thin_dump', restored, '-o', again))) return failed;
  const [first, second] = [sha256(dump), sha256(again)];
  say(`\nsha256 of the first dump   ${first}\nsha256 of the second dump  ${second}`);
  if (first !== second || !readFileSync(pool).equals(image)) {
    say('The dumps differ, or the pool has been written to. Please report this.');
    return 1;
  }
  say('The same to the byte; and the pool it all came from has not been touched.');

  title('Now yours');
  say(`The files are in ${folder}. The programs run from here:`);
  say(`  npx thin_ls ${pool}\n  npx pdata --help`);
  return 0;
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
