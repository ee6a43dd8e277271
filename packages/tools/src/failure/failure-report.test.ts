import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { DeviceError } from '@pdata/device';
import { expect, it } from 'vitest';
import { failureReport, failureText } from './failure-report.js';
import { ToolError } from './tool-error.js';

const failureOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};
const textOf = (error: unknown): string => failureText(failureReport(error, false));

it('tells what the system refused in words, with the call and its path', () => {
  const missing = failureOf(() => readFileSync('/no/such/file'));
  expect(failureReport(missing, false)).toEqual({
    code: 'ERR_SYSTEM_ENOENT',
    message: "cannot open '/no/such/file': no such file or directory",
  });
  const fd = openSync(process.execPath, 'r');
  closeSync(fd);
  expect(textOf(failureOf(() => readSync(fd, new Uint8Array(1))))).toBe('cannot read: bad file descriptor\n');
});

it('says what to do about it, also when it is the cause of another failure, unless that says so itself', () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
  const advice = '  next step: make room on its file system, or give a path on another\n';
  expect(textOf(full)).toBe(`cannot write: no space left on device\n${advice}`);
  const device = new DeviceError('cannot write block 7 of a.img: no space left on device', { cause: full });
  expect(textOf(device)).toBe(`cannot write block 7 of a.img: no space left on device\n${advice}`);
  expect(textOf(new ToolError('ERR_X', 'it failed', { effect: 'nothing is written' }, { cause: device }))).toBe(
    `it failed\n  effect: nothing is written\n${advice}`,
  );
  const own = new ToolError('ERR_X', 'it failed', { nextStep: 'try another' }, { cause: device });
  expect(textOf(own)).toBe('it failed\n  next step: try another\n');
});

it('calls what nobody threw on purpose a bug', () => {
  expect(textOf(new TypeError('x is not a function'))).toMatch(
    /^this is a bug in pdata \(TypeError: x is not a function\)/,
  );
});
