import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runTool } from '../test/run-tool.js';
import { COMMANDS } from './commands/registry.js';
import { BrokenPipeError } from './io/io.js';
import { PDATA_VERSION } from './version.js';

const NAMES = COMMANDS.map(({ name }) => name);
const PROGRAMS = NAMES.filter((name) => !name.includes(' '));
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

describe('pdata', () => {
  it('lists its commands, each with what it is for', async () => {
    for (const line of ['--help', '-h', 'help']) {
      const { exitCode, stdout } = await runTool(line);
      expect(exitCode).toBe(0);
      for (const { name, summary } of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${name} +${summary}$`, 'm'));
    }
  });

  it('lists them for want of a command, or of one it knows, and ends with 64', async () => {
    const nothing = await runTool([]);
    expect(nothing).toMatchObject({ exitCode: 64, stdout: '' });
    expect(nothing.stderr).toContain('thin_restore');
    const unknown = await runTool('thin_chek x');
    expect(unknown).toMatchObject({ exitCode: 64, stdout: '' });
    expect(unknown.stderr).toMatch(/^unrecognised command 'thin_chek'; did you mean 'thin_check'\?\n/);
    expect(unknown.stderr).toContain('Usage: pdata <command> <args>');
  });

  it('tells its exit codes', async () => {
    const { stdout } = await runTool('--help');
    expect(stdout).toContain('Exit codes: 0 done; 2 ');
    expect(stdout).toMatch(/64 anything else, such as no command\nor an unknown one/);
  });

  it('shows what a terminal would obey, and does not send it there', async () => {
    for (const line of ['\x1b[2Jx', 'thin_check \x1b[2Jx', 'thin_ls a \x1b[2Jx', 'thin_check --\x1b[2Jx']) {
      const { stderr } = await runTool(line);
      expect(stderr).toContain('\\x1b[2Jx');
      expect(stderr).not.toContain('\x1b');
    }
    expect((await runTool(['thin_check', 'a\u202eb\x9b'])).stderr).toContain("'a\\u202eb\\x9b'");
  });

  it('knows commands of two words, and helps who knows the first', async () => {
    expect((await runTool('serve thin --version')).stdout).toBe(`${PDATA_VERSION}\n`);
    for (const [line, says] of [
      ['serve', "'serve' alone is no command: 'serve clone', 'serve mirror' or 'serve thin'"],
      ['serve --help', "'serve' alone is no command: 'serve clone', 'serve mirror' or 'serve thin'"],
      ['serve thim x', "unrecognised command 'serve thim'; did you mean 'serve thin'?"],
      ['serve miror x', "unrecognised command 'serve miror'; did you mean 'serve mirror'?"],
      ['serve xyz', "unrecognised command 'serve xyz'; did you mean 'serve clone'?"],
    ] as const) {
      const { exitCode, stderr } = await runTool(line);
      expect(exitCode).toBe(64);
      expect(stderr.split('\n')[0]).toBe(says);
    }
  });

  it('has a separate program for each command of one word, which begins with its name', () => {
    expect(Object.keys(manifest.bin).sort()).toEqual([...PROGRAMS, 'pdata'].sort());
    for (const name of PROGRAMS) {
      const program = readFileSync(new URL(`../${manifest.bin[name]}`, import.meta.url), 'utf8');
      expect(program).toContain(`main(['${name}', ...process.argv.slice(2)])`);
    }
  });

  it('tells its own version, which is the package’s', async () => {
    expect(PDATA_VERSION).toBe(manifest.version);
    expect((await runTool('--version')).stdout).toBe(`${manifest.version}\n`);
  });
});

describe.each(NAMES)('%s', (name) => {
  it('tells a version: where there is a program of LVM, one that it can read and finds new enough', async () => {
    const version = name.startsWith('thin_') ? '1.1.0' : PDATA_VERSION;
    for (const option of ['-V', '--version']) {
      expect(await runTool(`${name} ${option}`)).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
    }
  });

  it('explains itself completely: every option, the exit codes, examples', async () => {
    const command = await COMMANDS.find((registered) => registered.name === name)!.load();
    const { exitCode, stdout, stderr } = await runTool(`${name} --help`);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain(`\nUsage: ${command.commandLine.name} [OPTIONS]`);
    for (const [long, { hidden, help }] of Object.entries(command.commandLine.options)) {
      expect(stdout.includes(`--${long}`), long).toBe(!hidden);
      if (!hidden) expect(help).toMatch(/^[A-Z].*[.\]]$/);
    }
    expect(stdout).toContain('\nExit codes: 0 ');
    expect(stdout).toContain(`\nExamples:\n`);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(115);
  });

  it('answers a wrong command line with 2, in JSON too when that is asked for', async () => {
    const text = await runTool(`${name} --bogus`);
    expect(text).toMatchObject({ exitCode: 2, stdout: '' });
    const { exitCode, stdout } = await runTool(`${name} --bogus --json`);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      tool: PROGRAMS.includes(name) ? name : `pdata ${name}`,
      ok: false,
      exitCode: 2,
      errors: [{ code: 'ERR_USAGE', message: expect.stringContaining("error: unexpected argument '--bogus' found") }],
    });
  });

  it('ends with 64 and without a word when its output is closed', async () => {
    const out = () => {
      throw new BrokenPipeError('closed');
    };
    expect(await runTool(`${name} --help`, { out })).toEqual({ exitCode: 64, stdout: '', stderr: '' });
  });

  it('calls a bug a bug, and shows the stack only to those who ask', async () => {
    const out = () => {
      throw new TypeError('x is not a function');
    };
    const plain = await runTool(`${name} --help`, { out });
    expect(plain.exitCode).toBe(64);
    expect(plain.stderr).toMatch(/^this is a bug in pdata \(TypeError: x is not a function\); please report it/);
    expect(plain.stderr).not.toContain('    at ');
    expect((await runTool(`${name} --help`, { out, isDebugging: true })).stderr).toContain('    at ');
  });
});
