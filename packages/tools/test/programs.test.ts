/**
 * The programs in bin/ as processes, for what only a process shows: exit codes, closed and slow pipes, interrupts, and the
 * calls LVM makes. They run the build, so the build is brought up to date first.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../src/commands/registry.js';
import { PDATA_VERSION } from '../src/version.js';
import { setNeedsCheck } from './damage.js';
import { kernelImage, scratchDirectory, writeImage } from './run-tool.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const bin = (name: string): string => join(root, 'packages/tools/bin', `${name}.js`);
const directory = scratchDirectory();
const basic = writeImage(directory, 'basic.img', kernelImage('thin-basic'));
const PROGRAMS = COMMANDS.map(({ name }) => name).filter((name) => !name.includes(' '));
const NR_MAPPINGS = 400_000;
const largeXml = join(directory, 'large.xml');
const large = join(directory, 'large.img');

function run(name: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin(name), ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  return { exitCode: status, stdout, stderr };
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('close', (exitCode) => resolve(exitCode)));

function makeTarget(path: string): string {
  writeFileSync(path, Buffer.alloc(4096, 0xaa));
  truncateSync(path, 64 * 2 ** 20);
  return path;
}

beforeAll(() => {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [tsc, '-b', join(root, 'packages/tools')], { encoding: 'utf8' });
  expect(built.status, `the programs cannot be built:\n${built.stdout}`).toBe(0);
  const mappings = Array.from(
    { length: NR_MAPPINGS },
    (_, i) => `    <single_mapping origin_block="${i}" data_block="${NR_MAPPINGS - 1 - i}" time="0"/>\n`,
  );
  writeFileSync(
    largeXml,
    `<superblock uuid="" time="0" transaction="9" version="2" data_block_size="128" nr_data_blocks="${NR_MAPPINGS}">\n` +
      `  <device dev_id="1" mapped_blocks="${NR_MAPPINGS}" transaction="0" creation_time="0" snap_time="0">\n` +
      `${mappings.join('')}  </device>\n</superblock>`,
  );
  expect(run('thin_restore', '-i', largeXml, '-o', makeTarget(large))).toEqual({ exitCode: 0, stdout: '', stderr: '' });
});

describe('the programs', () => {
  it.each(PROGRAMS)('%s runs by its own name and as a command of pdata', (name) => {
    // Those that stand in for a real tool say for which release of it; the others have pdata's own version.
    const stdout = `${name.startsWith('thin_') ? '1.1.0' : PDATA_VERSION}\n`;
    expect(run(name, '-V')).toEqual({ exitCode: 0, stdout, stderr: '' });
    expect(run('pdata', name, '-V')).toEqual({ exitCode: 0, stdout, stderr: '' });
    expect(run(name, '--bogus').exitCode).toBe(2);
  });

  it('write all of a large dump into a pipe', () => {
    const { exitCode, stdout } = run('thin_dump', large);
    expect(exitCode).toBe(0);
    expect(stdout === readFileSync(largeXml, 'utf8')).toBe(true); // toBe would print 30 MB
  });

  it.runIf(process.platform !== 'win32')(
    'write all of it into a pipe that does not block, at its reader’s pace',
    async () => {
      const fifo = join(directory, 'fifo');
      expect(spawnSync('mkfifo', [fifo]).status).toBe(0);
      const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
      const child = spawn(process.execPath, [bin('thin_dump'), large], { stdio: ['ignore', fd, 'inherit'] });
      const exitCode = ended(child);
      const expected = readFileSync(largeXml);
      const buffer = Buffer.alloc(1 << 20);
      let nrRead = 0;
      let isSame = true;
      while (nrRead < expected.length) {
        try {
          const nr = readSync(fd, buffer);
          isSame &&= expected.subarray(nrRead, nrRead + nr).equals(buffer.subarray(0, nr));
          nrRead += nr;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      expect(await exitCode).toBe(0);
      closeSync(fd);
      expect(isSame).toBe(true);
    },
  );

  it.each([
    ['thin_dump', large],
    ['thin_dump', '--json', large],
    ['thin_check', basic],
    ['thin_check', '--json', basic],
    ['thin_ls', '-o', 'DEV', basic],
    ['thin_metadata_size', '-b', '64k', '-s', '1t', '-m', '1'],
    ['thin_restore', '--help'],
    ['mirror_check', '--help'],
    ['mirror_dump', '--help'],
    ['mirror_verify', '--help'],
    ['pdata', '--help'],
  ])('end with 64 when nobody reads what they print: %s %s', async (name, ...args) => {
    const child = spawn(process.execPath, [bin(name), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    expect(await ended(child)).toBe(64);
    expect(stderr).not.toMatch(/EPIPE|Error|bug|\n {4}at /);
  });

  it.runIf(process.platform === 'linux')('tell that a full disk took no output', () => {
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [bin('thin_dump'), basic], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    closeSync(full);
    expect(status).toBe(64);
    expect(stderr).toMatch(/^output error: cannot write to standard output: no space left on device\n {2}next step: /);
  });
});

describe('thin_restore', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stopped by %s leaves no valid superblock, and says so', async (signal, expected) => {
    const target = makeTarget(join(directory, `${signal}.img`));
    const child = spawn(process.execPath, [bin('thin_restore'), '-i', largeXml, '-o', target], {
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    const exitCode = ended(child);
    const start = Buffer.alloc(4096);
    const isWiped = (): boolean => {
      const fd = openSync(target, 'r');
      readSync(fd, start);
      closeSync(fd);
      return start.every((byte) => byte === 0);
    };
    while (!isWiped() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill(signal);
    expect(await exitCode).toBe(expected);
    expect(stderr).toBe(`interrupted\n  effect: '${target}' holds no valid metadata now\n  next step: run it again\n`);
    expect(isWiped()).toBe(true);
  });
});

/** docs/format/tools.md, section 9. */
describe('what LVM does', () => {
  it('asks the version: digits at the start of the first line', () => {
    expect(run('thin_check', '-V').stdout.split('\n')[0]).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('checks a pool before and after it is active', () => {
    const bytes = kernelImage('thin-basic');
    setNeedsCheck(bytes);
    const path = writeImage(directory, 'needs-check.img', bytes);
    const silence = { exitCode: 0, stdout: '', stderr: '' };
    expect(run('thin_check', '-q', '--clear-needs-check-flag', path)).toEqual(silence);
    expect(run('thin_check', '-q', path)).toEqual(silence);
    expect(readFileSync(path).equals(kernelImage('thin-basic'))).toBe(true);
  });

  it('reads the first line of a dump, for the transaction id, and closes the pipe', () => {
    const command = `"${process.execPath}" "${bin('thin_dump')}" "${large}"`;
    const { status, stdout, stderr } = spawnSync('sh', ['-c', `${command} | head -n 1`], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^<superblock [^>]* transaction="9" [^>]*>\n$/);
  });

  it('restores a pool that it has made up', () => {
    const target = makeTarget(join(directory, 'lvm.img'));
    expect(run('thin_restore', '-i', largeXml, '-o', target).exitCode).toBe(0);
    expect(run('thin_check', '-q', target).exitCode).toBe(0);
  });

  it('never asks about a device whose first 64 bytes are zero; whoever does is told what it is', () => {
    const path = writeImage(directory, 'zero.img', Buffer.alloc(4 * 2 ** 20));
    const { exitCode, stdout, stderr } = run('thin_check', path);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    expect(stderr).toContain('an unformatted device');
  });
});
