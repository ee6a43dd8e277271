/**
 * Whether a request may be carried out, judged by its header alone.
 *
 * The first rule broken decides the error, in this order: shutdown, unknown command, flags, read-only, range.
 * Format: docs/format/nbd.md, sections 4 and 6.
 */
import { COMMAND, COMMAND_FLAG, NBD_ERROR } from '../protocol/constants.js';
import { RequestRefused } from './error-numbers.js';

export interface RequestRules {
  readonly size: number;
  readonly readOnly: boolean;
  /** Structured or extended replies, so DF was offered. */
  readonly allowsDf: boolean;
  readonly extended: boolean;
  readonly hasContexts: boolean;
  readonly maxPayload: number;
}

const ALLOWED_FLAGS: Readonly<Record<number, number>> = {
  [COMMAND.READ]: COMMAND_FLAG.FUA | COMMAND_FLAG.DF,
  [COMMAND.WRITE]: COMMAND_FLAG.FUA | COMMAND_FLAG.PAYLOAD_LEN,
  [COMMAND.FLUSH]: COMMAND_FLAG.FUA,
  [COMMAND.TRIM]: COMMAND_FLAG.FUA,
  [COMMAND.CACHE]: COMMAND_FLAG.FUA,
  [COMMAND.WRITE_ZEROES]: COMMAND_FLAG.FUA | COMMAND_FLAG.NO_HOLE | COMMAND_FLAG.FAST_ZERO,
  [COMMAND.BLOCK_STATUS]: COMMAND_FLAG.FUA | COMMAND_FLAG.REQ_ONE | COMMAND_FLAG.PAYLOAD_LEN,
};
const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(COMMAND).map(([name, command]) => [command, name]),
);

/** @returns why the request is refused, or undefined when it may go */
export function refusalOf(
  command: number,
  flags: number,
  offset: number,
  length: number,
  rules: RequestRules,
): RequestRefused | undefined {
  const allowed = ALLOWED_FLAGS[command];
  const name = NAMES[command] ?? `command ${command}`;
  if (allowed === undefined) return new RequestRefused(NBD_ERROR.EINVAL, `${name} is not supported`);
  if ((flags & ~(allowed & offeredFlags(command, rules))) !== 0) {
    return new RequestRefused(NBD_ERROR.EINVAL, `${name} with flags 0x${flags.toString(16)}`);
  }
  if (command === COMMAND.WRITE && rules.extended && (flags & COMMAND_FLAG.PAYLOAD_LEN) === 0) {
    return new RequestRefused(NBD_ERROR.EINVAL, 'WRITE with an extended header needs the flag PAYLOAD_LEN');
  }
  const writes = command === COMMAND.WRITE || command === COMMAND.WRITE_ZEROES || command === COMMAND.TRIM;
  if (writes && rules.readOnly) return new RequestRefused(NBD_ERROR.EPERM, `${name}: the export is read-only`);
  if (command === COMMAND.FLUSH) {
    if (offset === 0 && length === 0) return undefined;
    return new RequestRefused(NBD_ERROR.EINVAL, 'FLUSH has neither offset nor length');
  }
  const carriesData = command === COMMAND.READ || command === COMMAND.WRITE;
  if (carriesData && length > rules.maxPayload) {
    return new RequestRefused(NBD_ERROR.EINVAL, `${name} of ${length} bytes, at most ${rules.maxPayload} are allowed`);
  }
  if (command === COMMAND.BLOCK_STATUS) {
    if (!rules.hasContexts) return new RequestRefused(NBD_ERROR.EINVAL, 'BLOCK_STATUS without a metadata context');
    if ((flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0) return undefined; // its range is in the payload
    if (length === 0) return new RequestRefused(NBD_ERROR.EINVAL, 'BLOCK_STATUS of no bytes');
  }
  return rangeRefusal(command, offset, length, rules.size);
}

/** The part of {@link refusalOf} about the range; `offset` and `length` may be rounded, if beyond 2^53. */
export function rangeRefusal(
  command: number,
  offset: number,
  length: number,
  size: number,
): RequestRefused | undefined {
  if (offset <= size && length <= size - offset) return undefined;
  const isGrowing = command === COMMAND.WRITE || command === COMMAND.WRITE_ZEROES;
  const text = `${NAMES[command]} of ${length} bytes at ${offset} leaves the export of ${size} bytes`;
  return new RequestRefused(isGrowing ? NBD_ERROR.ENOSPC : NBD_ERROR.EINVAL, text);
}

/** Flags that were offered on this connection, or need no offer. */
function offeredFlags(command: number, rules: RequestRules): number {
  let offered = ~0;
  if (!rules.allowsDf) offered &= ~COMMAND_FLAG.DF;
  if (!rules.extended || (command === COMMAND.BLOCK_STATUS && !rules.hasContexts)) offered &= ~COMMAND_FLAG.PAYLOAD_LEN;
  return offered;
}
