/**
 * Turns the bytes that a server sends in the transmission phase into answers to requests.
 *
 * It is fed with whatever the socket brings and keeps only what it needs of a header or a small payload; the data of a READ
 * goes from the socket's buffer straight to where the caller wants it. So a server cannot make it allocate: a payload has
 * its bound, by type and by the request it answers, before a byte of it is kept.
 *
 * Invariants: an answer is to a request that waits; a READ is answered in structured chunks exactly when these were agreed
 * on; chunks of several requests may come in turns, but a chunk is whole. What breaks them is an {@link NbdProtocolError},
 * after which the parser must not be fed any more: the stream cannot be understood again.
 * Format: docs/format/nbd.md, section 5.
 */
import {
  CHUNK,
  CHUNK_ERROR_BIT,
  MAX_EXTENTS_PER_CHUNK,
  MAX_STRING_SIZE,
  REPLY_FLAG_DONE,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_MAGIC,
} from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import { REPLY_AT } from '../protocol/replies.js';
import { NbdProtocolError } from './errors.js';
import type { PendingRequest, StatusDescriptor } from './pending-request.js';

/** Both kinds of reply have so much in common; a structured one goes on with the length of its payload. */
const COMMON_HEADER_SIZE = SIMPLE_REPLY_SIZE;
/** u32 error, u16 length of the text, the text, perhaps u64 offset. */
const MAX_ERROR_PAYLOAD = 6 + MAX_STRING_SIZE + 8;

export interface ReplyParserOptions {
  /** Whether structured replies were agreed on. */
  readonly structured: boolean;
  /** The request that waits under a cookie. */
  find(cookie: number): PendingRequest | undefined;
  /** The last chunk of its answer is here, and the answer is whole. */
  finished(cookie: number, request: PendingRequest): void;
}

type Step = (part: Buffer) => void;

export class ReplyParser {
  readonly #options: ReplyParserOptions;
  /** What to do with the next `#wanted` bytes. */
  #step: Step = this.#commonHeader;
  #wanted = COMMON_HEADER_SIZE;
  /** The first `#nrKept` of the wanted bytes, when they did not come in one piece. */
  #kept = Buffer.alloc(64);
  #nrKept = 0;
  /** Where data of a read goes at the moment, and how much of it has come. */
  #into: Uint8Array | undefined;
  #nrInto = 0;
  #cookie = 0;
  #request!: PendingRequest;
  #flags = 0;

  constructor(options: ReplyParserOptions) {
    this.#options = options;
  }

  /** Whether the stream may end here: not in the middle of a reply. */
  get isBetweenReplies(): boolean {
    return this.#into === undefined && this.#step === this.#commonHeader && this.#nrKept === 0;
  }

  /** @throws {@link NbdProtocolError} */
  feed(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) at += this.#into === undefined ? this.#feedStep(bytes, at) : this.#feedData(bytes, at);
  }

  #feedData(bytes: Buffer, at: number): number {
    const into = this.#into!;
    const taken = Math.min(into.length - this.#nrInto, bytes.length - at);
    into.set(bytes.subarray(at, at + taken), this.#nrInto);
    this.#nrInto += taken;
    if (this.#nrInto === into.length) this.#endChunk();
    return taken;
  }

  #feedStep(bytes: Buffer, at: number): number {
    const taken = Math.min(this.#wanted - this.#nrKept, bytes.length - at);
    if (taken === this.#wanted) {
      this.#step(bytes.subarray(at, at + taken));
      return taken;
    }
    if (this.#kept.length < this.#wanted) this.#growKept();
    this.#kept.set(bytes.subarray(at, at + taken), this.#nrKept);
    this.#nrKept += taken;
    if (this.#nrKept === this.#wanted) {
      this.#nrKept = 0;
      const kept = this.#kept;
      if (kept.length > MAX_ERROR_PAYLOAD) this.#kept = Buffer.alloc(64); // a long block status is not kept for ever
      this.#step(kept.subarray(0, this.#wanted));
    }
    return taken;
  }

  #growKept(): void {
    const larger = Buffer.alloc(this.#wanted);
    larger.set(this.#kept.subarray(0, this.#nrKept));
    this.#kept = larger;
  }

  #await(wanted: number, step: Step): void {
    this.#wanted = wanted;
    this.#step = step;
  }

  #commonHeader(header: Buffer): void {
    const magic = header.readUInt32BE(REPLY_AT.magic);
    if (magic !== SIMPLE_REPLY_MAGIC && magic !== STRUCTURED_REPLY_MAGIC)
      violated(`a reply begins with 0x${magic.toString(16).padStart(8, '0')}, which is no reply's magic number`);
    this.#cookie = u64At(header, REPLY_AT.cookie); // ours are below 2^53, so one that is rounded finds nothing
    const request = this.#options.find(this.#cookie);
    if (request === undefined)
      violated(`it answers a request (cookie ${this.#cookie}) that was not asked or is answered`);
    this.#request = request;
    if (magic === SIMPLE_REPLY_MAGIC) this.#simpleReply(header.readUInt32BE(REPLY_AT.error));
    else if (!this.#options.structured) violated('it sends structured replies, which were not agreed on');
    else {
      this.#flags = header.readUInt16BE(REPLY_AT.flags);
      const type = header.readUInt16BE(REPLY_AT.type);
      this.#await(4, (length) => this.#payload(type, length.readUInt32BE(0)));
    }
  }

  #simpleReply(errorNr: number): void {
    const request = this.#request;
    const { kind, offset, length } = request;
    if (this.#options.structured && (kind === 'read' || kind === 'blockStatus'))
      violated(`a ${request.words} was answered with a simple reply, although structured ones were agreed on`);
    this.#flags = REPLY_FLAG_DONE;
    if (errorNr !== 0) request.complain({ errorNr, text: '' });
    if (errorNr === 0 && kind === 'read') this.#receive(offset, length);
    else this.#endChunk();
  }

  #payload(type: number, length: number): void {
    if ((this.#flags & ~REPLY_FLAG_DONE) !== 0) violated(`a chunk has the unknown flags 0x${this.#flags.toString(16)}`);
    switch (type) {
      case CHUNK.NONE:
        if (length !== 0 || this.#flags !== REPLY_FLAG_DONE)
          violated('an empty chunk has a payload, or is not the last of its reply');
        this.#endChunk();
        break;
      case CHUNK.OFFSET_DATA:
        if (length < 9) violated(`a chunk of data has a payload of ${length} bytes, too few for an offset and data`);
        this.#await(8, (part) => this.#receive(u64At(part, 0), length - 8));
        break;
      case CHUNK.OFFSET_HOLE:
        if (length !== 12) violated(`a hole has a payload of ${length} bytes instead of 12`);
        this.#await(length, (part) => this.#hole(part));
        break;
      case CHUNK.BLOCK_STATUS:
        if (length < 12 || (length - 4) % 8 !== 0 || (length - 4) / 8 > MAX_EXTENTS_PER_CHUNK)
          violated(
            `a block status has a payload of ${length} bytes, which is not 4 and 1 to ${MAX_EXTENTS_PER_CHUNK} times 8`,
          );
        this.#await(length, (part) => this.#status(part));
        break;
      default:
        if ((type & CHUNK_ERROR_BIT) === 0) violated(`a chunk has the unknown type ${type}`);
        // Error types that come later begin as the two of today, so that everybody understands that it is one.
        if (length < 6 || length > MAX_ERROR_PAYLOAD) violated(`an error has a payload of ${length} bytes`);
        this.#await(length, (part) => this.#error(type, part));
        break;
    }
  }

  #receive(offset: number, length: number): void {
    this.#into = this.#request.destination(offset, length);
    this.#nrInto = 0;
  }

  #hole(part: Buffer): void {
    this.#request.destination(u64At(part, 0), part.readUInt32BE(8)).fill(0);
    this.#endChunk();
  }

  #status(part: Buffer): void {
    const descriptors: StatusDescriptor[] = [];
    for (let at = 4; at < part.length; at += 8)
      descriptors.push({ length: part.readUInt32BE(at), flags: part.readUInt32BE(at + 4) });
    this.#request.addStatus(part.readUInt32BE(0), descriptors);
    this.#endChunk();
  }

  #error(type: number, part: Buffer): void {
    const nrText = part.readUInt16BE(4);
    const expected = 6 + nrText + (type === CHUNK.ERROR_OFFSET ? 8 : 0);
    const known = type === CHUNK.ERROR || type === CHUNK.ERROR_OFFSET;
    if (known ? part.length !== expected : part.length < expected)
      violated(`an error has a payload of ${part.length} bytes, but ${expected} are told`);
    const text = readableText(part.subarray(6, 6 + nrText));
    const offset = type === CHUNK.ERROR_OFFSET ? { offset: u64At(part, 6 + nrText) } : {};
    this.#request.complain({ errorNr: part.readUInt32BE(0), text, ...offset });
    this.#endChunk();
  }

  #endChunk(): void {
    this.#into = undefined;
    this.#await(COMMON_HEADER_SIZE, this.#commonHeader);
    if ((this.#flags & REPLY_FLAG_DONE) === 0) return;
    this.#request.checkComplete();
    this.#options.finished(this.#cookie, this.#request);
  }
}

function violated(what: string): never {
  throw new NbdProtocolError(`the server broke the NBD protocol: ${what}`);
}

/** A server's text, fit for a terminal: at most 4096 bytes, and no control characters. */
export function readableText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, MAX_STRING_SIZE)).replace(/\p{Cc}/gu, '\ufffd');
}
