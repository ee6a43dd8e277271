/** The page that promises all this says how many bugs are planted, and no test file forgets one. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { KERNEL_BUGS } from '../kernel-bugs/kernel-bugs.js';
import { PLANTED_BUGS } from './planted-bugs.js';
import { ROOT, requirePlaces } from './planted-source.js';

const page = readFileSync(join(ROOT, 'docs/reliability.md'), 'utf8');

it('docs/reliability.md counts the planted bugs as they are', () => {
  expect(page).toContain(`${PLANTED_BUGS.length} planted bugs`);
  const plantable = KERNEL_BUGS.filter(({ planted }) => planted !== undefined);
  expect(page).toContain(`${plantable.length} of ${KERNEL_BUGS.length} bugs of kernels planted`);
});

it('every subject with planted bugs has a test file that plants them', () => {
  const folder = join(ROOT, 'packages/conformance/test/planted');
  const tests = readdirSync(folder)
    .filter((name) => name.endsWith('-bugs.test.ts'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
  for (const subject of new Set(PLANTED_BUGS.map((bug) => bug.subject)))
    expect(tests, subject).toMatch(new RegExp(`'${subject.replace(/-.*/, '')}`));
});

it('every bug can still be planted where it is planted', () => {
  for (const { edits = [] } of PLANTED_BUGS) requirePlaces(edits);
});
