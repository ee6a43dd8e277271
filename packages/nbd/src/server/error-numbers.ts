/**
 * From an error of a device to the number a client is told, and a text for those that can show it.
 * Format: docs/format/nbd.md, section 6.
 */
import { ClosedError, ReadOnlyError, StoreError } from '@pdata/device';
import { NBD_ERROR } from '../protocol/constants.js';

/** A request refused before any device saw it. */
export class RequestRefused extends Error {
  override readonly name = 'RequestRefused';
  constructor(
    readonly errorNumber: number,
    message: string,
  ) {
    super(message);
  }
}

const NO_SPACE = new Set(['ERR_NO_SPACE', 'ENOSPC', 'EDQUOT', 'EFBIG']);

export function errorNumberOf(error: unknown): number {
  if (error instanceof RequestRefused) return error.errorNumber;
  if (error instanceof RangeError) return NBD_ERROR.EINVAL;
  if (error instanceof ReadOnlyError) return NBD_ERROR.EPERM;
  // The cause counts before the class: a device error may be a disk without space underneath. A chain is short; a cycle ends too.
  let link: unknown = error;
  for (let depth = 0; depth < 8 && link instanceof Error; depth++) {
    const { code } = link as { code?: unknown };
    if (typeof code === 'string' && NO_SPACE.has(code)) return NBD_ERROR.ENOSPC;
    link = link.cause;
  }
  if (error instanceof ClosedError) return NBD_ERROR.ESHUTDOWN;
  return NBD_ERROR.EIO;
}

/** What a client may read: the texts of our own errors; of anything else only that it happened. */
export function errorTextOf(error: unknown): string {
  const isOurs = error instanceof StoreError || error instanceof RangeError || error instanceof RequestRefused;
  return isOurs ? error.message : 'the server failed to do this; its log may say why';
}
