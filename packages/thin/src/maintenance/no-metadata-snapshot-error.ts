import { StoreError } from '@pdata/device';

/** The metadata snapshot was asked for, and the pool holds none. */
export class NoMetadataSnapshotError extends StoreError {
  override readonly name = 'NoMetadataSnapshotError';
  readonly code = 'ERR_NO_METADATA_SNAPSHOT';
}
