/** What every engine may have to report, besides what its devices do. */
import { StoreError } from '../errors.js';

/** What had been written since the last commit was thrown away with a failed transaction. The kernel's EIO. */
export class AbortedChangesError extends StoreError {
  override readonly name = 'AbortedChangesError';
  readonly code = 'ERR_ABORTED';
}

/** The errors with which the kernel's targets refuse messages. */
export type MessageErrno = 'EINVAL' | 'EEXIST' | 'ENODATA' | 'EBUSY' | 'EOPNOTSUPP' | 'ENOSPC' | 'EIO';

/** A message, as `dmsetup message` sends it, was refused. Each target has one of its own. */
export abstract class TargetMessageError extends StoreError {
  /** What the kernel's message would have returned. */
  readonly errno: MessageErrno;
  /** The lines that the kernel would have logged, without its prefix. */
  readonly log: readonly string[];

  /** @param options `text`: what to say where the kernel logs nothing */
  constructor(errno: MessageErrno, log: readonly string[], options: { cause?: unknown; text?: string } = {}) {
    const { cause, text = '' } = options;
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    super(`${log.length > 0 ? log.join(' ') : text} (${errno}${why})`, cause === undefined ? {} : { cause });
    this.errno = errno;
    this.log = log;
  }
}

/** For messages that go on to say why. */
export const inWords = (error: unknown): string => (error instanceof Error ? error.message : String(error));
