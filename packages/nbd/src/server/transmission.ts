/**
 * An export in use: requests in, replies out.
 *
 * What a request asks for is done by one call of the device and two functions that its object already has; only the commands of
 * long-commands.ts need more. Where requests come from is request-intake.ts, where replies go reply-writer.ts.
 *
 * Bounds: a request is in flight from its header to the moment its reply was taken by the system. When too much is, the intake stalls
 * and the socket is paused, until a reply has left.
 *
 * Ending: after DISC, the client's end of stream, or a shutdown, what is in flight is finished and sent, and then the socket is
 * closed. `abandon` is for a socket that is gone: replies are dropped, and what the device is doing is waited for.
 *
 * Format: docs/format/nbd.md, sections 4 to 8 and 11.
 */
import type { Duplex } from 'node:stream';
import type { DataDevice } from '@pdata/device';
import { COMMAND, COMMAND_FLAG, NBD_ERROR } from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import { type BufferPool, HEADROOM } from './buffer-pool.js';
import { type RequestRules, rangeRefusal } from './check-request.js';
import { errorNumberOf, errorTextOf, RequestRefused } from './error-numbers.js';
import type { MetaContext, MetaExtent } from './export.js';
import { collectExtents, MAX_EXTENTS } from './extents.js';
import type { NbdServerLimits } from './limits.js';
import {
  partsWithHoles,
  type ReadPart,
  sectorCeil,
  sectorFloor,
  trim,
  writeInsideSectors,
  writeZeroes,
} from './long-commands.js';
import { type ReplyMode, ReplyWriter } from './reply-writer.js';
import { Request, type RequestOwner } from './request.js';
import { type IntakeOwner, RequestIntake } from './request-intake.js';
import type { SharedExport } from './shared-exports.js';

/** What was agreed on before transmission. */
export interface Negotiated extends ReplyMode {
  /** Selected contexts by their id. */
  readonly contexts: ReadonlyMap<number, MetaContext>;
}

/** What all connections of a server have in common. */
export interface TransmissionHost {
  readonly limits: NbdServerLimits;
  readonly pool: BufferPool;
  /** Payload bytes in flight on all connections. */
  bytesInFlight: number;
  /** A request failed in a way that the client is told little of. */
  requestFailed(exportName: string, error: unknown): void;
}

const FUA = { fua: true } as const;
/** READs of at least so many bytes ask first where zeros are; below, the question would cost more than the zeros. */
const SPARSE_READ = 131_072;
export class Transmission implements RequestOwner, IntakeOwner {
  readonly #device: DataDevice;
  readonly #replies: ReplyWriter;
  readonly #intake: RequestIntake;
  readonly #rules: { -readonly [Rule in keyof RequestRules]: RequestRules[Rule] };

  readonly #unused: Request[] = [];
  #nrInFlight = 0;
  #bytesInFlight = 0;
  #hasInputEnded = false;
  #isClosing = false;
  /** No more requests are taken. */
  #isEnding = false;
  #isAbandoned = false;
  readonly #isGone = (): boolean => this.#isAbandoned;
  #wakeWhenIdle: (() => void) | undefined;

  nrRequests = 0;
  bytesRead = 0;

  constructor(
    private readonly socket: Duplex,
    private readonly shared: SharedExport,
    private readonly negotiated: Negotiated,
    private readonly host: TransmissionHost,
  ) {
    this.#device = shared.device;
    const { structured, extended, contexts } = negotiated;
    this.#rules = {
      size: 0,
      readOnly: false,
      allowsDf: structured || extended,
      extended,
      hasContexts: contexts.size > 0,
      maxPayload: host.limits.payload,
    };
    this.#intake = new RequestIntake(this, host.pool, this.#rules);
    this.#replies = new ReplyWriter(socket, negotiated, (requests, sent) => this.#release(requests, sent));
  }

  get bytesWritten(): number {
    return this.#replies.bytesWritten;
  }
  get nrInFlight(): number {
    return this.#nrInFlight;
  }
  /** A part of a request is here, and nothing but the client keeps the rest from coming. */
  get isMidRequest(): boolean {
    return this.#intake.isMidRequest;
  }

  /** Takes what the socket received. */
  receive(chunk: Buffer): void {
    this.bytesRead += chunk.length;
    this.#followDevice();
    this.#intake.receive(chunk);
    if (this.#intake.isStalled) this.socket.pause();
  }

  /** The client has closed its side. What it asked before is still done. */
  receiveEnd(): void {
    this.#hasInputEnded = true;
    if (!this.#intake.isStalled) this.end();
  }

  /** No more requests: finishes what is in flight, sends it, closes the socket. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#intake.stop();
    this.#closeWhenIdle();
  }

  /** As {@link end}, but a client that goes on asking meanwhile hears ESHUTDOWN. */
  shutDown(): void {
    this.#intake.isShuttingDown = true;
    if (this.#hasNothingToDo) this.end();
  }

  /** The socket is gone. Resolves when the device has done what it was asked. */
  async abandon(): Promise<void> {
    this.#isEnding = true;
    this.#isAbandoned = true;
    this.#intake.stop();
    this.#replies.flush();
    if (this.#nrInFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#wakeWhenIdle = resolve;
      });
    }
  }

  // ---- carrying out ----

  start(request: Request): void {
    this.nrRequests++;
    try {
      switch (request.command) {
        case COMMAND.READ:
          this.#read(request);
          break;
        case COMMAND.WRITE:
        case COMMAND.WRITE_ZEROES:
        case COMMAND.TRIM:
          this.#change(request);
          break;
        case COMMAND.FLUSH:
          this.#device.flush().then(request.done, request.failed);
          break;
        case COMMAND.BLOCK_STATUS:
          this.#blockStatus(request).catch(request.failed);
          break;
        default:
          // CACHE. A device has its own mind about what to keep at hand; that the hint was heard is answer enough.
          this.#replies.success(request);
      }
    } catch (error) {
      this.failed(request, error); // a device should reject, not throw; either way it is the client's error, not the server's end
    }
  }

  #read(request: Request): void {
    const { offset, length } = request;
    if (length === 0) {
      this.#replies.success(request);
      return;
    }
    const isWholeSectors = ((request.offsetLow | length) & 511) === 0;
    const mayHaveHoles = length >= SPARSE_READ && this.#replies.mayHaveHoles && (request.flags & COMMAND_FLAG.DF) === 0;
    if (mayHaveHoles && isWholeSectors) {
      this.#readAroundHoles(request).catch(request.failed);
      return;
    }
    const begin = isWholeSectors ? offset : sectorFloor(offset);
    const size = isWholeSectors ? length : sectorCeil(offset + length) - begin;
    const buffer = this.host.pool.take(size);
    request.buffer = buffer;
    request.dataStart = HEADROOM + offset - begin;
    this.#device.read(begin, buffer.data(size)).then(request.done, request.failed);
  }

  async #readAroundHoles(request: Request): Promise<void> {
    const { offset, length } = request;
    const parts = await partsWithHoles(this.#device, offset, length);
    const buffer = this.host.pool.take(length);
    request.buffer = buffer;
    request.dataStart = HEADROOM;
    if (parts === undefined) {
      await this.#device.read(offset, buffer.data(length));
      this.#replies.data(request);
      return;
    }
    const dataOf = (part: ReadPart): Buffer =>
      buffer.bytes.subarray(HEADROOM + part.offset - offset, HEADROOM + part.offset - offset + part.length);
    await Promise.all(parts.map((part) => (part.isZero ? undefined : this.#device.read(part.offset, dataOf(part)))));
    // All has been read before the first chunk leaves, so no error can follow one.
    for (const part of parts) {
      if (part.isZero) this.#replies.holeChunk(request, part.offset, part.length);
      else this.#replies.dataChunk(request, part.offset, dataOf(part));
    }
    this.#replies.done(request);
  }

  /** Starts a WRITE, WRITE_ZEROES or TRIM when no other write stands against it. */
  #change(request: Request): void {
    const { offset, length, command } = request;
    if (length === 0) {
      this.#replies.success(request);
      return;
    }
    const isWholeSectors = ((request.offsetLow | length) & 511) === 0;
    if (command === COMMAND.TRIM) {
      // Rounded inwards: a part of a sector cannot be given up, and nobody was promised that it would.
      request.begin = isWholeSectors ? offset : sectorCeil(offset);
      request.end = isWholeSectors ? offset + length : sectorFloor(offset + length);
      if (request.begin >= request.end) {
        this.#replies.success(request);
        return;
      }
      request.exclusive = false;
    } else {
      request.begin = isWholeSectors ? offset : sectorFloor(offset);
      request.end = isWholeSectors ? offset + length : sectorCeil(offset + length);
      request.exclusive = !isWholeSectors;
    }
    request.isOrdered = true;
    this.shared.needsFlush = true;
    if (this.shared.writeOrder.enter(request)) this.admitted(request);
  }

  admitted(request: Request): void {
    const { offset, length, flags, payload } = request;
    const device = this.#device;
    const fua = (flags & COMMAND_FLAG.FUA) !== 0;
    try {
      if (request.command === COMMAND.WRITE && payload !== undefined) {
        const written = request.exclusive
          ? writeInsideSectors(device, offset, payload, fua)
          : device.write(offset, payload, fua ? FUA : undefined);
        written.then(request.done, request.failed);
      } else if (request.command === COMMAND.TRIM) {
        trim(device, request.begin, request.end, fua, this.#isGone).then(request.done, request.failed);
      } else {
        writeZeroes(device, { offset, length }, flags, this.#isGone).then(request.done, request.failed);
      }
    } catch (error) {
      this.failed(request, error);
    }
  }

  async #blockStatus(request: Request): Promise<void> {
    const { contexts } = this.negotiated;
    let { length } = request;
    let ids: Iterable<number> = contexts.keys();
    if ((request.flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0) {
      [length, ids] = this.#statusPayload(request);
    }
    const maxExtents = (request.flags & COMMAND_FLAG.REQ_ONE) !== 0 ? 1 : MAX_EXTENTS;
    const chunks: { id: number; extents: readonly MetaExtent[] }[] = [];
    for (const id of ids) {
      const context = contexts.get(id);
      if (context === undefined) throw new RequestRefused(NBD_ERROR.EINVAL, `metadata context ${id} was not selected`);
      chunks.push({ id, extents: await collectExtents(context, request.offset, length, maxExtents) });
    }
    for (const { id, extents } of chunks) this.#replies.extentsChunk(request, id, extents);
    this.#replies.done(request);
  }

  /** BLOCK_STATUS with a payload: u64 effect length, n x u32 context ids. */
  #statusPayload(request: Request): [length: number, ids: Set<number>] {
    const payload = request.payload as Buffer;
    if (payload.length < 12 || payload.length % 4 !== 0) {
      throw new RequestRefused(NBD_ERROR.EINVAL, `a BLOCK_STATUS payload of ${payload.length} bytes`);
    }
    const length = u64At(payload, 0);
    const ids = new Set<number>();
    for (let at = 8; at < payload.length; at += 4) {
      const id = payload.readUInt32BE(at);
      if (ids.has(id)) throw new RequestRefused(NBD_ERROR.EINVAL, `metadata context ${id} is asked for twice`);
      ids.add(id);
    }
    if (length === 0) throw new RequestRefused(NBD_ERROR.EINVAL, 'BLOCK_STATUS of no bytes');
    const refusal = rangeRefusal(request.command, request.offset, length, this.#device.size);
    if (refusal !== undefined) throw refusal;
    return [length, ids];
  }

  // ---- the end of a request ----

  succeeded(request: Request): void {
    if (request.isOrdered) this.#leaveOrder(request);
    if (request.command === COMMAND.READ) this.#replies.data(request);
    else this.#replies.success(request);
  }

  refuse(request: Request, refusal: RequestRefused): void {
    this.#replies.failure(request, refusal.errorNumber, refusal.message);
  }

  failed(request: Request, error: unknown): void {
    if (request.isOrdered) this.#leaveOrder(request);
    if (!(error instanceof RequestRefused)) this.host.requestFailed(this.shared.name, error);
    this.#replies.failure(request, errorNumberOf(error), errorTextOf(error));
  }

  #leaveOrder(request: Request): void {
    request.isOrdered = false;
    this.shared.writeOrder.leave(request);
  }

  #release(requests: readonly Request[], sent: boolean): void {
    const { pool } = this.host;
    for (const request of requests) {
      // A buffer whose reply failed to leave may still be in the system's hands: the collector knows better when it is free.
      if (request.buffer !== undefined && sent) pool.give(request.buffer);
      this.forget(request);
    }
    if (this.#intake.isShuttingDown && this.#hasNothingToDo) this.end();
    if (this.#isEnding) this.#closeWhenIdle();
    else if (this.#intake.isStalled) this.#resume();
  }

  // ---- bounds ----

  newRequest(cost: number): Request {
    this.#nrInFlight++;
    this.#bytesInFlight += cost;
    this.host.bytesInFlight += cost;
    const request = this.#unused.pop() ?? new Request(this);
    request.cost = cost;
    return request;
  }

  forget(request: Request): void {
    this.#nrInFlight--;
    this.#bytesInFlight -= request.cost;
    this.host.bytesInFlight -= request.cost;
    request.buffer = undefined;
    request.payload = undefined;
    this.#unused.push(request);
  }

  /** A connection with none in flight always may have one, however large. */
  mayTake(cost: number): boolean {
    if (this.#nrInFlight === 0) return true;
    const { limits, bytesInFlight } = this.host;
    return (
      this.#nrInFlight < limits.requestsInFlight &&
      this.#bytesInFlight + cost <= limits.bytesInFlight &&
      bytesInFlight + cost <= limits.totalBytesInFlight
    );
  }

  #resume(): void {
    this.#followDevice();
    this.#intake.resume();
    if (this.#intake.isStalled || this.#isEnding) return;
    if (this.#hasInputEnded) this.end();
    else this.socket.resume();
  }

  disconnected(): void {
    this.end();
  }

  derailed(reason: string): void {
    this.#isEnding = true;
    this.#intake.stop();
    this.socket.destroy(new Error(reason));
  }

  /** Nothing is in flight but perhaps a request that has not come whole. */
  get #hasNothingToDo(): boolean {
    return this.#nrInFlight === (this.#intake.hasPartialRequest ? 1 : 0);
  }

  /** A device may grow, and become read-only. */
  #followDevice(): void {
    this.#rules.size = this.#device.size;
    this.#rules.readOnly = this.#device.readOnly;
  }

  #closeWhenIdle(): void {
    if (this.#nrInFlight > 0) return;
    this.#wakeWhenIdle?.();
    if (this.socket.destroyed || this.#isClosing) return;
    this.#isClosing = true;
    // Whatever else the client sends is read and dropped: unread bytes would turn the end of the stream into a reset.
    this.socket.resume();
    this.socket.end();
  }
}
