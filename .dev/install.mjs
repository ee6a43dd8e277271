/**
 * Installs what pnpm-lock.yaml says, when it has not been done yet: a fingerprint of the lock file and of every manifest
 * is left in node_modules/.cache, so that a second run costs a few milliseconds.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm } from './pnpm.mjs';
import { cacheFolder, Expected, packages, root } from './workspace.mjs';

const INSTALL = ['install', '--config.confirm-modules-purge=false'];

export function install() {
  const stamp = join(cacheFolder, 'installed');
  const before = fingerprint();
  if (isInstalled() && existsSync(stamp) && readFileSync(stamp, 'utf8') === before) return;

  // Exactly what the lock file says. Its hashes were judged when they were committed, so pnpm need not ask the registry
  // for the age of every package again (which doubles the time, and fails on registries that do not tell).
  let exitCode = pnpm([...INSTALL, '--frozen-lockfile', '--config.minimum-release-age=0']);
  if (exitCode !== 0 && !process.env.CI) {
    console.log('Trying again with pnpm-lock.yaml brought up to date …');
    exitCode = pnpm([...INSTALL, '--no-frozen-lockfile']);
  }
  if (exitCode !== 0 || !isInstalled()) {
    throw new Expected(
      `pnpm install failed (exit code ${exitCode}); its own message stands above.\n` +
        'The first run needs the network, later ones do not. If pnpm-lock.yaml does not fit the manifests, run ' +
        '`npm run pnpm -- install` and commit it.',
    );
  }
  mkdirSync(cacheFolder, { recursive: true });
  writeFileSync(stamp, fingerprint());
}

/** Every package with dependencies has its node_modules, and the programs of @pdata/tools are linked at the root. */
function isInstalled() {
  const needsModules = ({ manifest }) => Object.keys(manifest.dependencies ?? {}).length > 0;
  return [
    'node_modules/.modules.yaml',
    'node_modules/.bin/pdata',
    ...packages()
      .filter(needsModules)
      .map(({ folder }) => `${folder}/node_modules`),
  ].every((path) => existsSync(join(root, path)));
}

function fingerprint() {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} node ${process.versions.modules}\n`);
  const manifests = packages().map(({ folder }) => `${folder}/package.json`);
  for (const path of ['package.json', 'pnpm-workspace.yaml', 'pnpm-lock.yaml', ...manifests]) {
    hash.update(`${path}\n`).update(existsSync(join(root, path)) ? readFileSync(join(root, path)) : 'absent\n');
  }
  return hash.digest('hex');
}
