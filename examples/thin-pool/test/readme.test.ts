/**
 * The README, typed: every line behind `$ ` in a ```console block is run in one shell, in order, and must print what stands
 * there. What differs from run to run (times, process ids, tokens, the directory) is compared by its form.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { buildProgram, openScratch, PROGRAM } from './program.js';

interface Typed {
  readonly command: string;
  readonly expected: string;
}

const typed = typedIn(readFileSync(fileURLToPath(new URL('../README.md', import.meta.url)), 'utf8'));
const PATIENCE_MS = 40_000;
const TOOLS = ['qemu-io', 'nbdinfo', 'bash'];
const missing = TOOLS.filter((tool) => spawnSync(tool, ['--version']).error !== undefined);
if (missing.length > 0) console.log(`The README is not typed here: ${missing.join(' and ')} cannot be run.`);

beforeAll(buildProgram);

it.runIf(missing.length === 0)('says what really happens', { timeout: 300_000 }, async () => {
  using scratch = openScratch();
  const [bin, home] = [scratch.path('bin'), scratch.path('you')];
  mkdirSync(bin);
  mkdirSync(home);
  writeFileSync(`${bin}/thin-pool`, `#!/bin/sh\nexec "${process.execPath}" "${PROGRAM}" "$@"\n`);
  chmodSync(`${bin}/thin-pool`, 0o755);
  const shell = new Shell(home, `${bin}:${process.env.PATH}`);
  try {
    let token = '';
    let transcript = '';
    for (const { command, expected } of typed) {
      const printed = await shell.type(command.replace('TOKEN', token), expected);
      token = /--resume (\S+:\S+)/.exec(printed)?.[1] ?? token;
      transcript += `$ ${command}\n${printed}`;
    }
    const whole = typed.map(({ command, expected }) => `$ ${command}\n${expected}`).join('');
    expect(normal(transcript.replaceAll(home, '/home/you'))).toBe(normal(whole));
  } finally {
    await shell.end();
  }
});

function typedIn(readme: string): Typed[] {
  return [...readme.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const end = part.indexOf('\n');
        return { command: part.slice(0, end), expected: part.slice(end + 1) };
      }),
  );
}

const normal = (text: string): string =>
  text
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d/g, '2026-11-20 15:30')
    .replace(/by process \d+/g, 'by process 4711')
    .replace(/[0-9a-f]{32}:\d+:[0-9a-f]{8}:\d+/g, 'TOKEN');

/** One bash for all lines, so that jobs in the background go on. Both its streams are one, as on a terminal. */
class Shell {
  readonly #child;
  #output = '';
  #nr = 0;

  constructor(cwd: string, path: string) {
    this.#child = spawn('bash', ['--norc'], {
      cwd,
      env: { ...process.env, PATH: path, NO_COLOR: '1' },
      detached: true,
    });
    this.#child.stdin.write('exec 2>&1\n');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
  }

  /** What a line prints: until the shell is done with it, or, in the background, until as many lines are there as expected. */
  async type(command: string, expected: string): Promise<string> {
    const end = `--- end of line ${this.#nr++} ---`;
    const isBackground = command.endsWith('&');
    this.#child.stdin.write(`${command}\n${isBackground ? '' : `echo "${end}"\n`}`);
    const nrLines = expected.split('\n').length - 1;
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      if (Date.now() > until) throw new Error(`this takes too long: ${command}\n${this.#output}`);
      const at = this.#output.indexOf(`${end}\n`);
      const isDone = isBackground ? this.#output.split('\n').length > nrLines : at >= 0;
      if (isDone) {
        const printed = this.#output.slice(0, isBackground ? undefined : at);
        this.#output = isBackground ? '' : this.#output.slice(at + end.length + 1);
        return printed;
      }
      if (this.#child.exitCode !== null) throw new Error(`the shell has ended: ${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** With everything that still runs in it: after a moment for a clean end, by force. */
  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end('kill %1 2>/dev/null; wait; exit\n');
    const force = setTimeout(() => process.kill(-this.#child.pid!, 'SIGKILL'), 10_000);
    await ended;
    clearTimeout(force);
  }
}
