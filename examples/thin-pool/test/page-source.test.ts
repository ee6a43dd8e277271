/** The page's own files: types are right, every file is served and no other, nothing is fetched from elsewhere. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadPageFiles } from '../src/web/page-files.js';

const folder = fileURLToPath(new URL('../src/web/page/', import.meta.url));
const files = readdirSync(folder).filter((name) => name !== 'tsconfig.json');

it('has the types that its JSDoc and its server say', () => {
  const tsc = join(dirname(fileURLToPath(import.meta.resolve('typescript/package.json'))), 'bin/tsc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
  expect(`${stdout}${stderr}`).toBe('');
  expect(status).toBe(0);
}, 120_000);

it('consists of the files that are served, and no others', () => {
  const served = [...loadPageFiles().keys()].map((path) => (path === '/' ? 'index.html' : path.slice(1)));
  expect(served.toSorted()).toEqual(files.toSorted());
});

it.each(files)('%s names no other server, and makes no HTML of text', (name) => {
  const text = readFileSync(join(folder, name), 'utf8');
  const addresses = [...text.matchAll(/(?:https?:)?\/\/[a-z0-9.-]+\.[a-z0-9]+[^\s'"`<)]*/gi)].map(
    ([address]) => address,
  );
  expect(addresses.filter((address) => !/^http:\/\/(127\.0\.0\.1|www\.w3\.org\/2000\/svg$)/.test(address))).toEqual([]);
  expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser/);
  expect(text).not.toMatch(/<style|<script>|\son[a-z]+=|\sstyle=/);
});
