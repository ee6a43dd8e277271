/** `npm run faultlab`: what it refuses, before it explores anything. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const PROGRAM = join(import.meta.dirname, '../dist/fault-lab/main.js');
const lab = (...args: string[]): { status: number | null; stdout: string; stderr: string } => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
};

describe('the fault lab', () => {
  it.each([
    [[], /^a command is missing\n\nusage: npm run faultlab/],
    [['explode'], /^there is no command "explode"\n/],
    [['crashes', 'extra'], /^crashes takes no operand\n/],
    [['crashes', '--states', '0'], /^--states takes a whole number from 1 on, not "0"\n/],
    [['crashes', '--workers', '0'], /^--workers takes a whole number from 1 to 64, not "0"\n/],
    [['crashes', '--images', '5'], /^--images is no option of crashes\n/],
    [['crashes', '--subject', 'nobody'], /^there is no subject "nobody"\n/],
    [['fuzz', '--images', 'many'], /^--images takes a whole number from 1 on, not "many"\n/],
    [['fuzz', '--subject', 'core'], /^--subject is no option of fuzz\n/],
    [['replay'], /^replay takes the token that a report printed\n/],
    [['replay', 'core/xyz'], /^"core\/xyz" is no crash that was printed here: expected SUBJECT\/SEED/],
    [['replay', 'nobody/1/0/1/none'], /^"nobody\/1\/0\/1\/none" names no subject of this lab\n/],
    [['replay', 'core/1/4/99999/0'], /^workload 1 of core has \d+ events, none of them 99999: /],
  ])('refuses %j in words, with 2', (args, says) => {
    const { status, stdout, stderr } = lab(...args);
    expect(stderr).toMatch(says);
    expect(stderr).not.toContain('    at ');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  it('has one crash again', () => {
    const { status, stdout } = lab('replay', 'core/1/0/1/none');
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^core\/1\/0\/1\/none: this crash is survived now\..*\n.*--subject core --seed 1/),
    });
  });
});
