/** What a clone refuses, or has to report, besides what its metadata and its devices do. */
import { StoreError } from '@pdata/device';
import { TargetMessageError } from '@pdata/device/engine';

/** The clone's mode does not allow it: read-only, or failed. The kernel's EIO. */
export class CloneModeError extends StoreError {
  override readonly name = 'CloneModeError';
  readonly code = 'ERR_CLONE_MODE';
}

/** What a request waited for, the copy of its region or an overwrite of it, has failed; `cause` says why. The kernel's EIO. */
export class HydrationError extends StoreError {
  override readonly name = 'HydrationError';
  readonly code = 'ERR_HYDRATION';
}

/** A message to a clone was refused. */
export class CloneMessageError extends TargetMessageError {
  override readonly name = 'CloneMessageError';
  readonly code = 'ERR_CLONE_MESSAGE';
}

/** A line of a table is not one of a clone. The message has the kernel's words, where it has any. */
export class CloneTableError extends StoreError {
  override readonly name = 'CloneTableError';
  readonly code = 'ERR_CLONE_TABLE';
}
