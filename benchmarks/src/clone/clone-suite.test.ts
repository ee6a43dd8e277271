/** A small size of the benchmark of clones, from source: so that it cannot rot. No timing. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { type CloneSuiteOptions, cloneTable, measureClones } from './clone-suite.js';

const directory = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
afterAll(() => rmSync(directory, { recursive: true }));
const MIB = 2 ** 20;

/** Copies, and says what hydrate.ts would: the program itself needs the build. */
const copier = [
  process.execPath,
  '-e',
  `const [metadata, source, copy] = process.argv.slice(1);
   require('fs').writeFileSync(metadata, '');
   require('fs').copyFileSync(source, copy);
   console.log(JSON.stringify({ nrReads: 100, p50: 0.25, p99: 3, longest: 4 }));`,
];
const options: CloneSuiteOptions = { size: 3 * MIB, runs: 2, seed: 1, directory, progress: () => {}, program: copier };

it('measures ours and the peer on the same image, compares every copy with it, and leaves nothing behind', () => {
  const figures = measureClones(options);
  expect([figures.ours.length, figures.reads.length, figures.sums.size]).toEqual([2, 2, 1]);
  if (figures.missing === undefined) expect(figures.theirs.length).toBe(2);
  expect(readdirSync(directory)).toEqual([]);
  const shown = cloneTable(figures, options);
  const words = 'p50 0\\.25 ms, p99 3\\.00 ms, longest 4\\.00 ms, of 200';
  expect(shown).toMatch(new RegExp(`^4 KiB reads meanwhile, 200 a second +${words} +≤ 10 ms +yes$`, 'm'));
  expect(shown).toMatch(new RegExp(`^the same while nothing is hydrated +${words}$`, 'm'));
  if (figures.missing === undefined) expect(shown).toMatch(/^seconds .* ≤ 1\.4x +(yes|NO)$/m);
  else expect(shown).toContain(`n/a: ${figures.missing}`);
});

it('tells copies that are not the image', () => {
  const read = { nrReads: 1, p50: 1, p99: 20, longest: 20 };
  const figures = {
    ours: [1],
    theirs: [2],
    reads: [read],
    atRest: [read],
    sums: new Set(['a', 'b']),
  };
  const shown = cloneTable(figures, options);
  expect(shown).toContain('a, b DIFFERENT');
  expect(shown).toMatch(/0\.50x +≤ 1\.4x +yes$/m);
  expect(shown).toMatch(/≤ 10 ms +NO$/m);
});
