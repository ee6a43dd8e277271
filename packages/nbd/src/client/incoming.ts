/**
 * What a server sends: during the handshake kept, to be taken in exact numbers of bytes; afterwards handed on as it comes.
 *
 * A plain socket reads into one buffer of ours, again and again (`onread`): Node's `data` events would come in new memory each,
 * 64 KiB for every piece, and collecting that costs more than reading. Under TLS there is only `data`.
 *
 * Between two takes a server has nothing to say, so what is kept has a bound; one that talks on is cut off.
 */
import { createConnection, type NetConnectOpts, type Socket } from 'node:net';
import { NbdProtocolError } from './errors.js';

/** Bytes that one call of the system brings at most. */
const INPUT_SIZE = 128 * 1024;
const MAX_KEPT = 2 ** 20;

export class Incoming {
  #kept = Buffer.alloc(0);
  #consumer: ((bytes: Buffer) => void) | undefined;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** Begins to connect, and reads what comes. */
  static connect(target: NetConnectOpts): { readonly socket: Socket; readonly incoming: Incoming } {
    const incoming = new Incoming();
    const onread = {
      buffer: Buffer.allocUnsafeSlow(INPUT_SIZE),
      callback: (nrBytes: number, buffer: Uint8Array) => {
        incoming.#receive((buffer as Buffer).subarray(0, nrBytes));
        return true;
      },
    };
    const socket = createConnection({ ...target, onread });
    incoming.#watch(socket);
    return { socket, incoming };
  }

  /** Reads what comes from a socket that has `data` events. */
  static from(socket: Socket): Incoming {
    const incoming = new Incoming();
    socket.on('data', (bytes: Buffer) => incoming.#receive(bytes));
    incoming.#watch(socket);
    return incoming;
  }

  /** Bytes that have come and were not taken. */
  get nrWaiting(): number {
    return this.#kept.length;
  }

  /** @throws the socket's error; {@link NbdProtocolError} when the server hangs up before so many bytes */
  async take(nrBytes: number): Promise<Buffer> {
    while (this.#kept.length < nrBytes) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const taken = this.#kept.subarray(0, nrBytes);
    this.#kept = this.#kept.subarray(nrBytes);
    return taken;
  }

  /** From now on `consumer` gets everything, first what was kept. The bytes are its own until it returns. */
  deliverTo(consumer: (bytes: Buffer) => void): void {
    this.#consumer = consumer;
    const kept = this.#kept;
    this.#kept = Buffer.alloc(0);
    if (kept.length > 0) consumer(kept);
  }

  #receive(bytes: Buffer): void {
    if (this.#consumer !== undefined) {
      this.#consumer(bytes);
      return;
    }
    if (this.#kept.length + bytes.length > MAX_KEPT) {
      this.#end(new NbdProtocolError('the server broke the NBD protocol: it talks on without being asked'));
      return;
    }
    this.#kept = Buffer.concat([this.#kept, bytes]);
    this.#wakeUp();
  }

  #watch(socket: Socket): void {
    const hungUp = (): void =>
      this.#end(new NbdProtocolError('the server closed the connection in the middle of the handshake'));
    socket
      .on('end', hungUp)
      .on('close', hungUp)
      .on('error', (error) => this.#end(error));
  }

  #end(failure: Error): void {
    this.#failure ??= failure;
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
