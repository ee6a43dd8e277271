/**
 * One client, from its first byte to the release of its export.
 *
 * Three phases: the greeting and the client's flags; haggling, one option at a time; transmission. Here is the first, the bytes of the
 * second (what the options mean is haggling.ts), and the hand-over to the third (transmission.ts).
 *
 * While an option is being answered the socket is paused, and until the answer has left no further option is read: a client that asks
 * for long lists and reads none of them costs one list.
 *
 * Format: docs/format/nbd.md, section 1.
 */
import type { Socket } from 'node:net';
import { systemProblem } from '@pdata/device/node';
import {
  CLIENT_FLAGS_SIZE,
  GREETING_SIZE,
  HANDSHAKE_FLAG,
  NBD_MAGIC,
  OPTION_HEADER_SIZE,
  OPTION_MAGIC,
} from '../protocol/constants.js';
import type { Answer } from './haggling.js';
import { Haggling, type HagglingOptions } from './haggling.js';
import { readingIntoOneBuffer } from './reused-input.js';
import type { SharedExport, SharedExports } from './shared-exports.js';
import { type NbdServerTls, startTls } from './starting-tls.js';
import { Transmission, type TransmissionHost } from './transmission.js';

/** What a connection needs of its server. */
export interface ConnectionHost extends TransmissionHost {
  readonly exports: SharedExports;
  readonly tls: NbdServerTls | undefined;
  readonly isShuttingDown: boolean;
  log(line: string): void;
}

/** A client as its server sees it. */
export interface NbdClientInfo {
  /** Counts up from 1 with each connection of the server. */
  readonly id: number;
  /** Address and port of a TCP client; "unix" for one on a Unix socket. */
  readonly peer: string;
  readonly encrypted: boolean;
  /** The export in use; undefined as long as the client is haggling. */
  readonly exportName: string | undefined;
  readonly nrRequests: number;
  readonly nrInFlight: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

/** Options whose data are longer than this are not read to their end. */
const MAX_DROPPED_OPTION = 16 * 2 ** 20;
/** How long a closed side waits for the client to close its own, ms. */
const LINGER_MS = 250;

type Expecting = 'clientFlags' | 'optionHeader' | 'optionData' | 'dropped';

export class Connection {
  /** Resolves when the socket is closed and the export given back. */
  readonly closed: Promise<void>;
  readonly #haggling: Haggling;
  /** What the server accepted; {@link #socket} is the same, or TLS over it. */
  private readonly raw: Socket;
  #socket: Socket;
  #transmission: Transmission | undefined;
  #shared: SharedExport | undefined;

  #expecting: Expecting = 'clientFlags';
  #wanted = Buffer.alloc(CLIENT_FLAGS_SIZE);
  #fill = 0;
  #option = 0;
  #toDrop = 0;
  #input: Buffer | undefined;
  #isAnswering = false;
  /** The answer being worked on, or the last one. */
  #answering: Promise<void> = Promise.resolve();
  #isClosing = false;
  #isStartingTls = false;

  readonly #peer: string;
  #silentSweeps = 0;
  #bytesAtSweep = 0;
  readonly #startedAt = performance.now();
  #resolveClosed: () => void = () => {};

  constructor(
    readonly id: number,
    accepted: Socket,
    private readonly host: ConnectionHost,
  ) {
    const raw = readingIntoOneBuffer(accepted, (chunk) => this.#onData(chunk));
    this.raw = raw;
    this.#socket = raw;
    const { remoteAddress, remotePort } = raw;
    this.#peer = remoteAddress === undefined ? 'unix' : `${remoteAddress}:${remotePort}`;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    const options: HagglingOptions = {
      exports: host.exports,
      maxPayload: host.limits.payload,
      tls: host.tls?.mode ?? 'none',
      isShuttingDown: () => host.isShuttingDown,
      log: (line) => this.#log(line),
    };
    this.#haggling = new Haggling(options);
    raw.setNoDelay(true);
    raw.once('close', () => void this.#closed());
    this.#listen(raw);
    this.#greet();
  }

  get info(): NbdClientInfo {
    return {
      id: this.id,
      peer: this.#peer,
      encrypted: this.#haggling.isEncrypted,
      exportName: this.#shared?.name,
      nrRequests: this.#transmission?.nrRequests ?? 0,
      nrInFlight: this.#transmission?.nrInFlight ?? 0,
      bytesReceived: this.#transmission?.bytesRead ?? 0,
      bytesSent: this.#transmission?.bytesWritten ?? 0,
    };
  }

  /** Lets the client finish what it has in flight, and closes. */
  shutDown(): void {
    if (this.#transmission !== undefined) this.#transmission.shutDown();
    else if (!this.#isAnswering) this.#close();
  }

  destroy(reason?: string): void {
    if (reason !== undefined && !this.raw.destroyed) this.#log(reason);
    this.#isClosing = true;
    this.#socket.destroy();
    this.raw.destroy();
  }

  /** Called every `periodMs`: closes a client that has been silent where it must speak. */
  sweep(periodMs: number): void {
    const { limits } = this.host;
    if (this.#transmission === undefined) {
      if (performance.now() - this.#startedAt > limits.handshakeMs) this.destroy('the handshake took too long');
      return;
    }
    const { bytesRead, isMidRequest } = this.#transmission;
    this.#silentSweeps = isMidRequest && bytesRead === this.#bytesAtSweep ? this.#silentSweeps + 1 : 0;
    this.#bytesAtSweep = bytesRead;
    if (this.#silentSweeps * periodMs > limits.stallMs) this.destroy('silent in the middle of a request');
  }

  #log(line: string): void {
    this.host.log(`client ${this.id}: ${line}`);
  }

  #listen(socket: Socket): void {
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.once('finish', () => this.#linger());
  }

  /** The bytes are only there until this returns. */
  readonly #onData = (chunk: Buffer): void => {
    if (this.#transmission !== undefined) this.#transmission.receive(chunk);
    else this.#receive(chunk);
  };
  readonly #onEnd = (): void => {
    if (this.#transmission !== undefined) this.#transmission.receiveEnd();
    else this.#close();
  };
  readonly #onError = (error: Error): void => {
    const { code } = error as { code?: string };
    // A client that is gone without a word is nothing to report.
    if (code !== 'ECONNRESET' && code !== 'EPIPE') this.#log(systemProblem(error) ?? error.message);
    this.raw.destroy();
  };

  #greet(): void {
    const greeting = Buffer.alloc(GREETING_SIZE);
    greeting.writeUInt32BE(NBD_MAGIC.high, 0);
    greeting.writeUInt32BE(NBD_MAGIC.low, 4);
    greeting.writeUInt32BE(OPTION_MAGIC.high, 8);
    greeting.writeUInt32BE(OPTION_MAGIC.low, 12);
    greeting.writeUInt16BE(HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES, 16);
    this.#socket.write(greeting);
  }

  // ---- bytes of the handshake ----

  #receive(chunk: Buffer): void {
    if (this.#isClosing) return;
    if (this.#input !== undefined) {
      this.#input = Buffer.concat([this.#input, chunk]); // was on its way when the socket was paused
      return;
    }
    let at = 0;
    while (at < chunk.length && !this.#isAnswering && !this.#isClosing) at = this.#take(chunk, at);
    if (this.#isAnswering && at < chunk.length) this.#input = Buffer.from(chunk.subarray(at));
  }

  /** Takes what is expected from `chunk`, as far as it is there. @returns the position after it */
  #take(chunk: Buffer, at: number): number {
    if (this.#expecting === 'dropped') {
      const dropped = Math.min(this.#toDrop, chunk.length - at);
      this.#toDrop -= dropped;
      if (this.#toDrop === 0) this.#answerWith(this.#haggling.answerTooBig(this.#option, this.#fill));
      return at + dropped;
    }
    const taken = Math.min(this.#wanted.length - this.#fill, chunk.length - at);
    chunk.copy(this.#wanted, this.#fill, at, at + taken);
    this.#fill += taken;
    if (this.#fill === this.#wanted.length) {
      if (this.#expecting === 'clientFlags') this.#takeClientFlags();
      else if (this.#expecting === 'optionHeader') this.#takeOptionHeader();
      else this.#answer(this.#wanted);
    }
    return at + taken;
  }

  #expect(what: Expecting, size: number): void {
    this.#expecting = what;
    this.#wanted = Buffer.allocUnsafe(size);
    this.#fill = 0;
  }

  #takeClientFlags(): void {
    const flags = this.#wanted.readUInt32BE(0);
    const known = HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES;
    if ((flags & ~known) !== 0) {
      this.destroy(`sent the unknown client flags 0x${flags.toString(16)}`);
      this.#isClosing = true;
      return;
    }
    this.#haggling.clientFlags = flags;
    this.#expect('optionHeader', OPTION_HEADER_SIZE);
  }

  #takeOptionHeader(): void {
    const header = this.#wanted;
    if (header.readUInt32BE(0) !== OPTION_MAGIC.high || header.readUInt32BE(4) !== OPTION_MAGIC.low) {
      this.destroy('sent an option without its magic number');
      this.#isClosing = true;
      return;
    }
    this.#option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    if (length === 0) this.#answer(NO_DATA);
    else if (length <= this.host.limits.optionSize) this.#expect('optionData', length);
    else if (length <= MAX_DROPPED_OPTION) {
      this.#expecting = 'dropped';
      this.#fill = length;
      this.#toDrop = length;
    } else {
      this.destroy(`sent an option of ${length} bytes`);
      this.#isClosing = true;
    }
  }

  #answer(data: Buffer): void {
    this.#beginAnswer();
    this.#answering = this.#haggling.answer(this.#option, data).then((answer) => this.#carryOut(answer));
  }

  #answerWith(answer: Answer): void {
    this.#beginAnswer();
    this.#carryOut(answer);
  }

  #beginAnswer(): void {
    this.#isAnswering = true;
    this.#socket.pause();
  }

  #carryOut(answer: Answer): void {
    if (answer.after === 'transmission') this.#shared = answer.shared;
    const socket = this.#socket;
    if (socket.destroyed || this.#isClosing) return; // what was opened is given back in #closed
    if (answer.after === 'close') {
      if (answer.bytes.length > 0) socket.write(answer.bytes);
      this.#close();
      return;
    }
    socket.write(answer.bytes, (error) => {
      if (error == null) this.#answered(answer.after);
    });
    if (answer.after === 'transmission') {
      this.#transmission = new Transmission(socket, answer.shared, answer.agreed, this.host);
      if (this.host.isShuttingDown) this.#transmission.shutDown();
    }
  }

  /** The answer to an option has left. */
  #answered(after: Answer['after']): void {
    const input = this.#input;
    this.#input = undefined;
    this.#isAnswering = false;
    if (after === 'tls') {
      if (input !== undefined)
        this.destroy('sent bytes between STARTTLS and its answer, which anybody may have put there');
      else void this.#startTls();
      return;
    }
    if (this.#transmission === undefined) {
      if (this.host.isShuttingDown) {
        this.#close();
        return;
      }
      this.#expect('optionHeader', OPTION_HEADER_SIZE);
    }
    this.#socket.resume();
    if (input !== undefined) this.#onData(input);
  }

  async #startTls(): Promise<void> {
    const { raw } = this;
    const { tls } = this.host;
    if (tls === undefined) throw new Error('STARTTLS was agreed on without TLS');
    raw.removeAllListeners('data');
    raw.off('end', this.#onEnd);
    this.#isStartingTls = true;
    try {
      const socket = await startTls(raw, tls);
      this.#isStartingTls = false;
      this.#socket = socket;
      await this.#haggling.encrypted();
      this.#expect('optionHeader', OPTION_HEADER_SIZE);
      this.#listen(socket);
      socket.on('data', this.#onData);
    } catch (error) {
      const { reason, message } = error as Error & { reason?: string }; // OpenSSL's message is for its authors
      if (!this.#isClosing) this.#log(`TLS: ${reason ?? message}`);
      this.destroy();
    }
  }

  // ---- the end ----

  #close(): void {
    this.#isClosing = true;
    this.#input = undefined;
    if (this.#socket.destroyed) return;
    if (this.#isStartingTls) {
      this.destroy();
      return;
    }
    this.#socket.resume();
    this.#socket.end();
  }

  /** Our side is closed: gives the client a moment to close its own. */
  #linger(): void {
    const timer = setTimeout(() => this.destroy(), LINGER_MS);
    this.raw.once('close', () => clearTimeout(timer));
  }

  async #closed(): Promise<void> {
    this.#socket.destroy();
    await this.#answering; // it may be opening an export at this moment
    await this.#transmission?.abandon();
    await this.#haggling.end();
    const shared = this.#shared;
    this.#shared = undefined;
    if (shared !== undefined) await this.host.exports.release(shared);
    this.#resolveClosed();
  }
}

const NO_DATA = Buffer.alloc(0);
