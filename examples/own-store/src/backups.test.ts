import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Backups } from './backups.js';
import { UNIT_SIZE } from './pack.js';

const root = mkdtempSync(join(tmpdir(), 'pdata-backups-'));
afterAll(() => rmSync(root, { recursive: true }));
const newDirectory = (): string => mkdtempSync(join(root, 'd-'));

let seconds = 1_700_000_000;
function write(directory: string, path: string, content: string | Uint8Array): void {
  mkdirSync(join(directory, path, '..'), { recursive: true });
  writeFileSync(join(directory, path), content);
  utimesSync(join(directory, path), seconds, seconds++); // never the same twice
}
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
const contentOf = (directory: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .filter((path) => statSync(join(directory, path)).isFile())
      .sort()
      .map((path) => [path, readFileSync(join(directory, path)).toString('latin1')]),
  );

function source(): string {
  const directory = newDirectory();
  write(directory, 'readme', 'hello');
  write(directory, 'a/big', filled(5 * UNIT_SIZE + 7, 1));
  write(directory, 'a/same', filled(5 * UNIT_SIZE + 7, 1));
  write(directory, 'empty', '');
  return directory;
}

it('restores every backup as its files were', async () => {
  const [from, home] = [source(), newDirectory()];
  const monday = contentOf(from);
  let backups = new Backups(home);
  const first = await backups.backUp(from, 'monday');
  // Six pieces, five of them the same: stored are one of them, the rest, and the readme.
  expect(first).toEqual({ nrFiles: 4, nrChanged: 4, nrRemoved: 0, newBytes: UNIT_SIZE + 7 + 5 });
  write(from, 'readme', 'hello again');
  write(from, 'new/file', 'new');
  rmSync(join(from, 'a/same'));
  const tuesday = contentOf(from);
  expect(await backups.backUp(from, 'tuesday')).toMatchObject({ nrChanged: 2, nrRemoved: 1, newBytes: 14 });
  expect(backups.diff('monday', 'tuesday')).toEqual([
    { path: 'a/same', what: 'removed' },
    { path: 'new/file', what: 'added' },
    { path: 'readme', what: 'changed' },
  ]);
  await backups.close();

  backups = new Backups(home);
  expect(backups.list().map(({ name, nrFiles }) => `${name} ${nrFiles}`)).toEqual(['monday 4', 'tuesday 4']);
  for (const [name, expected] of [
    ['monday', monday],
    ['tuesday', tuesday],
  ] as const) {
    const to = newDirectory();
    backups.restore(name, to);
    expect(contentOf(to)).toEqual(expected);
  }
  expect(await backups.check()).toEqual([]);
  await backups.close();
});

it('gives back what only a dropped backup had, for the next one to use', async () => {
  const [from, home] = [newDirectory(), newDirectory()];
  const backups = new Backups(home);
  write(from, 'kept', filled(UNIT_SIZE, 1));
  write(
    from,
    'changing',
    filled(20 * UNIT_SIZE, 2).map((_, i) => Math.floor(i / UNIT_SIZE) + 2),
  );
  await backups.backUp(from, 'one');
  write(
    from,
    'changing',
    filled(20 * UNIT_SIZE, 2).map((_, i) => Math.floor(i / UNIT_SIZE) + 50),
  );
  await backups.backUp(from, 'two');
  expect(backups.storedBytes).toBe(41 * UNIT_SIZE);
  await backups.drop('one');
  expect(backups.storedBytes).toBe(21 * UNIT_SIZE);
  // Twenty units a time, twenty times: more than the pack has, were they not used again.
  for (let round = 0; round < 20; round++) {
    write(
      from,
      'changing',
      filled(20 * UNIT_SIZE, 2).map((_, i) => Math.floor(i / UNIT_SIZE) + 23 + 11 * round),
    );
    await backups.backUp(from, 'next');
    await backups.drop('next');
  }
  expect(statSync(join(home, 'pack')).size).toBeLessThanOrEqual(256 * UNIT_SIZE);
  expect(await backups.check()).toEqual([]);
  await backups.close();
});

it('has the backups that there were after one that did not come to its end', async () => {
  const [from, home] = [source(), newDirectory()];
  const backups = new Backups(home);
  await backups.backUp(from, 'whole');
  const monday = contentOf(from);
  // What a crash in the middle leaves: the catalogue as it was committed, and a pack with more in it.
  const crashed = newDirectory();
  cpSync(join(home, 'catalogue.pdata'), join(crashed, 'catalogue.pdata'));
  write(from, 'readme', 'never to be seen');
  write(from, 'a/big', filled(9 * UNIT_SIZE, 9));
  await backups.backUp(from, 'half');
  cpSync(join(home, 'pack'), join(crashed, 'pack'));
  await backups.close();

  const found = new Backups(crashed);
  expect(found.list().map(({ name }) => name)).toEqual(['whole']);
  const to = newDirectory();
  found.restore('whole', to);
  expect(contentOf(to)).toEqual(monday);
  expect(await found.check()).toEqual([]);
  await found.backUp(from, 'again');
  expect(await found.check()).toEqual([]);
  await found.close();
});

it('says what is wrong when a backup of that name is there already, and changes nothing', async () => {
  const backups = new Backups(newDirectory());
  const from = source();
  await backups.backUp(from, 'one');
  write(from, 'readme', 'changed');
  const before = backups.storedBytes;
  await expect(backups.backUp(from, 'one')).rejects.toThrow('"one" already');
  expect(backups.storedBytes).toBe(before);
  expect(await backups.check()).toEqual([]);
  await backups.close();
});
