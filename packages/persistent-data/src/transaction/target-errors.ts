/** What every target may find when it opens its metadata, and when it commits. */
import { StoreError } from '@pdata/device';

/** The device holds no metadata: block 0 is all zero. */
export class NotFormattedError extends StoreError {
  override readonly name = 'NotFormattedError';
  readonly code = 'ERR_NOT_FORMATTED';
}

/** The metadata is of a version, or uses features, that this version does not know, or is not made as was asked for. */
export class UnsupportedMetadataError extends StoreError {
  override readonly name = 'UnsupportedMetadataError';
  readonly code = 'ERR_UNSUPPORTED_METADATA';
}

/** The commit did not reach the device. What is shown from here on is the last commit, read-only. `cause` says why. */
export class CommitError extends StoreError {
  override readonly name = 'CommitError';
  readonly code = 'ERR_COMMIT';
}

/** A change, or another commit, was asked for while an asynchronous commit is on its way. Nothing has happened; await it first. */
export class CommitRunningError extends StoreError {
  override readonly name = 'CommitRunningError';
  readonly code = 'ERR_COMMIT_RUNNING';
}
