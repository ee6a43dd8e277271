/** Locks on what is no file of its own. Locks between processes: file-lock.test.ts, on the same mechanism. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { thrownBy } from '../../test/metadata-device-contract.js';
import { DeviceBusyError, DeviceOpenError } from '../errors.js';
import { openLockFile } from './lock-file.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-lock-file-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('holds a lock until it is released, and names what is locked', () => {
  const path = join(folder, 'pool.lock');
  const lock = openLockFile(path, 'pool "daily"');
  const refusal = thrownBy(() => openLockFile(path, 'pool "daily"'));
  expect(refusal).toBeInstanceOf(DeviceBusyError);
  expect(refusal.message).toContain('cannot open pool "daily" for writing: it is open already');
  lock.release();
  lock.release();
  const again = openLockFile(path, 'pool "daily"');
  expect(
    thrownBy(() => openLockFile(path, 'pool "daily"')),
    'a second release lets nobody in',
  ).toBeInstanceOf(DeviceBusyError);
  again.release();
  expect(readdirSync(folder)).toEqual(['pool.lock']);
});

it('says in one sentence that the lock file cannot be made', () => {
  const refusal = thrownBy(() => openLockFile(join(folder, 'missing', 'pool.lock'), 'pool "daily"'));
  expect(refusal).toBeInstanceOf(DeviceOpenError);
  expect(refusal.message).toMatch(/^cannot lock pool "daily" by .*missing.*: no such file or directory$/);
});
