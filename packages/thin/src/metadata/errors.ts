/** What can be wrong with a request to a pool's metadata, besides corrupt blocks, failing devices and lack of space. */
import { StoreError } from '@pdata/device';

export { CommitError, CommitRunningError, NotFormattedError, UnsupportedMetadataError } from '@pdata/persistent-data';

export class DeviceExistsError extends StoreError {
  override readonly name = 'DeviceExistsError';
  readonly code = 'ERR_THIN_EXISTS';
}

export class NoSuchDeviceError extends StoreError {
  override readonly name = 'NoSuchDeviceError';
  readonly code = 'ERR_NO_SUCH_THIN';
}

/** The transaction id is not the one the caller expected: somebody else has moved it on. */
export class TransactionIdError extends StoreError {
  override readonly name = 'TransactionIdError';
  readonly code = 'ERR_TRANSACTION_ID';
}

/** A metadata snapshot is held already, or none is. */
export class MetadataSnapshotError extends StoreError {
  override readonly name = 'MetadataSnapshotError';
  readonly code = 'ERR_METADATA_SNAPSHOT';
}

/** 2^24 - 1 snapshots have been taken: mappings have no room for a later time. The kernel goes on and corrupts them. */
export class PoolTimeError extends StoreError {
  override readonly name = 'PoolTimeError';
  readonly code = 'ERR_POOL_TIME';
}

/** Devices can grow, not shrink; and not while a check is due. */
export class ResizeError extends StoreError {
  override readonly name = 'ResizeError';
  readonly code = 'ERR_RESIZE';
}
