/**
 * The shape of docs/architecture.md, held by a test: packages import downwards only, through public entries, from what
 * their manifests declare; what runs in a browser never reaches a Node module; modules of a package form no cycle.
 *
 * Imports are found by pattern, not by a parser: Biome's formatting makes them regular, and a comment line is skipped.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** Lowest first. A package imports only from layers below its own. */
const LAYERS = [
  ['device'],
  ['persistent-data'],
  ['thin', 'clone', 'mirror', 'cache', 'era'],
  ['lmdb', 'testing'],
  ['nbd'],
  ['tools', 'inspector'],
  ['conformance'],
  ['benchmarks', 'examples'],
];
/** Run in Node alone: the programs, and what binds a native library or the real tools. */
const NODE_ONLY = ['lmdb', 'tools', 'nbd', 'conformance', 'benchmarks', 'examples'];

type Manifest = {
  name: string;
  version?: string;
  private?: boolean;
  exports?: Record<string, Record<string, string>>;
  imports?: Record<string, unknown>;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
};
type Package = { folder: string; layerName: string; manifest: Manifest; files: string[] };
type Import = { specifier: string; isTypeOnly: boolean; line: number };

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const readJson = <T>(...path: string[]): T => JSON.parse(readFileSync(join(root, ...path), 'utf8')) as T;
const rootManifest = readJson<Manifest>('package.json');
const packages = findPackages();
const byName = new Map(packages.map((found) => [found.manifest.name, found]));
const isTest = (file: string): boolean => /\.test\.ts$/.test(file) || !file.includes(`${sep}src${sep}`);
const layerOf = ({ layerName }: Package): number => LAYERS.findIndex((layer) => layer.includes(layerName));
const where = (file: string, { line, specifier }: Import): string =>
  `${relative(root, file)}:${line} imports ${specifier}`;

describe.each(packages)('$manifest.name', (self) => {
  const imports = self.files.flatMap((file) => importsOf(file).map((found) => ({ file, ...found })));

  it('has a layer', () => {
    expect(layerOf(self), `add ${self.folder} to LAYERS in .dev/boundaries.test.ts`).toBeGreaterThanOrEqual(0);
  });

  it('imports packages of lower layers only, by their public entries', () => {
    const wrong = imports.flatMap((found) => {
      const [, name, subpath] = /^(@pdata\/[^/]+)(?:\/(.*))?$/.exec(found.specifier) ?? [];
      if (name === undefined) return [];
      const target = byName.get(name);
      if (target === undefined) return [`${where(found.file, found)}, which does not exist`];
      const isOwnTest = isTest(found.file) && (target === self || target.layerName === 'testing');
      if (layerOf(target) >= layerOf(self) && !isOwnTest) return [`${where(found.file, found)}, which is not below it`];
      const entry = subpath === undefined ? '.' : `./${subpath}`;
      if (target.manifest.exports?.[entry] === undefined) return [`${where(found.file, found)}, which is not public`];
      return [];
    });
    expect(wrong).toEqual([]);
  });

  it('imports nothing that its manifest does not declare', () => {
    const runtime = new Set(
      Object.keys({
        ...self.manifest.dependencies,
        ...self.manifest.optionalDependencies,
        ...self.manifest.peerDependencies,
      }),
    );
    const inTests = new Set([...runtime, self.manifest.name, ...Object.keys(self.manifest.devDependencies ?? {})]);
    for (const name of Object.keys(rootManifest.devDependencies ?? {})) {
      if (!name.startsWith('@pdata/')) inTests.add(name);
    }
    const wrong = imports.flatMap((found) => {
      const { specifier, file } = found;
      if (/^[.#]/.test(specifier) || isBuiltin(specifier)) return [];
      const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
      return (isTest(file) ? inTests : runtime).has(name) ? [] : [where(file, found)];
    });
    expect(wrong).toEqual([]);
  });

  it('stays inside its own folder with relative imports, which name existing files by their output (.js)', () => {
    const wrong = imports.flatMap((found) => {
      if (!found.specifier.startsWith('.')) return [];
      const target = resolveRelative(found.file, found.specifier);
      if (target === undefined) return [`${where(found.file, found)}, which does not exist`];
      const isInside = !relative(join(root, self.folder), target).startsWith('..');
      return isInside ? [] : [where(found.file, found)];
    });
    expect(wrong).toEqual([]);
  });

  it('is built after the packages it depends on', () => {
    const { references = [] } = readJson<{ references?: { path: string }[] }>(self.folder, 'tsconfig.json');
    const referenced = references.map(({ path }) =>
      relative(root, join(root, self.folder, path))
        .split(sep)
        .join('/'),
    );
    const needed = Object.keys(self.manifest.dependencies ?? {}).flatMap((name) => byName.get(name)?.folder ?? []);
    expect(referenced.sort()).toEqual(needed.sort());
  });

  it('has no cycle among its modules', () => {
    expect(findCycle(self.files.filter((file) => !isTest(file)))).toEqual([]);
  });

  if (NODE_ONLY.includes(self.layerName)) return;
  it('never reaches a Node module from an entry for browsers', () => {
    const entries = Object.entries(self.manifest.exports ?? {}).filter(([subpath]) => !/\bnode\b/.test(subpath));
    expect(entries.length).toBeGreaterThan(0);
    const wrong = entries.flatMap(([, target]) =>
      nodeModulesReachedFrom(self, join(root, self.folder, target['@pdata/source'] ?? '')),
    );
    expect(wrong).toEqual([]);
  });
});

it('publishes every package with a README and under one version', () => {
  const published = packages.filter(({ manifest }) => manifest.private !== true);
  expect(
    published.filter(({ folder }) => !existsSync(join(root, folder, 'README.md'))).map(({ folder }) => folder),
  ).toEqual([]);
  expect(new Set(published.map(({ manifest }) => manifest.version)).size).toBe(1);
});

it('has every package in the build of packages/tsconfig.json', () => {
  const { references } = readJson<{ references: { path: string }[] }>('packages', 'tsconfig.json');
  const built = references.map(({ path }) =>
    relative(root, join(root, 'packages', path))
      .split(sep)
      .join('/'),
  );
  expect(built.sort()).toEqual(packages.map(({ folder }) => folder).sort());
});

function findPackages(): Package[] {
  const under = (parent: string): string[] => readdirSync(join(root, parent)).map((name) => `${parent}/${name}`);
  return [...under('packages'), ...under('examples'), 'benchmarks']
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => ({
      folder,
      layerName: folder.startsWith('packages/') ? folder.slice('packages/'.length) : (folder.split('/')[0] ?? ''),
      manifest: readJson<Manifest>(folder, 'package.json'),
      files: ['src', 'test'].flatMap((part) => sourcesUnder(join(root, folder, part))),
    }));
}

function sourcesUnder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const patterns = [
    /^(?:import|export)\s+(type\s+)?(?:[\w*\s{},$]+?\s+from\s+)?'([^']+)'/gm,
    /^(?!\s*(?:\/\/|\*)).*?\b(?:import|require\.resolve|require)\((\s*)'([^']+)'/gm,
  ];
  return patterns.flatMap((pattern) =>
    [...text.matchAll(pattern)].map((match) => ({
      specifier: match[2] ?? '',
      isTypeOnly: match[1]?.startsWith('type') ?? false,
      line: text.slice(0, match.index).split('\n').length,
    })),
  );
}

function resolveRelative(from: string, specifier: string): string | undefined {
  const target = join(dirname(from), specifier);
  return [target.replace(/\.js$/, '.ts'), target.replace(/\.js$/, '.tsx'), target].find((path) => existsSync(path));
}

/** The files of one cycle of value imports, first one repeated at the end; empty when there is none. */
function findCycle(files: string[]): string[] {
  const finished = new Set<string>();
  const visit = (file: string, path: string[]): string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].map((step) => relative(root, step));
    if (finished.has(file)) return [];
    for (const { specifier, isTypeOnly } of importsOf(file)) {
      const target = !isTypeOnly && specifier.startsWith('.') ? resolveRelative(file, specifier) : undefined;
      const cycle = target === undefined ? [] : visit(target, [...path, file]);
      if (cycle.length > 0) return cycle;
    }
    finished.add(file);
    return [];
  };
  for (const file of files) {
    const cycle = visit(file, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

/** Follows relative and `#` imports as a browser's bundler would; other packages answer for themselves. */
function nodeModulesReachedFrom(self: Package, entry: string): string[] {
  const reached = new Set<string>();
  const wrong: string[] = [];
  const follow = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const found of importsOf(file).filter(({ isTypeOnly }) => !isTypeOnly)) {
      const { specifier } = found;
      if (isBuiltin(specifier) || /^@pdata\/.*\bnode\b/.test(specifier)) wrong.push(where(file, found));
      else if (specifier.startsWith('.')) follow(resolveRelative(file, specifier) ?? file);
      else if (specifier.startsWith('#')) follow(join(root, self.folder, browserTarget(self, specifier)));
      else if (!specifier.startsWith('@pdata/') && self.manifest.optionalDependencies?.[specifier] !== undefined)
        wrong.push(`${where(file, found)}, an optional native package`);
    }
  };
  follow(entry);
  return wrong;
}

/** What `imports` in package.json gives to those who know neither `node` nor any other condition of ours but the source. */
function browserTarget({ manifest }: Package, specifier: string): string {
  let target: unknown = manifest.imports?.[specifier];
  while (typeof target === 'object' && target !== null) {
    const conditions = target as Record<string, unknown>;
    target = conditions['@pdata/source'] ?? conditions.default;
  }
  expect(target, `${specifier} in imports of ${manifest.name} for browsers`).toBeTypeOf('string');
  return target as string;
}
