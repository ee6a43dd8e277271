/** What can go wrong with a store besides what can go wrong below it. */
import { StoreError } from '@pdata/device';

/** The device holds no store of ours, or one of a format that this version does not know. It has not been changed. */
export class NotAStoreError extends StoreError {
  override readonly name = 'NotAStoreError';
  readonly code = 'ERR_NOT_A_STORE';
}

/** The store was made with another schema than it is opened with. It has not been changed. */
export class SchemaError extends StoreError {
  override readonly name = 'SchemaError';
  readonly code = 'ERR_SCHEMA';
}

/** There is no snapshot, clone or commit of that name, or there is one already. */
export class NameError extends StoreError {
  override readonly name = 'NameError';
  readonly code = 'ERR_NAME';
}

/** Something was asked at a time at which it cannot be done: a transaction inside another, a handle used after its end. */
export class WrongTimeError extends StoreError {
  override readonly name = 'WrongTimeError';
  readonly code = 'ERR_WRONG_TIME';
}
