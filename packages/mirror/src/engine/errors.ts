/** What a mirror refuses, or has to report, besides what its log and its devices do. */
import { StoreError } from '@pdata/device';

/** A leg cannot be used as one, or cannot be taken away: too small, read-only, there twice, the only one that is right. */
export class LegError extends StoreError {
  override readonly name = 'LegError';
  readonly code = 'ERR_LEG';
}

/** A write that a leg or the log had not taken was held back, as `handleErrors` has it, and then given up. The kernel's EIO. */
export class HeldWriteError extends StoreError {
  override readonly name = 'HeldWriteError';
  readonly code = 'ERR_HELD_WRITE';
}

/** A line of a table is not one of a mirror. The message has the kernel's words, where it has any. */
export class MirrorTableError extends StoreError {
  override readonly name = 'MirrorTableError';
  readonly code = 'ERR_MIRROR_TABLE';
}
