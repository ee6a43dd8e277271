/** What an engine refuses, or has to report, besides what its metadata and its devices do. */
import { StoreError } from '@pdata/device';

/** A volume of this thin id is open: it cannot be deleted. */
export class VolumeInUseError extends StoreError {
  override readonly name = 'VolumeInUseError';
  readonly code = 'ERR_THIN_IN_USE';
}

/** The pool's mode does not allow it: read-only, out of metadata space, or failed. The kernel's EIO and EOPNOTSUPP. */
export class PoolModeError extends StoreError {
  override readonly name = 'PoolModeError';
  readonly code = 'ERR_POOL_MODE';
}

/** What had been written since the last commit was thrown away with a failed transaction. The kernel's EIO. */
export class AbortedChangesError extends StoreError {
  override readonly name = 'AbortedChangesError';
  readonly code = 'ERR_ABORTED';
}

export type MessageErrno = 'EINVAL' | 'EEXIST' | 'ENODATA' | 'EBUSY' | 'EOPNOTSUPP' | 'ENOSPC' | 'EIO';

/** A pool message was refused. */
export class PoolMessageError extends StoreError {
  override readonly name = 'PoolMessageError';
  readonly code = 'ERR_POOL_MESSAGE';
  /** What the kernel's message would have returned. */
  readonly errno: MessageErrno;
  /** The lines that the kernel would have logged, without its prefix. */
  readonly log: readonly string[];

  constructor(errno: MessageErrno, log: readonly string[], options?: { cause: unknown }) {
    const why = options?.cause instanceof Error ? `: ${options.cause.message}` : '';
    super(`${log.join(' ')} (${errno}${why})`, options);
    this.errno = errno;
    this.log = log;
  }
}
