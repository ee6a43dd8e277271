/**
 * A client that says exactly what a test wants, byte by byte, right or wrong, and reads exactly what it expects.
 *
 * It keeps no state of the protocol but the kind of reply, and it never sends anything by itself.
 */
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import type { NbdServer } from '@pdata/nbd';
import * as nbd from '../src/protocol/constants.js';
import { u64At } from '../src/protocol/integers.js';
import {
  decodeMetaContextReply,
  encodeInfoRequest,
  encodeMetaContextRequest,
  encodeOption,
  type MetaContextReply,
} from '../src/protocol/options.js';
import { encodeRequest } from '../src/protocol/requests.js';

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface Chunk {
  readonly flags: number;
  readonly type: number;
  readonly cookie: number;
  readonly payload: Buffer;
  /** Extended replies only. */
  readonly offset?: number;
}

export interface RequestFields {
  readonly command: number;
  readonly flags?: number;
  readonly cookie?: number;
  readonly offset?: number | bigint;
  readonly length?: number;
  readonly payload?: Uint8Array;
}

/** The server closed the connection while something was expected of it. */
export class ServerClosed extends Error {
  override readonly name = 'ServerClosed';
  constructor(readonly rest: Buffer) {
    super(`the server closed the connection, after ${rest.length} more bytes`);
  }
}

export class RawClient {
  /** Of requests and replies; set it when EXTENDED_HEADERS was agreed on. */
  extended = false;
  #chunks: Buffer[] = [];
  #nrBytes = 0;
  #hasEnded = false;
  #wake: (() => void) | undefined;

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#nrBytes += chunk.length;
      this.#wake?.();
    });
    const ended = (): void => {
      this.#hasEnded = true;
      this.#wake?.();
    };
    socket.on('end', ended);
    socket.on('close', ended);
    socket.on('error', () => {}); // a reset is an end, too
  }

  /** Connects, and says nothing. */
  static async connect(server: Pick<NbdServer, 'address'>): Promise<RawClient> {
    const { address } = server;
    const target: NetConnectOpts = 'socketPath' in address ? { path: address.socketPath } : address;
    const socket = connect(target);
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  /** Connects and greets with both flags. */
  static async haggling(server: Pick<NbdServer, 'address'>): Promise<RawClient> {
    const client = await RawClient.connect(server);
    await client.greet();
    return client;
  }

  /** Connects and goes to transmission. */
  static async transmitting(
    server: Pick<NbdServer, 'address'>,
    options: { name?: string; structured?: boolean; extended?: boolean; contexts?: string[] } = {},
  ): Promise<RawClient> {
    const { name = 'disk', structured, extended, contexts } = options;
    const client = await RawClient.haggling(server);
    if (extended) await client.agree(nbd.OPTION.EXTENDED_HEADERS);
    else if (structured) await client.agree(nbd.OPTION.STRUCTURED_REPLY);
    if (contexts) await client.setContexts(name, contexts);
    await client.go(name);
    client.extended = extended ?? false;
    return client;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Sends one byte at a time, each in a packet of its own as far as one can ask for that. */
  async sendByByte(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      await new Promise((resolve) => this.socket.write(Uint8Array.of(byte), resolve));
      await new Promise(setImmediate);
    }
  }

  /** Exactly `length` bytes. @throws {@link ServerClosed} */
  async read(length: number): Promise<Buffer> {
    while (this.#nrBytes < length) {
      if (this.#hasEnded) throw new ServerClosed(Buffer.concat(this.#chunks));
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = all.length > length ? [all.subarray(length)] : [];
    this.#nrBytes -= length;
    return all.subarray(0, length);
  }

  /** Everything up to the end of the stream. */
  async readToEnd(): Promise<Buffer> {
    while (!this.#hasEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return Buffer.concat(this.#chunks);
  }

  get nrUnread(): number {
    return this.#nrBytes;
  }

  async greet(flags = 3): Promise<void> {
    await this.read(nbd.GREETING_SIZE);
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(flags);
    this.send(bytes);
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.read(nbd.OPTION_REPLY_HEADER_SIZE);
    if (
      header.readUInt32BE(0) !== nbd.OPTION_REPLY_MAGIC.high ||
      header.readUInt32BE(4) !== nbd.OPTION_REPLY_MAGIC.low
    ) {
      throw new Error(`not an option reply: ${header.toString('hex')}`);
    }
    const data = await this.read(header.readUInt32BE(16));
    return { option: header.readUInt32BE(8), type: header.readUInt32BE(12), data };
  }

  /** Replies up to the one that ends the answer. */
  async optionReplies(): Promise<OptionReply[]> {
    const replies: OptionReply[] = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type === nbd.OPTION_REPLY.ACK || reply.type >= nbd.FIRST_OPTION_ERROR) return replies;
    }
  }

  option(option: number, data?: Uint8Array): Promise<OptionReply[]> {
    this.send(encodeOption(option, data));
    return this.optionReplies();
  }

  /** The type of the reply that ends the answer to an option. */
  async outcome(option: number, data?: Uint8Array): Promise<number> {
    return (await this.option(option, data)).at(-1)?.type ?? 0;
  }

  async agree(option: number, data?: Uint8Array): Promise<void> {
    const type = await this.outcome(option, data);
    if (type !== nbd.OPTION_REPLY.ACK) throw new Error(`option ${option} was answered with 0x${type.toString(16)}`);
  }

  /** @returns the data of the EXPORT info */
  async go(name = 'disk'): Promise<{ size: number; flags: number }> {
    const replies = await this.option(nbd.OPTION.GO, encodeInfoRequest({ name, infoTypes: [] }));
    if (replies.at(-1)?.type !== nbd.OPTION_REPLY.ACK) throw new Error(`GO failed: ${replies.at(-1)?.data}`);
    return exportInfo(replies);
  }

  async setContexts(name: string, queries: string[]): Promise<MetaContextReply[]> {
    const replies = await this.option(nbd.OPTION.SET_META_CONTEXT, encodeMetaContextRequest({ name, queries }));
    return metaContexts(replies);
  }

  request(fields: RequestFields): void {
    this.send(requestBytes(fields, this.extended));
  }

  async simpleReply(): Promise<{ error: number; cookie: number }> {
    const header = await this.read(nbd.SIMPLE_REPLY_SIZE);
    if (header.readUInt32BE(0) !== nbd.SIMPLE_REPLY_MAGIC)
      throw new Error(`not a simple reply: ${header.toString('hex')}`);
    return { error: header.readUInt32BE(4), cookie: header.readUInt32BE(12) };
  }

  async chunk(): Promise<Chunk> {
    const header = await this.read(this.extended ? nbd.EXTENDED_REPLY_SIZE : nbd.STRUCTURED_REPLY_SIZE);
    const magic = this.extended ? nbd.EXTENDED_REPLY_MAGIC : nbd.STRUCTURED_REPLY_MAGIC;
    if (header.readUInt32BE(0) !== magic) throw new Error(`not a chunk: ${header.toString('hex')}`);
    const payload = await this.read(this.extended ? u64At(header, 24) : header.readUInt32BE(16));
    const common = {
      flags: header.readUInt16BE(4),
      type: header.readUInt16BE(6),
      cookie: header.readUInt32BE(12),
      payload,
    };
    return this.extended ? { ...common, offset: u64At(header, 16) } : common;
  }

  /** Chunks up to the last one of a request. */
  async chunks(): Promise<Chunk[]> {
    const chunks: Chunk[] = [];
    for (;;) {
      const chunk = await this.chunk();
      chunks.push(chunk);
      if ((chunk.flags & nbd.REPLY_FLAG_DONE) !== 0) return chunks;
    }
  }

  /** The error of the next reply, whatever its kind; 0 for success. Data of a READ is not expected. */
  async error(): Promise<number> {
    const magic = (await this.read(4)).readUInt32BE(0);
    this.#chunks.unshift(magicBytes(magic));
    this.#nrBytes += 4;
    if (magic === nbd.SIMPLE_REPLY_MAGIC) return (await this.simpleReply()).error;
    const chunks = await this.chunks();
    const failure = chunks.find(({ type }) => (type & nbd.CHUNK_ERROR_BIT) !== 0);
    return failure?.payload.readUInt32BE(0) ?? 0;
  }

  /** A request and the error of its reply; see {@link error}. */
  tried(fields: RequestFields): Promise<number> {
    this.request(fields);
    return this.error();
  }

  /** Bytes read by a simple or a structured READ. */
  async readData(offset: number, length: number): Promise<Buffer> {
    this.request({ command: nbd.COMMAND.READ, offset, length });
    const magic = (await this.read(4)).readUInt32BE(0);
    this.#chunks.unshift(magicBytes(magic));
    this.#nrBytes += 4;
    if (magic === nbd.SIMPLE_REPLY_MAGIC) {
      const { error } = await this.simpleReply();
      if (error !== 0) throw new Error(`READ failed with ${error}`);
      return this.read(length);
    }
    return assembled(await this.chunks(), offset, length);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A request as bytes. */
export function requestBytes(fields: RequestFields, extended = false): Buffer {
  const { command, cookie = 7, offset = 0, payload, length = payload?.length ?? 0 } = fields;
  const flags = fields.flags ?? (extended && payload ? nbd.COMMAND_FLAG.PAYLOAD_LEN : 0);
  const bytes = Buffer.alloc(extended ? nbd.EXTENDED_REQUEST_SIZE : nbd.REQUEST_SIZE);
  encodeRequest(bytes, 0, { flags, command, cookieHigh: 0xfeedface, cookieLow: cookie, offset: 0, length }, extended);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  return payload ? Buffer.concat([bytes, payload]) : bytes;
}

/** What the content chunks of a READ say; they must cover the range exactly once. */
export function assembled(chunks: readonly Chunk[], offset: number, length: number): Buffer {
  const data = Buffer.alloc(length);
  const covered = new Uint8Array(length);
  for (const { type, payload } of chunks) {
    if (type === nbd.CHUNK.NONE) continue;
    if (type !== nbd.CHUNK.OFFSET_DATA && type !== nbd.CHUNK.OFFSET_HOLE) throw new Error(`a chunk of type ${type}`);
    const at = u64At(payload, 0) - offset;
    const size = type === nbd.CHUNK.OFFSET_HOLE ? payload.readUInt32BE(8) : payload.length - 8;
    if (at < 0 || at + size > length || size === 0) throw new Error(`a chunk of ${size} bytes at ${at} of ${length}`);
    if (covered.subarray(at, at + size).includes(1)) throw new Error(`bytes at ${at} come twice`);
    covered.fill(1, at, at + size);
    if (type === nbd.CHUNK.OFFSET_DATA) payload.copy(data, at, 8);
  }
  if (covered.includes(0)) throw new Error(`byte ${offset + covered.indexOf(0)} was not answered`);
  return data;
}

export function exportInfo(replies: readonly OptionReply[]): { size: number; flags: number } {
  const info = replies.find(
    ({ type, data }) => type === nbd.OPTION_REPLY.INFO && data.readUInt16BE(0) === nbd.INFO.EXPORT,
  );
  if (info === undefined) throw new Error('no EXPORT info');
  return { size: u64At(info.data, 2), flags: info.data.readUInt16BE(10) };
}

export const metaContexts = (replies: readonly OptionReply[]): MetaContextReply[] =>
  replies.filter(({ type }) => type === nbd.OPTION_REPLY.META_CONTEXT).map(({ data }) => decodeMetaContextReply(data));

function magicBytes(magic: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(magic);
  return bytes;
}
