/**
 * From the bytes of a socket to requests.
 *
 * All requests in one piece are parsed in one go. A piece is there only until `receive` returns, for the next one is read to the same
 * place (reused-input.ts): a WRITE's payload is gathered in a pooled buffer.
 *
 * In step: a request that is refused still has its payload consumed first. A magic that is wrong cannot be recovered from, and a payload
 * far beyond the limit is not worth it: both end the connection.
 *
 * Bounds: before each request the owner is asked whether it may be in flight too. If not, the intake stays where it is, with at most one
 * piece of input, until `resume`.
 *
 * Format: docs/format/nbd.md, sections 4 and 11.
 */
import {
  COMMAND,
  COMMAND_FLAG,
  EXTENDED_REQUEST_MAGIC,
  EXTENDED_REQUEST_SIZE,
  NBD_ERROR,
  REQUEST_MAGIC,
  REQUEST_SIZE,
} from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import { REQUEST_AT } from '../protocol/requests.js';
import type { BufferPool } from './buffer-pool.js';
import { type RequestRules, refusalOf } from './check-request.js';
import { RequestRefused } from './error-numbers.js';
import type { Request } from './request.js';

/** What becomes of requests. */
export interface IntakeOwner {
  /** Whether a request may be in flight that moves `cost` bytes. If not, the intake has stalled: call `resume` when it may. */
  mayTake(cost: number): boolean;
  /** A request object, counted as in flight from now on. */
  newRequest(cost: number): Request;
  /** The request is whole. */
  start(request: Request): void;
  /** The request is not to be carried out; its payload has been consumed. */
  refuse(request: Request, refusal: RequestRefused): void;
  /** The request will never be whole: it counts no more. */
  forget(request: Request): void;
  /** The client said DISC. */
  disconnected(): void;
  /** What the client sends makes no sense any more. */
  derailed(reason: string): void;
}

const NO_INPUT = Buffer.alloc(0);
/** A payload of up to so many times the limit is read and dropped; who sends more is cut off. */
const DROP_FACTOR = 4;
/** The u64 of the effect length and up to so many u32 ids, in the payload of BLOCK_STATUS. */
const MAX_STATUS_PAYLOAD = 8 + 4 * 1024;
/** 8192 extents of 16 bytes: the most that BLOCK_STATUS answers for one context. */
const STATUS_COST = 131_072;
const SHUTTING_DOWN = new RequestRefused(NBD_ERROR.ESHUTDOWN, 'the server is shutting down');

export class RequestIntake {
  /** Every request from now on is refused with ESHUTDOWN. */
  isShuttingDown = false;

  readonly #headerSize: number;
  readonly #magic: number;
  #input: Buffer = NO_INPUT;
  #at = 0;
  /** Whether the input stays as it is; otherwise the socket reads into it next. */
  #ownsInput = false;
  /** A header that came in parts. */
  readonly #header: Buffer;
  #headerFill = 0;
  /** A request whose payload is arriving, and how much of it is there. */
  #receiving: Request | undefined;
  #received = 0;
  /** A refused request with a payload, of which so much is still to be dropped. */
  #refused: Request | undefined;
  #refusal: RequestRefused = SHUTTING_DOWN;
  #dropping = 0;
  #isStalled = false;
  #hasStopped = false;

  constructor(
    private readonly owner: IntakeOwner,
    private readonly pool: BufferPool,
    /** Looked at for each request; its size may grow. */
    private readonly rules: RequestRules,
  ) {
    this.#headerSize = rules.extended ? EXTENDED_REQUEST_SIZE : REQUEST_SIZE;
    this.#magic = rules.extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC;
    this.#header = Buffer.alloc(this.#headerSize);
  }

  get isStalled(): boolean {
    return this.#isStalled;
  }
  /** A request that is in flight already, but has not come whole. */
  get hasPartialRequest(): boolean {
    return this.#receiving !== undefined || this.#refused !== undefined;
  }
  /** A part of a request is here, and nothing but the client keeps the rest from coming. */
  get isMidRequest(): boolean {
    return !this.#isStalled && !this.#hasStopped && (this.#headerFill > 0 || this.hasPartialRequest);
  }

  /** Takes what the socket received. The bytes are only there until this returns. */
  receive(chunk: Buffer): void {
    if (this.#hasStopped) return;
    // Only a chunk that was on its way when the socket was paused finds an earlier one unfinished.
    this.#ownsInput = this.#at < this.#input.length;
    this.#input = this.#ownsInput ? Buffer.concat([this.#input.subarray(this.#at), chunk]) : chunk;
    this.#at = 0;
    if (!this.#isStalled) this.#consume();
    if (!this.#ownsInput && this.#input !== NO_INPUT) {
      this.#input = Buffer.from(this.#input.subarray(this.#at));
      this.#at = 0;
      this.#ownsInput = true;
    }
  }

  /** Goes on after a stall. May stall again. */
  resume(): void {
    this.#isStalled = false;
    this.#consume();
  }

  /** Takes nothing more, and forgets a request of which not all has come. */
  stop(): void {
    this.#hasStopped = true;
    const partial = this.#receiving ?? this.#refused;
    this.#receiving = undefined;
    this.#refused = undefined;
    this.#input = NO_INPUT;
    this.#at = 0;
    if (partial !== undefined) this.owner.forget(partial);
  }

  #consume(): void {
    while (!this.#hasStopped && this.#step());
    if (this.#at < this.#input.length) return;
    this.#input = NO_INPUT;
    this.#at = 0;
  }

  /** Takes one thing from the input. @returns false when it needs more input, or may not go on */
  #step(): boolean {
    if (this.#receiving !== undefined) return this.#receivePayload(this.#receiving);
    if (this.#refused !== undefined) return this.#dropPayload(this.#refused);
    const size = this.#headerSize;
    if (this.#headerFill === 0 && this.#input.length - this.#at >= size) {
      const at = this.#at;
      return this.#takeRequest(this.#input, at, at + size);
    }
    const taken = Math.min(size - this.#headerFill, this.#input.length - this.#at);
    this.#input.copy(this.#header, this.#headerFill, this.#at, this.#at + taken);
    this.#headerFill += taken;
    this.#at += taken;
    return this.#headerFill === size && this.#takeRequest(this.#header, 0, this.#at);
  }

  /** Takes the request whose header is at `at` of `bytes`; what follows it is at `next` of the input. */
  #takeRequest(bytes: Buffer, at: number, next: number): boolean {
    if (bytes.readUInt32BE(at) !== this.#magic) {
      this.owner.derailed('sent a request without its magic number');
      return false;
    }
    const { extended, maxPayload } = this.rules;
    const flags = bytes.readUInt16BE(at + REQUEST_AT.flags);
    const command = bytes.readUInt16BE(at + REQUEST_AT.command);
    const length = extended ? u64At(bytes, at + REQUEST_AT.length) : bytes.readUInt32BE(at + REQUEST_AT.length);
    const hasPayload = extended ? (flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0 : command === COMMAND.WRITE;
    const payload = hasPayload ? length : 0;
    const cost = costOf(command, length, payload, maxPayload);
    if (!this.owner.mayTake(cost)) {
      this.#isStalled = true;
      return false;
    }
    this.#headerFill = 0;
    this.#at = next;
    if (command === COMMAND.DISC) {
      this.owner.disconnected();
      return false;
    }

    const request = this.owner.newRequest(cost);
    request.flags = flags;
    request.command = command;
    request.cookieHigh = bytes.readUInt32BE(at + REQUEST_AT.cookie);
    request.cookieLow = bytes.readUInt32BE(at + REQUEST_AT.cookie + 4);
    request.offsetHigh = bytes.readUInt32BE(at + REQUEST_AT.offset);
    request.offsetLow = bytes.readUInt32BE(at + REQUEST_AT.offset + 4);
    request.offset = request.offsetHigh * 2 ** 32 + request.offsetLow;
    request.length = length;
    const refusal = this.isShuttingDown ? SHUTTING_DOWN : this.#refusalOf(request, payload);
    if (refusal !== undefined) return this.#refuse(request, refusal, payload);
    if (payload > 0) return this.#takePayload(request, payload);
    this.owner.start(request);
    return true;
  }

  #refusalOf({ command, flags, offset, length }: Request, payload: number): RequestRefused | undefined {
    if (command === COMMAND.BLOCK_STATUS && payload > MAX_STATUS_PAYLOAD) {
      return new RequestRefused(NBD_ERROR.EINVAL, `BLOCK_STATUS with a payload of ${payload} bytes`);
    }
    return refusalOf(command, flags, offset, length, this.rules);
  }

  #takePayload(request: Request, length: number): boolean {
    request.buffer = this.pool.take(length);
    request.payload = request.buffer.data(length);
    this.#receiving = request;
    this.#received = 0;
    return true;
  }

  #receivePayload(request: Request): boolean {
    const payload = request.payload as Buffer;
    const taken = Math.min(payload.length - this.#received, this.#input.length - this.#at);
    this.#input.copy(payload, this.#received, this.#at, this.#at + taken);
    this.#at += taken;
    this.#received += taken;
    if (this.#received < payload.length) return false;
    this.#receiving = undefined;
    this.owner.start(request);
    return true;
  }

  #refuse(request: Request, refusal: RequestRefused, payload: number): boolean {
    const { extended, maxPayload } = this.rules;
    if (payload > maxPayload * (extended ? 1 : DROP_FACTOR)) {
      this.owner.forget(request);
      this.owner.derailed(`sent a payload of ${payload} bytes, far beyond the limit`);
      return false;
    }
    if (payload === 0) this.owner.refuse(request, refusal);
    else {
      this.#refused = request;
      this.#refusal = refusal;
      this.#dropping = payload;
    }
    return true;
  }

  #dropPayload(request: Request): boolean {
    const dropped = Math.min(this.#dropping, this.#input.length - this.#at);
    this.#at += dropped;
    this.#dropping -= dropped;
    if (this.#dropping > 0) return false;
    this.#refused = undefined;
    this.owner.refuse(request, this.#refusal);
    return true;
  }
}

/** Bytes of memory that a request may need, the answer included. */
function costOf(command: number, length: number, payload: number, maxPayload: number): number {
  if (command === COMMAND.READ) return Math.min(length, maxPayload);
  return command === COMMAND.BLOCK_STATUS ? STATUS_COST : Math.min(payload, maxPayload);
}
