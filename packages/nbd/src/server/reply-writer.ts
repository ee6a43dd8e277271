/**
 * Replies on their way out.
 *
 * All replies that become ready in one turn of the event loop leave in one system call: they are gathered, and sent by a `setImmediate`,
 * which runs when the turn's completions have been handled. Small replies are written one behind the other into a shared piece of
 * memory; data goes out from the buffer the device read it into, its header directly in front of it.
 *
 * A request counts as in flight until its reply was taken by the system, so a client that does not read its replies is soon not
 * read from either, and what waits for it is bounded.
 *
 * Format: docs/format/nbd.md, section 5.
 */
import type { Duplex } from 'node:stream';
import { CHUNK, COMMAND, REPLY_FLAG_DONE, SIMPLE_REPLY_SIZE } from '../protocol/constants.js';
import { setU64 } from '../protocol/integers.js';
import { encodeChunkHeader, encodeSimpleReply, errorPayload } from '../protocol/replies.js';
import type { MetaExtent } from './export.js';
import type { Request } from './request.js';

/** How replies look on this connection; settled before the first request. */
export interface ReplyMode {
  readonly structured: boolean;
  readonly extended: boolean;
}

const SLAB_SIZE = 65_536;
const NO_BYTES = Buffer.alloc(0);

export class ReplyWriter {
  /** What leaves with the next flush, and the requests it finishes. */
  #parts: Buffer[] = [];
  #finished: Request[] = [];
  #slab = NO_BYTES;
  #slabAt = 0;
  /** Where in the slab the small replies begin that are not yet a part. */
  #runStart = 0;
  #isScheduled = false;
  readonly #flush = (): void => this.flush();
  readonly #chunkHeaderSize: number;
  bytesWritten = 0;

  constructor(
    private readonly socket: Duplex,
    private readonly mode: ReplyMode,
    /** Takes back requests whose replies were sent, or never will be. Their buffers may be used again only if `sent`. */
    private readonly release: (requests: readonly Request[], sent: boolean) => void,
  ) {
    this.#chunkHeaderSize = mode.extended ? 32 : 20;
  }

  /** Whether a READ may be answered in parts, some of them zeros that are not sent. */
  get mayHaveHoles(): boolean {
    return this.mode.structured || this.mode.extended;
  }

  success(request: Request): void {
    const { structured, extended } = this.mode;
    if (extended || (structured && needsStructure(request))) this.#chunk(request, CHUNK.NONE, NO_BYTES, true);
    else {
      this.#reserve(SIMPLE_REPLY_SIZE);
      this.#slabAt += encodeSimpleReply(this.#slab, this.#slabAt, 0, request);
    }
    this.#finish(request);
  }

  failure(request: Request, errorNumber: number, text: string): void {
    if (this.mode.structured || this.mode.extended) {
      this.#chunk(request, CHUNK.ERROR, errorPayload(errorNumber, text), true);
    } else {
      this.#reserve(SIMPLE_REPLY_SIZE);
      this.#slabAt += encodeSimpleReply(this.#slab, this.#slabAt, errorNumber, request);
    }
    this.#finish(request);
  }

  /** The whole answer to a READ: `length` bytes at `dataStart` of the request's buffer. */
  data(request: Request): void {
    const { buffer, dataStart, length } = request;
    if (buffer === undefined) throw new Error('a READ without a buffer');
    const start = dataStart - this.#dataHeader(request, buffer.bytes, dataStart, length, true);
    this.#part(buffer.wire(start, dataStart + length));
    this.#finish(request);
  }

  /** A part of the answer to a structured READ: bytes `from` to `to` of the request's buffer, which belong at `offset`. */
  dataChunk(request: Request, offset: number, data: Buffer): void {
    this.#reserve(this.#chunkHeaderSize + 8);
    const chunk = { flags: 0, type: CHUNK.OFFSET_DATA, payloadLength: 8 + data.length };
    this.#slabAt += encodeChunkHeader(this.#slab, this.#slabAt, chunk, request, this.mode.extended);
    setU64(this.#slab, this.#slabAt, offset);
    this.#slabAt += 8;
    this.#part(data);
  }

  /** A part of the answer to a structured READ: `length` zeros at `offset`. */
  holeChunk(request: Request, offset: number, length: number): void {
    const payload = Buffer.allocUnsafe(12);
    setU64(payload, 0, offset);
    payload.writeUInt32BE(length, 8);
    this.#chunk(request, CHUNK.OFFSET_HOLE, payload, false);
  }

  /** A part of the answer to BLOCK_STATUS: the extents of one context. */
  extentsChunk(request: Request, contextId: number, extents: readonly MetaExtent[]): void {
    if (this.mode.extended) {
      const payload = Buffer.allocUnsafe(8 + 16 * extents.length);
      payload.writeUInt32BE(contextId, 0);
      payload.writeUInt32BE(extents.length, 4);
      let at = 8;
      for (const { length, flags } of extents) {
        setU64(payload, at, length);
        setU64(payload, at + 8, flags);
        at += 16;
      }
      this.#chunk(request, CHUNK.BLOCK_STATUS_EXT, payload, false);
      return;
    }
    const payload = Buffer.allocUnsafe(4 + 8 * extents.length);
    let at = payload.writeUInt32BE(contextId, 0);
    for (const { length, flags } of extents) {
      at = payload.writeUInt32BE(length, at);
      at = payload.writeUInt32BE(flags, at);
    }
    this.#chunk(request, CHUNK.BLOCK_STATUS, payload, false);
  }

  /** Ends an answer that was given in parts. */
  done(request: Request): void {
    this.#chunk(request, CHUNK.NONE, NO_BYTES, true);
    this.#finish(request);
  }

  /** Sends what has been gathered. */
  flush(): void {
    this.#isScheduled = false;
    this.#endRun();
    const parts = this.#parts;
    const finished = this.#finished;
    if (parts.length === 0) return;
    this.#parts = [];
    this.#finished = [];
    const { socket } = this;
    if (socket.destroyed || !socket.writable) {
      this.release(finished, false);
      return;
    }
    const written = (error?: Error | null): void => this.release(finished, error == null);
    const last = parts.length - 1;
    if (last > 0) socket.cork();
    for (let part = 0; part < last; part++) socket.write(parts[part]);
    socket.write(parts[last], written);
    if (last > 0) socket.uncork();
  }

  #finish(request: Request): void {
    this.#finished.push(request);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#flush);
  }

  #chunk(request: Request, type: number, payload: Buffer, isLast: boolean): void {
    this.#reserve(this.#chunkHeaderSize + (payload.length > 1024 ? 0 : payload.length));
    const chunk = { flags: isLast ? REPLY_FLAG_DONE : 0, type, payloadLength: payload.length };
    this.#slabAt += encodeChunkHeader(this.#slab, this.#slabAt, chunk, request, this.mode.extended);
    if (payload.length > 1024) this.#part(payload);
    else this.#slabAt += payload.copy(this.#slab, this.#slabAt);
  }

  /** Writes the header of a lone data reply before `dataStart`. @returns its size */
  #dataHeader(request: Request, into: Buffer, dataStart: number, length: number, isLast: boolean): number {
    const { structured, extended } = this.mode;
    if (!structured && !extended) return encodeSimpleReply(into, dataStart - SIMPLE_REPLY_SIZE, 0, request);
    const size = this.#chunkHeaderSize + 8;
    // DONE at once: everything has been read, no error can follow.
    const chunk = { flags: isLast ? REPLY_FLAG_DONE : 0, type: CHUNK.OFFSET_DATA, payloadLength: 8 + length };
    encodeChunkHeader(into, dataStart - size, chunk, request, extended);
    into.writeUInt32BE(request.offsetHigh, dataStart - 8);
    into.writeUInt32BE(request.offsetLow, dataStart - 4);
    return size;
  }

  #part(bytes: Buffer): void {
    this.#endRun();
    this.#parts.push(bytes);
    this.bytesWritten += bytes.length;
  }

  /** Makes the small replies since the last part one. */
  #endRun(): void {
    if (this.#slabAt === this.#runStart) return;
    const run = this.#slab.subarray(this.#runStart, this.#slabAt);
    this.#runStart = this.#slabAt;
    this.#parts.push(run);
    this.bytesWritten += run.length;
  }

  /** Makes sure that the slab has room for `size` bytes, at most SLAB_SIZE. What was written to it stays as it is until sent. */
  #reserve(size: number): void {
    if (this.#slab.length - this.#slabAt >= size) return;
    this.#endRun();
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    this.#slabAt = 0;
    this.#runStart = 0;
  }
}

/** With structured replies, these two commands may not be answered by a simple one. */
const needsStructure = ({ command }: Request): boolean => command === COMMAND.READ || command === COMMAND.BLOCK_STATUS;
