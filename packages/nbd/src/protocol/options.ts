/**
 * What is said before an export is used: options of the client, replies of the server, and their data.
 *
 *   option   u64 "IHAVEOPT", u32 option, u32 length, data
 *   reply    u64 0x0003e889045565a9, u32 option, u32 reply type, u32 length, data
 *
 * Decoders trust nothing: lengths must add up exactly, strings must be UTF-8 without NUL and at most 4096 bytes. What is wrong
 * is a {@link MalformedOption}, whose message says it; the connection stays in step, because the option's length is known.
 * Format: docs/format/nbd.md, sections 1 and 2.
 */
import {
  INFO,
  MAX_STRING_SIZE,
  OPTION_HEADER_SIZE,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_SIZE,
  OPTION_REPLY_MAGIC,
} from './constants.js';
import { setU64, u64At } from './integers.js';

/** Data of an option, or of a reply to one, that contradicts the protocol. Becomes an ERR_INVALID or a protocol error. */
export class MalformedOption extends Error {
  override readonly name = 'MalformedOption';
}

export function encodeOption(option: number, data: Uint8Array = NOTHING): Buffer {
  const message = Buffer.allocUnsafe(OPTION_HEADER_SIZE + data.length);
  message.writeUInt32BE(OPTION_MAGIC.high, 0);
  message.writeUInt32BE(OPTION_MAGIC.low, 4);
  message.writeUInt32BE(option, 8);
  message.writeUInt32BE(data.length, 12);
  message.set(data, OPTION_HEADER_SIZE);
  return message;
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array = NOTHING): Buffer {
  const message = Buffer.allocUnsafe(OPTION_REPLY_HEADER_SIZE + data.length);
  message.writeUInt32BE(OPTION_REPLY_MAGIC.high, 0);
  message.writeUInt32BE(OPTION_REPLY_MAGIC.low, 4);
  message.writeUInt32BE(option, 8);
  message.writeUInt32BE(type, 12);
  message.writeUInt32BE(data.length, 16);
  message.set(data, OPTION_REPLY_HEADER_SIZE);
  return message;
}

/** Data of INFO and GO: u32 name length, name, u16 n, n x u16 info types. */
export interface InfoRequest {
  readonly name: string;
  readonly infoTypes: readonly number[];
}

export function encodeInfoRequest({ name, infoTypes }: InfoRequest): Buffer {
  const nameBytes = Buffer.from(name, 'utf8');
  const data = Buffer.allocUnsafe(6 + nameBytes.length + 2 * infoTypes.length);
  data.writeUInt32BE(nameBytes.length, 0);
  nameBytes.copy(data, 4);
  let at = data.writeUInt16BE(infoTypes.length, 4 + nameBytes.length);
  for (const type of infoTypes) at = data.writeUInt16BE(type, at);
  return data;
}

/** @throws {@link MalformedOption} */
export function decodeInfoRequest(data: Buffer): InfoRequest {
  if (data.length < 6) throw new MalformedOption(`${data.length} bytes of data, at least 6 are needed`);
  const nameLength = data.readUInt32BE(0);
  if (nameLength > data.length - 6) {
    throw new MalformedOption(`a name of ${nameLength} bytes does not fit in ${data.length} bytes of data`);
  }
  const name = textOf(data.subarray(4, 4 + nameLength), 'export name');
  const nrTypes = data.readUInt16BE(4 + nameLength);
  if (6 + nameLength + 2 * nrTypes !== data.length) {
    throw new MalformedOption(`a name of ${nameLength} bytes and ${nrTypes} requests do not make ${data.length} bytes`);
  }
  const infoTypes: number[] = [];
  for (let at = 6 + nameLength; at < data.length; at += 2) infoTypes.push(data.readUInt16BE(at));
  return { name, infoTypes };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: u32 name length, name, u32 n, n x (u32 length, query). */
export interface MetaContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

export function encodeMetaContextRequest({ name, queries }: MetaContextRequest): Buffer {
  const parts = [lengthAndText(name), u32(queries.length), ...queries.map(lengthAndText)];
  return Buffer.concat(parts);
}

/** @throws {@link MalformedOption} */
export function decodeMetaContextRequest(data: Buffer): MetaContextRequest {
  let at = 0;
  const nextU32 = (what: string): number => {
    if (data.length - at < 4) throw new MalformedOption(`the data end before ${what}`);
    at += 4;
    return data.readUInt32BE(at - 4);
  };
  const nextText = (what: string): string => {
    const length = nextU32(`the length of ${what}`);
    if (length > data.length - at) throw new MalformedOption(`${what} of ${length} bytes leaves the data`);
    at += length;
    return textOf(data.subarray(at - length, at), what);
  };
  const name = nextText('export name');
  const nrQueries = nextU32('the number of queries');
  // Each takes four bytes at least, so a number that lies is found out before anything is made for it.
  if (nrQueries > (data.length - at) / 4) {
    throw new MalformedOption(`${nrQueries} queries do not fit in ${data.length} bytes of data`);
  }
  const queries: string[] = [];
  while (queries.length < nrQueries) queries.push(nextText('query'));
  if (at !== data.length) throw new MalformedOption(`${data.length - at} bytes after the last query`);
  return { name, queries };
}

/** Data of a META_CONTEXT reply. */
export interface MetaContextReply {
  readonly id: number;
  readonly name: string;
}

export const encodeMetaContextReply = ({ id, name }: MetaContextReply): Buffer =>
  Buffer.concat([u32(id), Buffer.from(name, 'utf8')]);

/** @throws {@link MalformedOption} */
export function decodeMetaContextReply(data: Buffer): MetaContextReply {
  if (data.length < 5) throw new MalformedOption('a metadata context without a name');
  return { id: data.readUInt32BE(0), name: textOf(data.subarray(4), 'context name') };
}

/** Data of a SERVER reply: one export of a LIST. */
export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

export const encodeServerReply = ({ name, description }: ListedExport): Buffer =>
  Buffer.concat([lengthAndText(name), Buffer.from(description, 'utf8')]);

/** @throws {@link MalformedOption} */
export function decodeServerReply(data: Buffer): ListedExport {
  if (data.length < 4) throw new MalformedOption('a listed export without the length of its name');
  const length = data.readUInt32BE(0);
  if (length > data.length - 4) throw new MalformedOption(`a name of ${length} bytes leaves the data`);
  return {
    name: textOf(data.subarray(4, 4 + length), 'export name'),
    description: textOf(data.subarray(4 + length), 'description'),
  };
}

/** Data of an INFO reply. Types that nobody here knows are decoded as `unknown`, to be passed over. */
export type Info =
  | { readonly type: 'export'; readonly size: number; readonly flags: number }
  | { readonly type: 'name' | 'description'; readonly text: string }
  | { readonly type: 'blockSize'; readonly minimum: number; readonly preferred: number; readonly maximum: number }
  | { readonly type: 'unknown'; readonly infoType: number };

export function encodeInfo(info: Exclude<Info, { type: 'unknown' }>): Buffer {
  if (info.type === 'export') {
    const data = Buffer.allocUnsafe(12);
    data.writeUInt16BE(INFO.EXPORT, 0);
    setU64(data, 2, info.size);
    data.writeUInt16BE(info.flags, 10);
    return data;
  }
  if (info.type === 'blockSize') {
    const data = Buffer.allocUnsafe(14);
    data.writeUInt16BE(INFO.BLOCK_SIZE, 0);
    data.writeUInt32BE(info.minimum, 2);
    data.writeUInt32BE(info.preferred, 6);
    data.writeUInt32BE(info.maximum, 10);
    return data;
  }
  const type = Buffer.allocUnsafe(2);
  type.writeUInt16BE(info.type === 'name' ? INFO.NAME : INFO.DESCRIPTION, 0);
  return Buffer.concat([type, Buffer.from(info.text, 'utf8')]);
}

/** @throws {@link MalformedOption} */
export function decodeInfo(data: Buffer): Info {
  if (data.length < 2) throw new MalformedOption('an info without its type');
  const type = data.readUInt16BE(0);
  const needs = (length: number): void => {
    if (data.length !== length) throw new MalformedOption(`info ${type} has ${data.length} bytes, expected ${length}`);
  };
  if (type === INFO.EXPORT) {
    needs(12);
    return { type: 'export', size: u64At(data, 2), flags: data.readUInt16BE(10) };
  }
  if (type === INFO.BLOCK_SIZE) {
    needs(14);
    return {
      type: 'blockSize',
      minimum: data.readUInt32BE(2),
      preferred: data.readUInt32BE(6),
      maximum: data.readUInt32BE(10),
    };
  }
  if (type === INFO.NAME) return { type: 'name', text: textOf(data.subarray(2), 'export name') };
  if (type === INFO.DESCRIPTION) return { type: 'description', text: textOf(data.subarray(2), 'description') };
  return { type: 'unknown', infoType: type };
}

/**
 * A string of the protocol: UTF-8, no NUL, at most 4096 bytes.
 * @throws {@link MalformedOption}
 */
export function textOf(bytes: Uint8Array, what: string): string {
  if (bytes.length > MAX_STRING_SIZE) {
    throw new MalformedOption(`${what} of ${bytes.length} bytes, at most ${MAX_STRING_SIZE} are allowed`);
  }
  if (bytes.includes(0)) throw new MalformedOption(`${what} contains a NUL`);
  try {
    return utf8.decode(bytes);
  } catch {
    throw new MalformedOption(`${what} is not UTF-8`);
  }
}

const NOTHING = new Uint8Array(0);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([u32(bytes.length), bytes]);
}
