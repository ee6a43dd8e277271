/**
 * Errors that only an LMDB environment has, and the words for what LMDB itself reports.
 *
 * LMDB's errors carry a number: its own (-30799…), or the system's (ENOSPC). A message of ours says what that means for
 * the environment at hand and what can be done; LMDB's own error is its `cause`.
 */
import { ClosedError, DeviceError, DeviceOpenError, StoreError } from '@pdata/device';

/** The library `lmdb`, or the native part of it for this platform, is not installed. `cause` is what loading it said. */
export class LmdbUnavailableError extends StoreError {
  override readonly name = 'LmdbUnavailableError';
  readonly code = 'ERR_LMDB_UNAVAILABLE';
}

/**
 * A commit would make the environment's data file larger than its `mapSize`. Nothing of it was committed; the message says
 * what holds the space, if it is a reader.
 */
export class EnvironmentFullError extends StoreError {
  override readonly name = 'EnvironmentFullError';
  readonly code = 'ERR_ENVIRONMENT_FULL';
}

const ENOENT = 2;
const EIO = 5;
const EACCES = 13;
const ENOSPC = 28;
const EROFS = 30;
const EDQUOT = 122;
const MDB_PAGE_NOTFOUND = -30797;
const MDB_CORRUPTED = -30796;
const MDB_PANIC = -30795;
const MDB_VERSION_MISMATCH = -30794;
const MDB_INVALID = -30793;
const MDB_READERS_FULL = -30790;
const MDB_TXN_FULL = -30788;

/** What LMDB's error means here, as a clause: "the disk is full…". */
function meaningOf(cause: unknown): string {
  const { code, message } = cause as { code?: number | string; message?: string };
  switch (code) {
    case ENOSPC:
    case EDQUOT:
      return 'the disk, or the quota on it, is full; make room, close the environment and open it again';
    case EIO:
      // Also LMDB's word for a write that came out short, which is how a disk becomes full.
      return 'the disk is full or reported an error; see to that, close the environment and open it again';
    case EACCES:
      return 'permission denied; its data.mdb and lock.mdb must be readable, and writable for a writer';
    case EROFS:
      return 'its file system is read-only';
    case ENOENT:
      return 'its data.mdb or lock.mdb is missing';
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
      return 'its data.mdb is damaged; restore it from a copy';
    case MDB_PANIC:
      return 'an earlier write failed; close the environment and open it again';
    case MDB_VERSION_MISMATCH:
      return 'its data.mdb has another version of the LMDB format than 2, the one that lmdb 3.x writes';
    case MDB_INVALID:
      return 'its data.mdb is no LMDB environment, or is damaged';
    case MDB_READERS_FULL:
      return 'all its reader slots are taken; close readers that are not needed any more';
    case MDB_TXN_FULL:
      return 'the transaction has too many changes for LMDB';
    default:
      return message ?? String(cause);
  }
}

/** `cannot ATTEMPTED: what that means`, with LMDB's error as the cause. What is a `StoreError` already stays as it is. */
export function deviceFailure(attempted: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  return new DeviceError(`cannot ${attempted}: ${meaningOf(cause)}`, { cause });
}

/** As {@link deviceFailure}, for what fails while something is being opened. */
export function openFailure(attempted: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  return new DeviceOpenError(`cannot ${attempted}: ${meaningOf(cause)}`, { cause });
}

export function closedError(name: string): ClosedError {
  return new ClosedError(`${name} is closed`);
}
