#!/usr/bin/env node
/**
 * Keeps what the real thin_dump 1.1.0 prints for every fixture and option in fixtures/goldens, so that the byte-for-byte
 * tests also run where the tool is missing: `oracle/make-goldens.mjs`, after `oracle/install-tools` or `oracle/make-fixtures`.
 *
 * index.json lists every run (fixture, options, file); runs that print the same share a file, compressed with brotli.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, constants, gunzipSync } from 'node:zlib';

const fixtures = new URL('../fixtures/', import.meta.url).pathname;
const goldens = join(fixtures, 'goldens');
const cache = process.env.PDATA_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pdata');
const tool = process.env.PDATA_TPT_1X ?? join(cache, 'tools-1.1.0', 'pdata_tools');

/** Selections of devices and overrides that each fixture is dumped with; every one as XML, most also for people. */
const selections = [
  [],
  ['--skip-mappings'],
  ['--repair'],
  ['--dev-id', '0'],
  ['--dev-id', '1', '--dev-id', '2'],
  ['--dev-id', '11', '--dev-id', '1', '--dev-id', '107', '--dev-id', '106', '--dev-id', '4'],
  ['--dev-id', '99'],
  ['--skip-mappings', '--dev-id', '1'],
  ['--transaction-id', '99', '--data-block-size', '256', '--nr-data-blocks', '5000', '--skip-mappings'],
  ['--transaction-id', '1', '--nr-data-blocks', '5', '--dev-id', '0'],
];
const human = ['--format', 'human_readable'];
const runsOf = (name) => {
  const runs = selections.flatMap((options) =>
    options.includes('--repair') ? [options] : [options, [...human, ...options]],
  );
  if (name === 'thin-metasnap') {
    runs.push(
      ...runs.filter((options) => !options.includes('--repair')).map((options) => ['--metadata-snap', ...options]),
    );
  }
  return runs;
};

const work = mkdtempSync(join(tmpdir(), 'pdata-goldens-'));
const index = [];
const fileOf = new Map();
for (const old of readdirSync(goldens, { withFileTypes: true })) rmSync(join(goldens, old.name));
for (const { name } of readdirSync(fixtures, { withFileTypes: true }).filter(({ name }) => name.startsWith('thin-'))) {
  const image = join(work, 'meta.img');
  writeFileSync(image, gunzipSync(readFileSync(join(fixtures, name, 'meta.img.gz'))));
  for (const options of runsOf(name)) {
    const { status, stdout, stderr, error } = spawnSync(tool, ['thin_dump', ...options, image], { maxBuffer: 2 ** 28 });
    if (error !== undefined || status !== 0)
      throw new Error(`${tool} thin_dump ${options.join(' ')}: ${error ?? stderr}`);
    const sha256 = createHash('sha256').update(stdout).digest('hex');
    if (!fileOf.has(sha256)) {
      const file = `${name}-${sha256.slice(0, 12)}.br`;
      fileOf.set(sha256, file);
      const params = { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: stdout.length };
      writeFileSync(join(goldens, file), brotliCompressSync(stdout, { params }));
    }
    index.push({ fixture: name, options, file: fileOf.get(sha256), sha256 });
  }
  console.log(`dumped ${name}`);
}
rmSync(work, { recursive: true });
const lines = index.map((run) => `  ${JSON.stringify(run)}`).join(',\n');
writeFileSync(join(goldens, 'index.json'), `[\n${lines}\n]\n`);
