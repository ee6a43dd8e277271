import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { program } from './program.js';

const root = mkdtempSync(join(tmpdir(), 'pdata-backups-'));
afterAll(() => rmSync(root, { recursive: true }));
let nr = 0;
const newPath = (): string => join(root, `${nr++}`);

async function run(...argv: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await program(argv, { out: (line) => void out.push(line), err: (line) => void err.push(line) });
  return { exitCode, out: out.join('\n'), err: err.join('\n') };
}

async function oneBackup(): Promise<string> {
  const [home, from] = [newPath(), mkdtempSync(join(root, 'from-'))];
  writeFileSync(join(from, 'readme'), 'hello');
  expect((await run(home, 'backup', from, 'monday')).out).toMatch(/^monday: 1 files, 1 new/);
  return home;
}

it('explains itself, and makes nothing for words that it does not know', async () => {
  expect(await run('--help')).toMatchObject({ exitCode: 0, err: '', out: expect.stringContaining('usage: ') });
  const home = newPath();
  for (const words of [[home], [home, 'frob'], [home, 'backup', 'x'], [home, 'list', 'more']])
    expect(await run(...words)).toMatchObject({ exitCode: 2, out: '', err: expect.stringContaining('usage: ') });
  expect(existsSync(home)).toBe(false);
});

it('says in one sentence what is wrong', async () => {
  const home = await oneBackup();
  const file = join(home, 'pack');
  for (const [words, says] of [
    [[home, 'backup', join(root, 'missing'), 'x'], /^cannot scandir .*missing: no such file or directory$/],
    [[home, 'backup', home, 'monday'], /^there is a snapshot or clone called "monday" already/],
    [[home, 'restore', 'tuesday', newPath()], /^there is no snapshot or clone called "tuesday"; there are monday$/],
    [[home, 'restore', 'monday', file], /^cannot mkdir .*pack: /],
    [[file, 'list'], /^cannot mkdir .*pack: /],
  ] as const)
    expect(await run(...words)).toMatchObject({ exitCode: 1, out: '', err: expect.stringMatching(says) });
});

it('restores nothing that is not what was stored, and its check says so', async () => {
  const [cut, garbled] = [await oneBackup(), await oneBackup()];
  truncateSync(join(cut, 'pack'), 2);
  writeFileSync(join(garbled, 'pack'), 'jello');
  for (const [home, says] of [
    [cut, /pack ends in the middle of unit 0: was it cut short\? Put back a copy of it$/],
    [garbled, /a piece of content is not what was stored \(unit 0 of the pack\)$/],
  ] as const) {
    const target = newPath();
    expect(await run(home, 'restore', 'monday', target)).toMatchObject({
      exitCode: 1,
      err: expect.stringMatching(says),
    });
    expect(existsSync(join(target, 'readme'))).toBe(false);
    expect(await run(home, 'check')).toMatchObject({ exitCode: 1, err: '', out: expect.stringMatching(says) });
  }
});

it('leaves a catalogue alone that is damaged, cut short, emptied, or has lost its beginning', async () => {
  for (const damage of [
    (bytes: Buffer) => bytes.fill(0, 0, 4096),
    (bytes: Buffer) => bytes.fill(7, 100, 200),
    (bytes: Buffer) => bytes.subarray(0, 5000),
    (bytes: Buffer) => bytes.subarray(0, 0),
  ]) {
    const catalogue = join(await oneBackup(), 'catalogue.pdata');
    const damaged = Buffer.from(damage(readFileSync(catalogue)));
    writeFileSync(catalogue, damaged);
    const { exitCode, err } = await run(join(catalogue, '..'), 'list');
    expect(exitCode).toBe(1);
    expect(err).toContain(catalogue);
    expect(err).toMatch(/put back a copy|make a new store|a new store is made there/);
    expect(readFileSync(catalogue).equals(damaged)).toBe(true);
  }
});
