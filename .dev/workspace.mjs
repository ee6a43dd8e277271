/** What the scripts of .dev know about the workspace: where it is, which packages it has, how to run a program in it. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const cacheFolder = join(root, 'node_modules', '.cache', 'pdata');

/** A failure that its message explains: shown without a stack. */
export class Expected extends Error {
  isExpected = true;
}

/** Every package of the workspace as `{ folder, manifest }`, `folder` relative to the root. */
export function packages() {
  const under = (parent) => readdirSync(join(root, parent), { withFileTypes: true }).map((e) => `${parent}/${e.name}`);
  return [...under('packages'), ...under('examples'), 'benchmarks']
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .sort()
    .map((folder) => ({ folder, manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) }));
}

/** The packages that are published, with the name of each public entry and its declaration file. */
export function publishedPackages() {
  return packages()
    .filter(({ manifest }) => manifest.private !== true)
    .map(({ folder, manifest }) => ({
      folder,
      manifest,
      entries: Object.entries(manifest.exports).map(([subpath, target]) => ({ subpath, types: target.types })),
    }));
}

/** Runs an installed development tool (a name in node_modules/.bin) at the root. Returns the exit code. */
export function tool(name, args, options = {}) {
  const bin = join(root, 'node_modules', '.bin', process.platform === 'win32' ? `${name}.cmd` : name);
  return program(bin, args, { shell: process.platform === 'win32', ...options });
}

/** Runs a program at the root with this process's output and no input. Returns the exit code. */
export function program(file, args, options = {}) {
  const run = spawnSync(file, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options });
  if (run.error) throw run.error;
  return run.status ?? 1;
}
