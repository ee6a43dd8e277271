/**
 * pnpm at one exact version, without anything installed globally.
 *
 * npm brings it once into node_modules/.cache (a folder that pnpm leaves alone). Its install scripts do not run: its
 * JavaScript entry finds the native binary by itself. As a program: `node .dev/pnpm.mjs add -D x`, `npm run pnpm -- ls`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Expected, root } from './workspace.mjs';

// Not in package.json's `packageManager`: pnpm 12 would then want its own resolution in the lock file, and a frozen
// install fails wherever the lock was written against a registry that does not carry every one of its binaries.
const PACKAGE = 'pnpm@12.21.0';

/** Runs pnpm at the root with this process's output. Returns the exit code. */
export function pnpm(args) {
  const run = spawnSync(process.execPath, [fetchPnpm(), ...args], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (run.error) throw run.error;
  return run.status ?? 1;
}

/** Path of pnpm's entry script, fetched if it is not there yet. */
function fetchPnpm() {
  const folder = join(root, 'node_modules', '.cache', PACKAGE.replace('@', '-'));
  const entry = join(folder, 'node_modules', 'pnpm', 'bin', 'pnpm.mjs');
  const done = join(folder, 'complete');
  if (existsSync(done) && existsSync(entry)) return entry;

  console.log(`Fetching ${PACKAGE} into node_modules/.cache …`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const run = npm(['install', '--prefix', folder, ...options, PACKAGE], folder);
  if (run.status !== 0 || !existsSync(entry)) {
    throw new Expected(
      `npm could not fetch ${PACKAGE}${run.error ? ` (${run.error.message})` : ''}.\n` +
        'The first run needs the network, for pnpm and for the packages in pnpm-lock.yaml; later runs do not.\n' +
        'Behind a proxy or a private registry, set it up for npm (`npm config set proxy …`, `… registry …`) and try again.',
    );
  }
  writeFileSync(done, `${PACKAGE}\n`);
  return entry;
}

function npm(args, cwd) {
  const stdio = ['ignore', 'inherit', 'inherit'];
  const running = process.env.npm_execpath; // set when npm started us; of pnpm or yarn when those did
  if (running && basename(running) === 'npm-cli.js')
    return spawnSync(process.execPath, [running, ...args], { cwd, stdio });
  return spawnSync('npm', args, { cwd, stdio, shell: process.platform === 'win32' });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = pnpm(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
