import { StoreError } from '@pdata/device';

/** This node is no member of the cluster any more: it left, was declared failed, or has joined again elsewhere. */
export class SessionLostError extends StoreError {
  override readonly name = 'SessionLostError';
  readonly code = 'ERR_SESSION_LOST';
}
