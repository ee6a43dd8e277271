/** What can go wrong in a transaction besides a corrupt block or a failing device. */
import { StoreError } from '@pdata/device';

/**
 * No block is left that is free now and was free in the last commit. Of data blocks: nothing has been changed. Of metadata
 * blocks: a change may be half done, and the transaction can only be aborted.
 */
export class NoSpaceError extends StoreError {
  override readonly name = 'NoSpaceError';
  readonly code = 'ERR_NO_SPACE';
  constructor(
    readonly of: 'metadata' | 'data',
    message: string,
  ) {
    super(message);
  }
}

/** A reference count cannot be changed as asked: below 0, or above 2^32 - 1. */
export class CountRangeError extends StoreError {
  override readonly name = 'CountRangeError';
  readonly code = 'ERR_COUNT_RANGE';
}

/** An earlier change of this transaction failed half-way: it can only be aborted. */
export class AbortRequiredError extends StoreError {
  override readonly name = 'AbortRequiredError';
  readonly code = 'ERR_ABORT_REQUIRED';
}

/** The commit did not reach the device. What is shown from here on is the last commit, read-only. `cause` says why. */
export class CommitError extends StoreError {
  override readonly name = 'CommitError';
  readonly code = 'ERR_COMMIT';
}
