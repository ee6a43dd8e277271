/**
 * The public surface of every published package, written down under docs/api/ and compared on every test run: a change of
 * the surface is then seen by whoever reviews it. `npm run update:api` accepts the change.
 *
 * API Extractor reads the .d.ts files of the build; it carries a TypeScript of its own.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import apiExtractor from '@microsoft/api-extractor';
import { cacheFolder, publishedPackages, root } from './workspace.mjs';

const { Extractor, ExtractorConfig, ExtractorLogLevel } = apiExtractor; // CommonJS without named exports
const REPORTS = 'docs/api';

/** @returns 0 when every report is true, else 1 */
export function checkApi({ update }) {
  const reports = new Set();
  let nrWrong = 0;
  for (const { folder, manifest, entries } of publishedPackages()) {
    const mainName = manifest.name.replace('@pdata/', '');
    for (const { subpath, types } of entries) {
      const name = [mainName, subpath.slice(2).replaceAll('/', '-')].filter(Boolean).join('-');
      // Of './store/node': the main entry, and './store'.
      const above = subpath === '.' ? [] : [mainName, ...namesAbove(mainName, subpath)];
      reports.add(`${name}.api.md`);
      if (!existsSync(join(root, folder, types))) {
        console.error(`${manifest.name}: ${types} is missing; the build has to succeed first.`);
        nrWrong++;
        continue;
      }
      nrWrong += entryIsTrue({ folder, manifest, types, name, above, update }) ? 0 : 1;
    }
  }
  const known = existsSync(join(root, REPORTS)) ? readdirSync(join(root, REPORTS)) : [];
  for (const file of known.filter((file) => file.endsWith('.api.md') && !reports.has(file))) {
    if (update) rmSync(join(root, REPORTS, file));
    else console.error(`${REPORTS}/${file} describes an entry that no package has. Run npm run update:api.`);
    nrWrong += update ? 0 : 1;
  }
  if (nrWrong === 0) console.log(`${reports.size} reports in ${REPORTS} agree with the packages.`);
  return nrWrong === 0 ? 0 : 1;
}

function namesAbove(mainName, subpath) {
  const parts = subpath.slice(2).split('/');
  return parts.slice(1).map((_, index) => [mainName, ...parts.slice(0, index + 1)].join('-'));
}

function entryIsTrue({ folder, manifest, types, name, above, update }) {
  const fresh = join(cacheFolder, 'api');
  mkdirSync(fresh, { recursive: true });
  const found = [];
  const config = ExtractorConfig.prepare({
    configObject: {
      projectFolder: join(root, folder),
      mainEntryPointFilePath: join(root, folder, types),
      compiler: {
        overrideTsconfig: {
          compilerOptions: {
            target: 'ES2022',
            lib: ['ES2023'],
            module: 'NodeNext',
            strict: true,
            skipLibCheck: true,
            types: ['node'],
          },
          files: [types],
        },
      },
      apiReport: {
        enabled: true,
        reportFileName: `${name}.api.md`,
        reportFolder: fresh,
        reportTempFolder: fresh,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      newlineKind: 'lf',
      messages: {
        compilerMessageReporting: { default: { logLevel: 'error' } },
        extractorMessageReporting: {
          default: { logLevel: 'none' },
          // A type that a public signature names and the entry does not export: its users could not name it.
          'ae-forgotten-export': { logLevel: 'error', addToApiReportFile: false },
        },
        tsdocMessageReporting: { default: { logLevel: 'none' } },
      },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, folder, 'package.json'),
  });
  Extractor.invoke(config, {
    localBuild: true,
    messageCallback(message) {
      message.handled = true;
      if (message.logLevel !== ExtractorLogLevel.Error) return;
      const symbol = message.messageId === 'ae-forgotten-export' ? /"([^"]+)"/.exec(message.text)?.[1] : undefined;
      found.push({ symbol, text: message.formatMessageWithLocation(root) });
    },
  });
  // A sub-path may name what an entry above it exports; its users import that from there.
  const elsewhere = above.map((entry) => readFileSync(join(fresh, `${entry}.api.md`), 'utf8')).join('\n');
  const problems = found.filter(({ symbol }) => symbol === undefined || !exportsName(elsewhere, symbol));
  for (const { text } of problems) console.error(`${manifest.name}: ${text}`);

  const report = join(root, REPORTS, `${name}.api.md`);
  const now = readFileSync(join(fresh, `${name}.api.md`), 'utf8');
  if (update) {
    mkdirSync(join(root, REPORTS), { recursive: true });
    writeFileSync(report, now);
    return problems.length === 0;
  }
  const before = existsSync(report) ? readFileSync(report, 'utf8') : '';
  if (before !== now) {
    console.error(`The public surface of ${manifest.name} is not what ${REPORTS}/${name}.api.md says:`);
    console.error(lineChanges(before, now));
    console.error('If the change is meant, run npm run update:api and commit the report with it.');
  }
  return problems.length === 0 && before === now;
}

function exportsName(report, name) {
  const declared = '(?:abstract )?(?:class|interface|type|function|const|enum|namespace)';
  return new RegExp(`^export ${declared} ${name}\\b`, 'm').test(report);
}

/** Lines that only one side has; good enough to see what changed, git shows the rest once the report is updated. */
function lineChanges(before, now) {
  const [old, fresh] = [before.split('\n'), now.split('\n')];
  const [hadLine, hasLine] = [new Set(old), new Set(fresh)];
  const lines = [
    ...old.filter((line) => !hasLine.has(line)).map((line) => `  - ${line}`),
    ...fresh.filter((line) => !hadLine.has(line)).map((line) => `  + ${line}`),
  ];
  return [...lines.slice(0, 30), ...(lines.length > 30 ? [`  … ${lines.length - 30} more`] : [])].join('\n');
}
