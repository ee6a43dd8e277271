/** What a log refuses, or has to report. */
import { StoreError } from '@pdata/device';

/** The device holds something else than a mirror log, and it is not all zeros either. */
export class NotALogError extends StoreError {
  override readonly name = 'NotALogError';
  readonly code = 'ERR_NOT_A_LOG';
}

/** The log has a version that is not known here. It was left untouched. */
export class UnsupportedLogError extends StoreError {
  override readonly name = 'UnsupportedLogError';
  readonly code = 'ERR_UNSUPPORTED_LOG';
}

/** The log's device is too small for a bit for each region. */
export class LogTooSmallError extends StoreError {
  override readonly name = 'LogTooSmallError';
  readonly code = 'ERR_LOG_TOO_SMALL';
}

/** The log could not be made durable: writes that depend on it are not safe. `cause` says why. */
export class LogFailedError extends StoreError {
  override readonly name = 'LogFailedError';
  readonly code = 'ERR_LOG_FAILED';
}
