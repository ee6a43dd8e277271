/**
 * A socket during the handshake: exact numbers of bytes, taken one after the other, until a deadline.
 *
 * Node's own buffer keeps what has come too early, and has a bound; so whoever takes the socket over (TLS, the
 * transmission phase) finds everything that was not taken.
 */
import type { Socket } from 'node:net';
import { NbdProtocolError } from './errors.js';

export class HandshakeStream {
  readonly #socket: Socket;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket
      .on('readable', this.#onChange)
      .on('end', this.#onChange)
      .on('close', this.#onChange)
      .on('error', this.#onError);
  }

  /** Bytes that have come and were not taken. */
  get nrWaiting(): number {
    return this.#socket.readableLength;
  }

  /** @throws the socket's error; {@link NbdProtocolError} when the server hangs up before so many bytes */
  async take(nrBytes: number): Promise<Buffer> {
    if (nrBytes === 0) return Buffer.alloc(0);
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      // A stream that has ended returns what is left, and less than asked for is of no use.
      const bytes = this.#socket.read(nrBytes) as Buffer | null;
      if (bytes !== null && bytes.length === nrBytes) return bytes;
      if (this.#socket.destroyed || this.#socket.readableEnded)
        throw new NbdProtocolError('the server closed the connection in the middle of the handshake');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Hands the socket, with all that was not taken, to somebody else. */
  release(): Socket {
    this.#socket
      .off('readable', this.#onChange)
      .off('end', this.#onChange)
      .off('close', this.#onChange)
      .off('error', this.#onError);
    return this.#socket;
  }

  readonly #onChange = (): void => {
    this.#wake?.();
    this.#wake = undefined;
  };

  readonly #onError = (error: Error): void => {
    this.#failure ??= error;
    this.#onChange();
  };
}
