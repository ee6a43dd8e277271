/**
 * The list of kernel bugs is true: every test it names exists, docs/reliability.md prints it, and, where a bug can be planted, the test
 * that is named for it fails on the buggy code.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runsLong } from '../../src/nbd-tools.js';
import { openScratch } from '../../src/scratch.js';
import { ROOT, requirePlaces, type SourceEdit } from '../planted/planted-source.js';
import { KERNEL_BUGS, type KernelBug } from './kernel-bugs.js';

const reliability = readFileSync(join(ROOT, 'docs/reliability.md'), 'utf8');
/** Each takes a start of vitest: in every run two of them, with PDATA_LONG=1 all. */
const PLANTABLE = KERNEL_BUGS.filter(({ planted }) => planted !== undefined);
const CHOSEN = runsLong() ? PLANTABLE : PLANTABLE.filter(({ id }) => id === '09a65ad' || id === '9b1cc9f2');

describe.each(KERNEL_BUGS.map((bug) => ({ ...bug })))('$id', (bug) => {
  it('has a test that is named for it', () => {
    expect(existsSync(join(ROOT, bug.file)), bug.file).toBe(true);
    const parts = bug.test.split(/ (?:createThin|deleteDevice|reserveMetadataSnapshot)\b/);
    for (const part of parts) expect(readFileSync(join(ROOT, bug.file), 'utf8')).toContain(part.trim());
  });

  it('is in docs/reliability.md, with its test', () => {
    expect(reliability).toContain(`| ${bug.id} | ${bug.what} | \`${bug.file}\` | ${bug.test} |`);
  });

  it('can still be planted where it is planted', () => {
    requirePlaces(bug.planted ?? []);
  });
});

describe('the named test fails on the buggy code', () => {
  const left = PLANTABLE.length - CHOSEN.length;
  it.skipIf(left === 0)(
    `(${left} of ${PLANTABLE.length} bugs are left out: each takes seconds; PDATA_LONG=1 plants them all)`,
    () => {},
  );
  it.each(CHOSEN.map((bug) => ({ ...bug })))('of $id', { timeout: 120_000 }, (bug) => {
    const results = runPlanted(bug, bug.planted ?? []);
    expect(results.filter(({ fullName }) => fullName.includes(bug.test)).map(({ status }) => status)).toContain(
      'failed',
    );
  });
});

interface TestResult {
  readonly fullName: string;
  readonly status: string;
}

/** Runs the named test in a vitest of its own, whose plugin changes the source text. */
function runPlanted({ file, test }: KernelBug, edits: readonly SourceEdit[]): TestResult[] {
  using scratch = openScratch();
  const report = scratch.path('report.json');
  const args = [
    join(ROOT, 'node_modules/vitest/vitest.mjs'),
    'run',
    ...['--config', '.dev/vitest.planted.config.ts'],
    ...['--reporter=json', `--outputFile.json=${report}`],
    ...['-t', test.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')],
    file,
  ];
  const env = { ...process.env, PDATA_PLANTED: JSON.stringify(edits) };
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, env, encoding: 'utf8' });
  if (!existsSync(report)) throw new Error(`vitest left no report: ${stdout}${stderr}`);
  const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
    testResults: { assertionResults: TestResult[] }[];
  };
  return testResults.flatMap(({ assertionResults }) => assertionResults);
}
