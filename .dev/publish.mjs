/**
 * Would the packages work for whoever installs them? Packs each one as it would be published, lets publint (manifest and
 * files) and Are The Types Wrong (resolution of types, ESM only) judge the tarball, then installs all of them into an empty
 * project and imports every entry and starts every program there, without the workspace's own export condition.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pnpm } from './pnpm.mjs';
import { cacheFolder, program, publishedPackages, root, tool } from './workspace.mjs';

/** @returns 0 when nothing is wrong, else 1 */
export function checkPublish() {
  const published = publishedPackages();
  const consumer = join(cacheFolder, 'consumer');
  rmSync(consumer, { recursive: true, force: true });
  mkdirSync(consumer, { recursive: true });
  writeFileSync(join(consumer, 'package.json'), '{ "private": true, "type": "module" }\n');

  let nrWrong = 0;
  for (const { folder, manifest } of published) {
    const tarball = pack(folder, manifest);
    if (
      tarball === undefined ||
      !passesLinters(tarball, manifest) ||
      !installInto(consumer, { tarball, folder, manifest })
    )
      nrWrong++;
  }
  if (nrWrong === 0) nrWrong = published.filter((candidate) => !worksIn(consumer, candidate)).length;
  if (nrWrong === 0) console.log(`${published.length} packages can be published.`);
  return nrWrong === 0 ? 0 : 1;
}

function pack(folder, manifest) {
  const into = join(cacheFolder, 'packed', manifest.name.replace('@pdata/', ''));
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true });
  const exitCode = pnpm(['--silent', '--dir', folder, 'pack', '--pack-destination', into]);
  if (exitCode === 0) return join(into, readdirSync(into)[0]);
  console.error(`${manifest.name}: pnpm pack failed (exit code ${exitCode}).`);
  return undefined;
}

function passesLinters(tarball, manifest) {
  const publint = tool('publint', ['run', tarball, '--strict']);
  const attw = tool('attw', [tarball, '--profile', 'esm-only', '--format', 'ascii', '--quiet']);
  if (publint === 0 && attw === 0) return true;
  console.error(`${manifest.name} would not work once published (publint ${publint}, attw ${attw}).`);
  return false;
}

/** Unpacks a package as npm would, its foreign dependencies linked to the copies that the workspace has. */
function installInto(consumer, { tarball, folder, manifest }) {
  const into = join(consumer, 'node_modules', manifest.name);
  mkdirSync(into, { recursive: true });
  if (program('tar', ['-xzf', tarball, '-C', into, '--strip-components=1']) !== 0) {
    console.error(`${manifest.name}: tar could not unpack ${tarball}.`);
    return false;
  }
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
    const installed = join(root, folder, 'node_modules', name);
    const link = join(consumer, 'node_modules', name);
    if (name.startsWith('@pdata/') || existsSync(link) || !existsSync(installed)) continue;
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(realpathSync(installed), link, 'junction');
  }
  return true;
}

function worksIn(consumer, { manifest, entries }) {
  const run = (args, options) => program(process.execPath, args, { cwd: consumer, ...options }) === 0;
  const broken = [
    ...entries
      .map(({ subpath }) => `${manifest.name}${subpath.slice(1)}`)
      .filter((specifier) => !run(['--input-type=module', '--eval', `await import(${JSON.stringify(specifier)})`])),
    ...Object.entries(manifest.bin ?? {})
      .filter(
        ([, file]) =>
          !run([join('node_modules', manifest.name, file), '--version'], { stdio: ['ignore', 'ignore', 'inherit'] }),
      )
      .map(([name]) => `${name} --version`),
  ];
  for (const what of broken) console.error(`${manifest.name}: ${what} fails in a project that installed the package.`);
  return broken.length === 0;
}
