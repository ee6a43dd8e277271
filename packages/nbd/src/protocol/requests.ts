/**
 * The header of a request, in both widths.
 *
 *   offset  compact (28 bytes)       extended (32 bytes)
 *        0  u32 0x25609513           u32 0x21e41c71
 *        4  u16 command flags        the same
 *        6  u16 command              the same
 *        8  u64 cookie, opaque       the same
 *       16  u64 offset               the same
 *       24  u32 length               u64 length
 *
 * A payload follows a compact WRITE (`length` bytes), and an extended request whose flag PAYLOAD_LEN is set.
 * Format: docs/format/nbd.md, sections 4 and 11.
 */
import { EXTENDED_REQUEST_MAGIC, EXTENDED_REQUEST_SIZE, REQUEST_MAGIC, REQUEST_SIZE } from './constants.js';
import { setU64 } from './integers.js';

/** Byte offsets in a request, the same in both widths but for the length's width. */
export const REQUEST_AT = { magic: 0, flags: 4, command: 6, cookie: 8, offset: 16, length: 24 } as const;

export interface RequestHeader {
  readonly flags: number;
  readonly command: number;
  /** The cookie's halves: whatever tells the sender which request a reply belongs to. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Bytes. */
  readonly offset: number;
  /** Bytes; at most 2^32 - 1 in a compact request. */
  readonly length: number;
}

/** Writes a request at `at`. @returns the bytes written */
export function encodeRequest(into: Buffer, at: number, request: RequestHeader, extended: boolean): number {
  into.writeUInt32BE(extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC, at + REQUEST_AT.magic);
  into.writeUInt16BE(request.flags, at + REQUEST_AT.flags);
  into.writeUInt16BE(request.command, at + REQUEST_AT.command);
  into.writeUInt32BE(request.cookieHigh, at + REQUEST_AT.cookie);
  into.writeUInt32BE(request.cookieLow, at + REQUEST_AT.cookie + 4);
  setU64(into, at + REQUEST_AT.offset, request.offset);
  if (extended) setU64(into, at + REQUEST_AT.length, request.length);
  else into.writeUInt32BE(request.length, at + REQUEST_AT.length);
  return extended ? EXTENDED_REQUEST_SIZE : REQUEST_SIZE;
}
