/**
 * Installs what pnpm-lock.yaml says, when it has not been done yet: a fingerprint of the lock file and of every manifest
 * is left in node_modules/.cache, so that a second run costs a few milliseconds.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm } from './pnpm.mjs';
import { cacheFolder, Expected, packages, root } from './workspace.mjs';

export function install() {
  const stamp = join(cacheFolder, 'installed');
  const before = fingerprint();
  if (isInstalled() && existsSync(stamp) && readFileSync(stamp, 'utf8') === before) return;

  // In CI the lock file is law; at a desk pnpm may bring it up to date with a changed manifest.
  const frozen = process.env.CI ? '--frozen-lockfile' : '--prefer-frozen-lockfile';
  const exitCode = pnpm(['install', frozen, '--config.confirm-modules-purge=false']);
  if (exitCode !== 0 || !isInstalled()) {
    throw new Expected(
      `pnpm install failed (exit code ${exitCode}); its own message stands above.\n` +
        'The first run needs the network. If pnpm-lock.yaml is out of date, run `npm run pnpm -- install` and commit it.',
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
