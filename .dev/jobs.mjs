/**
 * The jobs behind the npm scripts. Each first installs what is missing, so that any of them works in a fresh clone.
 *
 * `test` goes on after a failed step, to show all that is wrong in one run, and ends with one line for machines:
 * `N passed, N failed, N skipped`. It counts the tests, and each other step (format and lint, types, API surface,
 * publishing) as one.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { install } from './install.mjs';
import { cacheFolder, Expected, program, root, tool } from './workspace.mjs';

const EVERYTHING = ['packages', '.dev/tsconfig.tests.json'];
const jobs = {
  start(args) {
    mustBuild(['examples/thin-pool', 'packages/tools', 'packages/testing']);
    return packageScript('examples/thin-pool', 'start', args);
  },
  test,
  build: () => build(EVERYTHING),
  bench(args) {
    mustBuild(['benchmarks']);
    return packageScript('benchmarks', 'start', args);
  },
  faultlab(args) {
    mustBuild(['packages']);
    return packageScript('packages/conformance', 'faultlab', args);
  },
  lint: () => tool('biome', ['check', '.']),
  format: () => tool('biome', ['check', '--write', '.']),
  async 'check:api'() {
    mustBuild(['packages']);
    return (await import('./api-surface.mjs')).checkApi({ update: false });
  },
  async 'update:api'() {
    mustBuild(['packages']);
    return (await import('./api-surface.mjs')).checkApi({ update: true });
  },
  async 'check:publish'() {
    mustBuild(['packages']);
    return (await import('./publish.mjs')).checkPublish();
  },
};

/** Runs a job by its name. Returns its exit code. */
export async function runJob(name, args) {
  if (!Object.hasOwn(jobs, name)) {
    throw new Expected(`Unknown job ${name ?? '(none)'}. Known: ${Object.keys(jobs).join(', ')}.`);
  }
  install();
  return await jobs[name](args);
}

/** @param args vitest's own arguments, e.g. part of a file name; then only those tests run, without the other steps. */
async function test(args) {
  if (args.length > 0) return vitest(args).exitCode;

  const steps = [
    ['format and lint', () => tool('biome', ['check', '--max-diagnostics=100', '.'])],
    ['types', () => build(EVERYTHING)],
    ['API surface', async () => (await import('./api-surface.mjs')).checkApi({ update: false })],
    ['publishing', async () => (await import('./publish.mjs')).checkPublish()],
  ];
  const failed = [];
  for (const [name, run] of steps) {
    console.log(`\n== ${name}`);
    if (!(await succeeds(run))) failed.push(name);
  }
  console.log('\n== tests');
  const tests = vitest([]);
  if (failed.length > 0) console.log(`\nFailed before the tests: ${failed.join(', ')} (see above).`);
  const nrPassed = tests.nrPassed + steps.length - failed.length;
  const nrFailed = tests.nrFailed + failed.length;
  console.log(`${nrPassed} passed, ${nrFailed} failed, ${tests.nrSkipped} skipped`);
  return tests.exitCode !== 0 || nrFailed > 0 ? 1 : 0;
}

async function succeeds(step) {
  try {
    return (await step()) === 0;
  } catch (error) {
    console.error(error);
    return false;
  }
}

function vitest(args) {
  const report = join(cacheFolder, 'vitest.json');
  rmSync(report, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const exitCode = tool('vitest', ['run', '--config', '.dev/vitest.config.ts', ...reporters, ...args]);
  if (!existsSync(report)) return { exitCode: exitCode || 1, nrPassed: 0, nrFailed: 1, nrSkipped: 0 };

  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  // A file that cannot even be loaded has no failed test of its own.
  const nrBroken = testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
  ).length;
  // An error outside any test (an unhandled rejection) fails the run without failing a test.
  const nrFailed = numFailedTests + nrBroken;
  return {
    exitCode,
    nrPassed: numPassedTests,
    nrFailed: nrFailed === 0 && exitCode !== 0 ? 1 : nrFailed,
    nrSkipped: numPendingTests + numTodoTests,
  };
}

function mustBuild(projects) {
  if (build(projects) !== 0) throw new Expected('The build failed; the compiler’s messages stand above.');
}

/** Runs a script of a package's manifest that is a plain `node FILE …` command, without another package manager's start. */
function packageScript(folder, script, args = []) {
  const { scripts } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  const [command, ...rest] = scripts[script].split(' ');
  if (command !== 'node') throw new Expected(`${folder}: the script "${script}" must be a plain node command.`);
  return program(process.execPath, [...rest, ...args], { cwd: join(root, folder) });
}
