/**
 * The headers of the three kinds of reply, and the payloads of the chunks that have a fixed form.
 *
 *   offset  simple (16)          structured (20)             extended (32)
 *        0  u32 0x67446698       u32 0x668e33ef              u32 0x6e8a278c
 *        4  u32 error            u16 flags, u16 type         u16 flags, u16 type
 *        8  u64 cookie           u64 cookie                  u64 cookie
 *       16  data of a READ       u32 payload length          u64 offset of the request
 *       20                       payload                     …
 *       24                                                   u64 payload length, then the payload
 *
 * Offsets and cookies travel as two halves, so that they are repeated exactly.
 * Format: docs/format/nbd.md, sections 5 and 11.
 */
import {
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REPLY_SIZE,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_MAGIC,
  STRUCTURED_REPLY_SIZE,
} from './constants.js';

/** What of a request its replies repeat. */
export interface Answered {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offsetHigh: number;
  readonly offsetLow: number;
}

/** Byte offsets in a reply of any kind; `payloadLength` and `payload` differ by kind. */
export const REPLY_AT = {
  magic: 0,
  error: 4,
  flags: 4,
  type: 6,
  cookie: 8,
  structuredPayloadLength: 16,
  extendedOffset: 16,
  extendedPayloadLength: 24,
} as const;

/** @returns the bytes written */
export function encodeSimpleReply(into: Buffer, at: number, error: number, answered: Answered): number {
  into.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  into.writeUInt32BE(error, at + REPLY_AT.error);
  into.writeUInt32BE(answered.cookieHigh, at + REPLY_AT.cookie);
  into.writeUInt32BE(answered.cookieLow, at + REPLY_AT.cookie + 4);
  return SIMPLE_REPLY_SIZE;
}

/** The header of a chunk, structured or extended. @returns the bytes written */
export function encodeChunkHeader(
  into: Buffer,
  at: number,
  chunk: { readonly flags: number; readonly type: number; readonly payloadLength: number },
  answered: Answered,
  extended: boolean,
): number {
  into.writeUInt32BE(extended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC, at);
  into.writeUInt16BE(chunk.flags, at + REPLY_AT.flags);
  into.writeUInt16BE(chunk.type, at + REPLY_AT.type);
  into.writeUInt32BE(answered.cookieHigh, at + REPLY_AT.cookie);
  into.writeUInt32BE(answered.cookieLow, at + REPLY_AT.cookie + 4);
  if (!extended) {
    into.writeUInt32BE(chunk.payloadLength, at + REPLY_AT.structuredPayloadLength);
    return STRUCTURED_REPLY_SIZE;
  }
  into.writeUInt32BE(answered.offsetHigh, at + REPLY_AT.extendedOffset);
  into.writeUInt32BE(answered.offsetLow, at + REPLY_AT.extendedOffset + 4);
  into.writeUInt32BE(0, at + REPLY_AT.extendedPayloadLength); // payloads stay below 2^32, in this form too
  into.writeUInt32BE(chunk.payloadLength, at + REPLY_AT.extendedPayloadLength + 4);
  return EXTENDED_REPLY_SIZE;
}

/** The payload of an ERROR chunk: u32 error, u16 length, text (cut to what the field can say). */
export function errorPayload(error: number, text: string): Buffer {
  const message = Buffer.from(text, 'utf8').subarray(0, 4096);
  const payload = Buffer.allocUnsafe(6 + message.length);
  payload.writeUInt32BE(error, 0);
  payload.writeUInt16BE(message.length, 4);
  message.copy(payload, 6);
  return payload;
}
