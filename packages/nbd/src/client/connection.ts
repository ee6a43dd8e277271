/**
 * One connection in the transmission phase: sends requests, and matches answers to them.
 *
 * Many requests are in flight at once, up to a bound in number and one in bytes, so that neither the server's queue nor the
 * socket's buffer grows with the number of callers; who comes later waits its turn. Payloads are not copied: a request's
 * bytes go from the caller's array to the socket, and a read's from the socket into the caller's.
 *
 * A connection dies once, of the first cause: broken by the system, hung up by the server, a contradiction of the protocol,
 * an answer that is overdue. Then every request in flight and each later one fails with a `DeviceError` that names
 * the cause. Nothing is asked again: nobody knows whether the server has done what it did not confirm.
 * Format: docs/format/nbd.md, sections 4 and 5.
 */
import type { Socket } from 'node:net';
import { DeviceError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';
import { COMMAND, NBD_ERROR, REQUEST_SIZE } from '../protocol/constants.js';
import { encodeRequest } from '../protocol/requests.js';
import { NbdReplyError, NbdTimeoutError } from './errors.js';
import type { Negotiated } from './handshake.js';
import type { OpenedConnection } from './open-connection.js';
import { PendingRequest, type RequestKind, type RequestOptions } from './pending-request.js';
import { ReplyParser } from './reply-parser.js';

const COMMANDS: Readonly<Record<RequestKind, number>> = {
  read: COMMAND.READ,
  write: COMMAND.WRITE,
  flush: COMMAND.FLUSH,
  trim: COMMAND.TRIM,
  writeZeroes: COMMAND.WRITE_ZEROES,
  blockStatus: COMMAND.BLOCK_STATUS,
};

/** After DISC the server hangs up; one that does not is left alone after so many ms. */
const GOODBYE_MS = 2000;

export interface ConnectionOptions {
  /** Of the device, for messages. */
  readonly name: string;
  /** The longest that the server may owe an answer. */
  readonly replyMs: number;
  /** Requests, and bytes of their payloads, that may be in flight. One request always may. */
  readonly maxInFlight: number;
  readonly maxBytesInFlight: number;
  /** Called once when the connection dies of something else than `close`. */
  onDeath(error: DeviceError): void;
}

export class NbdConnection {
  readonly negotiated: Negotiated;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #parser: ReplyParser;
  /** By cookie, in the order they were sent: the first is the one that has waited longest. */
  readonly #inFlight = new Map<number, PendingRequest>();
  readonly #waiting: { readonly request: PendingRequest; readonly nrBytes: number }[] = [];
  #nrBytesInFlight = 0;
  #lastCookie = 0;
  #deadline: NodeJS.Timeout | undefined;
  #death: DeviceError | undefined;
  #isLeaving = false;
  readonly #hungUp: Promise<void>;

  constructor({ socket, incoming, result: negotiated }: OpenedConnection<Negotiated>, options: ConnectionOptions) {
    this.#socket = socket;
    this.negotiated = negotiated;
    this.#options = options;
    this.#parser = new ReplyParser({
      structured: negotiated.structured,
      find: (cookie) => this.#inFlight.get(cookie),
      finished: (cookie, request) => this.#finished(cookie, request),
    });
    this.#hungUp = socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('error', (error) => this.die(`the connection broke: ${systemProblem(error) ?? error.message}`, error));
    socket.on('end', () => this.#onHangUp());
    socket.on('close', () => this.#onHangUp());
    // Gone already: none of these events will come any more.
    if (socket.closed) setImmediate(() => this.#onHangUp());
    incoming.deliverTo(this.#onData);
  }

  /** Requests in flight and waiting. */
  get load(): number {
    return this.#inFlight.size + this.#waiting.length;
  }

  /** The error that everything fails with; undefined while the connection lives. */
  get death(): DeviceError | undefined {
    return this.#death;
  }

  /** Sends a request, and resolves when it is answered without an error. @throws DeviceError */
  async request(options: RequestOptions): Promise<PendingRequest> {
    const request = new PendingRequest(options);
    if (this.#death !== undefined) throw this.#failed(request, this.#death);
    const nrBytes = options.kind === 'read' || options.kind === 'write' ? request.length : 0;
    this.#waiting.push({ request, nrBytes });
    this.#sendWaiting();
    await request.done;
    return request;
  }

  /** Says goodbye when all requests are answered; the caller sees to it that no more come. */
  async leave(): Promise<void> {
    if (this.#death === undefined && !this.#isLeaving) {
      this.#isLeaving = true;
      this.#socket.end(this.#header(COMMAND.DISC, 0, 0, 0, 0));
    }
    const giveUp = setTimeout(() => this.#socket.destroy(), GOODBYE_MS);
    await this.#hungUp;
    clearTimeout(giveUp);
    clearTimeout(this.#deadline); // it would keep the process from ending
  }

  /** Ends the connection: everything in flight and later fails with `what`. The first death counts. */
  die(what: string, cause?: unknown): void {
    if (this.#death !== undefined || this.#isLeaving) return;
    const death = new DeviceError(`${this.#options.name}: ${what}`, cause === undefined ? undefined : { cause });
    this.#death = death;
    clearTimeout(this.#deadline);
    this.#socket.destroy();
    const failing = [...this.#inFlight.values(), ...this.#waiting.map(({ request }) => request)];
    this.#inFlight.clear();
    this.#waiting.length = 0;
    for (const request of failing) request.fail(this.#failed(request, death));
    this.#options.onDeath(death);
  }

  #failed(request: PendingRequest, { message, cause }: DeviceError): DeviceError {
    return new DeviceError(`${message} (a ${request.words} failed of it; open the device anew)`, { cause });
  }

  #sendWaiting(): void {
    const { maxInFlight, maxBytesInFlight } = this.#options;
    let nrSent = 0;
    for (const { request, nrBytes } of this.#waiting) {
      const isAlone = this.#inFlight.size === 0;
      if (!isAlone && (this.#inFlight.size >= maxInFlight || this.#nrBytesInFlight + nrBytes > maxBytesInFlight)) break;
      this.#nrBytesInFlight += nrBytes;
      this.#send(request);
      nrSent++;
    }
    if (nrSent > 0) this.#waiting.splice(0, nrSent);
  }

  #send(request: PendingRequest): void {
    const cookie = ++this.#lastCookie;
    request.sentAt = performance.now();
    this.#inFlight.set(cookie, request);
    this.#deadline ??= setTimeout(this.#checkDeadline, this.#options.replyMs);
    const { from } = request;
    const header = this.#header(COMMANDS[request.kind], request.flags, cookie, request.offset, request.length);
    this.#gather();
    this.#socket.write(header);
    if (from !== undefined) this.#socket.write(from);
  }

  /** What is sent in one turn of the event loop goes out by one system call. */
  #gather(): void {
    if (this.#socket.writableCorked > 0) return;
    this.#socket.cork();
    process.nextTick(() => this.#socket.uncork());
  }

  #header(command: number, flags: number, cookie: number, offset: number, length: number): Buffer {
    const header = Buffer.allocUnsafe(REQUEST_SIZE);
    const [cookieHigh, cookieLow] = [Math.floor(cookie / 2 ** 32), cookie >>> 0];
    encodeRequest(header, 0, { flags, command, cookieHigh, cookieLow, offset, length }, false);
    return header;
  }

  #finished(cookie: number, request: PendingRequest): void {
    this.#inFlight.delete(cookie);
    if (request.kind === 'read' || request.kind === 'write') this.#nrBytesInFlight -= request.length;
    const { complaint } = request;
    if (complaint === undefined) request.succeed();
    else {
      const cause = replyError(complaint.errorNr, complaint.text, complaint.offset);
      request.fail(new DeviceError(`${this.#options.name}: ${request.words} failed: ${cause.message}`, { cause }));
    }
    if (this.#waiting.length > 0) this.#sendWaiting();
  }

  readonly #onData = (bytes: Buffer): void => {
    if (this.#death !== undefined) return;
    try {
      this.#parser.feed(bytes);
    } catch (error) {
      this.die((error as Error).message, error);
    }
  };

  #onHangUp(): void {
    if (!this.#isLeaving || this.#inFlight.size > 0) {
      const where = this.#parser.isBetweenReplies ? '' : ' in the middle of an answer';
      const owed = this.load === 0 ? '' : `, with ${this.load} requests unanswered`;
      this.die(`the server closed the connection${where}${owed}`);
    }
  }

  readonly #checkDeadline = (): void => {
    this.#deadline = undefined;
    const oldest = this.#inFlight.values().next().value;
    if (oldest === undefined || this.#death !== undefined) return;
    const { replyMs } = this.#options;
    const left = oldest.sentAt + replyMs - performance.now();
    if (left > 0) {
      this.#deadline = setTimeout(this.#checkDeadline, left);
      return;
    }
    const cause = new NbdTimeoutError(`no answer to a ${oldest.words} within ${replyMs / 1000} s`);
    this.die(`the server gave ${cause.message}`, cause);
  };
}

const ERROR_WORDS: Readonly<Record<string, string>> = {
  EPERM: 'not permitted',
  EIO: 'input/output error',
  ENOMEM: 'out of memory',
  EINVAL: 'invalid request',
  ENOSPC: 'no space left',
  EOVERFLOW: 'too large',
  ENOTSUP: 'not supported',
  ESHUTDOWN: 'shutting down',
};

/** What the server answered, as an error. Numbers that the protocol does not list mean EINVAL. */
function replyError(errorNr: number, text: string, offset: number | undefined): NbdReplyError {
  const name = Object.entries(NBD_ERROR).find(([, nr]) => nr === errorNr)?.[0] ?? 'EINVAL';
  const where = offset === undefined ? '' : ` at byte ${offset}`;
  const words = text === '' ? '' : `: ${text}`;
  return new NbdReplyError(`the server answered ${name}, ${ERROR_WORDS[name]}${where}${words}`, errorNr, name);
}
