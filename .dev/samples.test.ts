/**
 * Every TypeScript sample of a README is run, as a reader would run it: in a folder of its own that can import every
 * published package. When a sample is followed at once by a ```text block, what it prints must be that text.
 *
 * A block opened by ```ts no-run is left alone; say beside it why it cannot run.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const generated = join(root, '.dev', '.samples'); // inside the root, so that vitest resolves packages to their source
const samples = readmes().flatMap(samplesOf);
const home = process.cwd();
let scratch = '';

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'pdata-sample-'));
  process.chdir(scratch);
});
afterEach(() => {
  process.chdir(home);
  vi.restoreAllMocks();
  rmSync(scratch, { recursive: true, force: true });
});

it('finds the READMEs', () => {
  expect(readmes().map((file) => relative(root, file))).toContain('README.md');
});

it.each(samples)('$name runs', async ({ name, code, output }) => {
  mkdirSync(generated, { recursive: true });
  const file = join(generated, `${name.replace(/[^\w]+/g, '-')}.ts`);
  writeFileSync(file, code);
  const printed: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((...parts) => void printed.push(parts.map(String).join(' ')));
  await import(/* @vite-ignore */ pathToFileURL(file).href);
  if (output !== undefined) expect(printed.join('\n')).toBe(output);
});

function readmes(): string[] {
  const folders = ['packages', 'examples'].flatMap((parent) =>
    readdirSync(join(root, parent)).map((name) => join(parent, name)),
  );
  return ['.', 'benchmarks', ...folders]
    .map((folder) => join(root, folder, 'README.md'))
    .filter((file) => existsSync(file));
}

function samplesOf(file: string): { name: string; code: string; output: string | undefined }[] {
  const blocks = /^```ts\n([\s\S]*?)^```\n(?:\n?```text\n([\s\S]*?)\n```$)?/gm;
  return [...readFileSync(file, 'utf8').matchAll(blocks)].map((match, index) => ({
    name: `sample ${index + 1} of ${relative(root, file)}`,
    code: match[1] ?? '',
    output: match[2],
  }));
}
