/**
 * A lock on something that is no file of its own: a pool in a database, a directory. A file beside it stands for it.
 *
 * The lock is on the open file (file-lock.ts), so it excludes a second opener in this process as well as in another, and
 * goes with the process however that ends. The file itself stays, empty, and means nothing by being there.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { DeviceOpenError } from '../errors.js';
import { lockFile } from './file-lock.js';
import { reasonOf } from './system-problem.js';

export interface LockFile {
  /** Gives the lock back. Harmless when that was done already. */
  release(): void;
}

/**
 * Takes the exclusive lock that the file at `path` stands for, without waiting. The file is made if it is not there.
 *
 * @param name what is locked, for messages: `pool "daily" in /srv/pool`
 * @throws {@link DeviceBusyError} when somebody holds the lock, in this process or another
 * @throws {@link DeviceOpenError} when the file cannot be made or opened, or there are no locks here
 */
export function openLockFile(path: string, name: string): LockFile {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  } catch (cause) {
    throw new DeviceOpenError(`cannot lock ${name} by ${path}: ${reasonOf(cause)}`, { cause });
  }
  try {
    lockFile(fd, name, 'exclusive');
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  let isHeld = true;
  return {
    release() {
      if (isHeld) closeSync(fd);
      isHeld = false;
    },
  };
}
