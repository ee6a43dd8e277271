/** What `npm start` runs: the demo, without a terminal, on one, and where it cannot do its work. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { LocalPoolHost } from '../src/pool/local-host.js';
import { buildProgram, openScratch, PROGRAM, type Scratch, thinPool } from './program.js';

const DEMO = join(dirname(PROGRAM), '../dist/demo.js');
/** Gives a program a terminal of its own. */
const HAS_TERMINALS = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;
if (!HAS_TERMINALS) console.log('The demo is not run on a terminal here: that needs `script` of util-linux.');

beforeAll(buildProgram);

/** Runs the demo with the scratch directory as the place for temporary files. */
const demo = (scratch: Scratch, args: readonly string[] = [], TMPDIR = scratch.path()): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, [DEMO, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', TMPDIR },
  });

describe('the demo', () => {
  it('without a terminal shows every step, ends by itself, and leaves nothing', () => {
    using scratch = openScratch();
    const { status, stdout, stderr } = demo(scratch);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^1 {2}A pool that the Linux kernel made$/m);
    expect(stdout).toContain('ok Each volume, read over NBD, has the sha256 that the kernel recorded');
    expect(stdout).toMatch(/^ {3}Snapshot "monday" of v0 taken in [\d.]+ ms, while v0 is served\.$/m);
    expect(stdout).toContain('ok "tuesday" has the same sha256 in both pools.');
    expect(stdout.match(/ok metadata, catalogue and data fit together/g)).toHaveLength(2);
    expect(stdout).toContain('Everything was as it should be.');
    expect(readdirSync(scratch.path())).toEqual([]);
  });

  it('with --keep leaves two sound pools, says what to try with them, and never touches them again', async () => {
    using scratch = openScratch();
    const folder = scratch.path('kept');
    const { status, stdout } = demo(scratch, ['--keep', folder]);
    expect(status).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(['copy', 'pool']);
    const [, suggested = ''] = /^ {5}(node .* volume create .*)$/m.exec(stdout) ?? [];
    expect(suggested).toContain(`volume create ${folder}/pool mydisk 1G`);
    expect(thinPool(suggested.split(' ').slice(2))).toMatchObject({ exitCode: 0 });
    for (const pool of ['pool', 'copy']) expect(thinPool(['check', join(folder, pool)])).toMatchObject({ exitCode: 0 });
    expect(demo(scratch, ['--keep', folder])).toMatchObject({ status: 1, stdout: '' });
    const host = await LocalPoolHost.open(join(folder, 'pool'));
    expect((await host.volumes()).map(({ name }) => name)).toContain('mydisk');
    await host.close();
  });

  it.runIf(HAS_TERMINALS)('on a terminal serves until Ctrl-C, and then leaves nothing', async () => {
    using scratch = openScratch();
    // exec: a shell that waited would be interrupted too, and dash then ends with 130, whatever its child said.
    const child = spawn('script', ['-qec', `exec '${process.execPath}' '${DEMO}'`, '/dev/null'], {
      env: { ...process.env, TERM: 'dumb', TMPDIR: scratch.path() },
    });
    let output = '';
    let pageAnswered: Promise<number> | undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const [, page] = /The live page: \S*?(http:\/\/127\.0\.0\.1:\d+\/)/.exec(output) ?? [];
      if (pageAnswered !== undefined || page === undefined || !output.includes('Serving until Ctrl-C.')) return;
      pageAnswered = fetch(page).then(({ status }) => status);
      void pageAnswered.finally(() => child.stdin.write('\x03'));
    });
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect(await pageAnswered, output).toBe(200);
    expect(output).toContain('nbdinfo --map=qemu:dirty-bitmap:monday');
    expect(output).toContain('Ended: everything is committed.');
    expect(status).toBe(0);
    expect(readdirSync(scratch.path())).toEqual([]);
  });

  it.each([
    [['--keep'], 2, /^usage: npm start \[-- --keep DIR\]$/m],
    [['--keep', 'a', 'b'], 2, /^usage: /],
    [['--kept', 'a'], 2, /^usage: /],
  ])('says how it is used when it is told %j', (args, exitCode, says) => {
    using scratch = openScratch();
    const { status, stdout, stderr } = demo(scratch, args);
    expect({ status, stdout }).toEqual({ status: exitCode, stdout: '' });
    expect(stderr).toMatch(says);
    expect(demo(scratch, ['--help'])).toMatchObject({ status: 0, stdout: stderr, stderr: '' });
  });

  it('says in one sentence where it cannot work, and harms nothing that is there', () => {
    using scratch = openScratch();
    const failed = (run: SpawnSyncReturns<string>): string => {
      expect(run.status).toBe(1);
      expect(run.stderr).toMatch(/^The demo failed: [^\n]+\n$/);
      return run.stderr;
    };
    expect(failed(demo(scratch, [], scratch.path('missing')))).toContain(
      'no such file or directory; name another place: npm start -- --keep DIR',
    );
    writeFileSync(scratch.path('file'), 'mine');
    expect(failed(demo(scratch, ['--keep', scratch.path('file')]))).toContain('cannot make the directory');
    expect(readFileSync(scratch.path('file'), 'utf8')).toBe('mine');
    mkdirSync(scratch.path('taken', 'copy'), { recursive: true });
    expect(failed(demo(scratch, ['--keep', scratch.path('taken')]))).toContain('has a pool of an earlier demo');
  });
});
