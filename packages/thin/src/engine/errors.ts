/** What an engine refuses, or has to report, besides what its metadata and its devices do. */
import { StoreError } from '@pdata/device';
import { TargetMessageError } from '@pdata/device/engine';

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

/** A pool message was refused. */
export class PoolMessageError extends TargetMessageError {
  override readonly name = 'PoolMessageError';
  readonly code = 'ERR_POOL_MESSAGE';
}
