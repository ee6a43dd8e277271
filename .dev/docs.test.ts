/** Documentation that points somewhere must point at something: links of Markdown files, and the files that comments cite. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SKIPPED = new Set(['node_modules', 'dist', '.git', 'fixtures', 'api']);

const files = filesUnder(root);
const markdown = files.filter((file) => file.endsWith('.md'));

it('has only links that lead to a file and, where they name one, to a heading in it', () => {
  const broken = markdown.flatMap((file) =>
    linksOf(readFileSync(file, 'utf8')).flatMap((link) => {
      if (/^[a-z]+:/.test(link)) return [];
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? file : resolve(dirname(file), path);
      if (!existsSync(target)) return [`${relative(root, file)}: ${link}`];
      if (anchor === undefined || !target.endsWith('.md')) return [];
      return headingsOf(readFileSync(target, 'utf8')).includes(anchor) ? [] : [`${relative(root, file)}: ${link}`];
    }),
  );
  expect(broken).toEqual([]);
});

it('cites only documents that exist in comments of the source', () => {
  const missing = files
    .filter((file) => /\.(ts|mjs|js)$/.test(file))
    .flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/\bdocs\/[\w/-]+\.md\b/g)]
        .filter(([path]) => !existsSync(join(root, path)))
        .map(([path]) => `${relative(root, file)} cites ${path}`),
    );
  expect(missing).toEqual([]);
});

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    if (SKIPPED.has(name)) return [];
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    return stat.isDirectory() ? filesUnder(path) : [path];
  });
}

function linksOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
}

/** The anchors that a forge gives to headings: lower case, punctuation gone, spaces to hyphens, -1 for the second of a kind. */
function headingsOf(text: string): string[] {
  const seen = new Map<string, number>();
  return [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ +(.*)$/gm)].map((match) => {
    const plain = (match[1] ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const anchor = plain
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-');
    const nrBefore = seen.get(anchor) ?? 0;
    seen.set(anchor, nrBefore + 1);
    return nrBefore === 0 ? anchor : `${anchor}-${nrBefore}`;
  });
}

function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
}
