/** What `npm start` in this folder runs: everything there is to see, with files under dist/. */
import { mkdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { BrokenPipeError, processIo } from '@pdata/tools';
import { showAll } from './show-all.js';

const root = join(import.meta.dirname, '..', '..', '..');
process.chdir(root); // so that the paths shown are the ones to type
const folder = relative(root, join(import.meta.dirname, 'try'));
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
try {
  process.exitCode = await showAll(folder, processIo());
} catch (error) {
  if (!(error instanceof BrokenPipeError)) throw error; // `npm start | head` is a fair thing to do
}
