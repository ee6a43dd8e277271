/**
 * What a remote disk can do wrong, beyond what any disk can.
 *
 * A request that fails does so with a `DeviceError`, as on every device; its `cause` tells the kind:
 *   {@link NbdReplyError}     the server answered with an error: this request failed, the next may succeed
 *   {@link NbdProtocolError}  the server contradicted the protocol: nothing it says is believed any more
 *   {@link NbdTimeoutError}   the server owes an answer for too long
 *   an error of the system    the connection broke
 * After all but the first the device is dead: it is not connected again, because nobody could know what the server has kept.
 */
import { StoreError } from '@pdata/device';

/** The server sent what the protocol forbids. The connection is closed; nothing from it is used. */
export class NbdProtocolError extends StoreError {
  override readonly name = 'NbdProtocolError';
  readonly code = 'ERR_NBD_PROTOCOL';
}

/** The server refused a request. */
export class NbdReplyError extends StoreError {
  override readonly name = 'NbdReplyError';
  readonly code = 'ERR_NBD_REPLY';
  constructor(
    message: string,
    /** The error number on the wire: see docs/format/nbd.md, section 6. */
    readonly errorNr: number,
    /** Its name as the system spells it, "EIO"; numbers that the protocol does not list are EINVAL. */
    readonly errorName: string,
  ) {
    super(message);
  }
}

/** The server did not answer in time. */
export class NbdTimeoutError extends StoreError {
  override readonly name = 'NbdTimeoutError';
  readonly code = 'ERR_NBD_TIMEOUT';
}
