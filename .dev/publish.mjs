/**
 * Would the packages work for whoever installs them? Packs each one as it would be published and lets publint (manifest
 * and files) and Are The Types Wrong (resolution of types, ESM only) judge the tarball.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm } from './pnpm.mjs';
import { cacheFolder, publishedPackages, tool } from './workspace.mjs';

/** @returns 0 when nothing is wrong, else 1 */
export function checkPublish() {
  let nrWrong = 0;
  for (const { folder, manifest } of publishedPackages()) {
    const into = join(cacheFolder, 'packed', manifest.name.replace('@pdata/', ''));
    rmSync(into, { recursive: true, force: true });
    mkdirSync(into, { recursive: true });
    if (pnpm(['--silent', '--dir', folder, 'pack', '--pack-destination', into]) !== 0) {
      console.error(`${manifest.name}: pnpm pack failed.`);
      nrWrong++;
      continue;
    }
    const tarball = join(into, readdirSync(into)[0]);
    const publint = tool('publint', ['run', tarball, '--strict']);
    const attw = tool('attw', [tarball, '--profile', 'esm-only', '--format', 'ascii', '--quiet']);
    if (publint !== 0 || attw !== 0) {
      console.error(`${manifest.name} would not work once published (publint ${publint}, attw ${attw}).`);
      nrWrong++;
    }
  }
  if (nrWrong === 0) console.log(`${publishedPackages().length} packages can be published.`);
  return nrWrong === 0 ? 0 : 1;
}
