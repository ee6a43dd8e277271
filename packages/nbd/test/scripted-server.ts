/**
 * A server that says what a test wants, right or wrong: the handshake is answered properly unless the test takes it over, and
 * then each request is handed to the test, which sends what bytes it likes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BASE_ALLOCATION,
  CHUNK,
  HANDSHAKE_FLAG,
  OPTION,
  OPTION_REPLY,
  REPLY_FLAG_DONE,
  REQUEST_SIZE,
  TRANSMISSION_FLAG,
} from '../src/protocol/constants.js';
import { u64At } from '../src/protocol/integers.js';
import {
  decodeMetaContextRequest,
  encodeInfo,
  encodeMetaContextReply,
  encodeOptionReply,
} from '../src/protocol/options.js';
import { encodeChunkHeader, encodeSimpleReply } from '../src/protocol/replies.js';
import type { NbdTarget } from '../src/uri.js';

const { HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES } = TRANSMISSION_FLAG;
export const USUAL_FLAGS = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES;

export interface Offer {
  readonly size: number;
  readonly flags: number;
  readonly structured: boolean;
  /** Ids by name; what a client asks for and is not here is not agreed on. */
  readonly contexts: Readonly<Record<string, number>>;
  readonly blockSize?: { readonly minimum: number; readonly preferred: number; readonly maximum: number };
}

export const USUAL_OFFER: Offer = {
  size: 2 ** 20,
  flags: USUAL_FLAGS,
  structured: true,
  contexts: { [BASE_ALLOCATION]: 7 },
};

export interface ScriptedRequest {
  readonly flags: number;
  readonly command: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly length: number;
}

export class ScriptedConnection {
  readonly socket: Socket;
  #bytes = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #isOver = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      this.#wake?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isOver = true;
      this.#wake?.();
    });
  }

  /** undefined when the client has gone. */
  async take(nrBytes: number): Promise<Buffer | undefined> {
    while (this.#bytes.length < nrBytes) {
      if (this.#isOver) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const taken = this.#bytes.subarray(0, nrBytes);
    this.#bytes = this.#bytes.subarray(nrBytes);
    return taken;
  }

  send(...parts: Uint8Array[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(parts));
  }

  /** Greets, and takes the client's flags. */
  async greet(flags: number = HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES): Promise<void> {
    this.send(greeting(flags));
    await this.take(4);
  }

  async nextOption(): Promise<{ option: number; data: Buffer } | undefined> {
    const header = await this.take(16);
    if (header === undefined) return undefined;
    const data = await this.take(header.readUInt32BE(12));
    return data === undefined ? undefined : { option: header.readUInt32BE(8), data };
  }

  /** Answers options until the client is in transmission, or asks for `until`. @returns false when it has gone */
  async accept(offer: Offer, until?: number): Promise<boolean> {
    for (;;) {
      const asked = await this.nextOption();
      if (asked === undefined) return false;
      const { option, data } = asked;
      if (option === until) return true;
      const ack = encodeOptionReply(option, OPTION_REPLY.ACK);
      if (option === OPTION.STRUCTURED_REPLY && offer.structured) this.send(ack);
      else if (option === OPTION.SET_META_CONTEXT && offer.structured) {
        const agreed = decodeMetaContextRequest(data).queries.filter((query) => offer.contexts[query] !== undefined);
        const replies = agreed.map((name) => encodeMetaContextReply({ id: offer.contexts[name]!, name }));
        this.send(...replies.map((reply) => encodeOptionReply(option, OPTION_REPLY.META_CONTEXT, reply)), ack);
      } else if (option === OPTION.GO) {
        const infos = [encodeInfo({ type: 'export', size: offer.size, flags: offer.flags })];
        if (offer.blockSize !== undefined) infos.push(encodeInfo({ type: 'blockSize', ...offer.blockSize }));
        this.send(...infos.map((info) => encodeOptionReply(option, OPTION_REPLY.INFO, info)), ack);
        return true;
      } else this.send(encodeOptionReply(option, OPTION_REPLY.ERR_UNSUP));
    }
  }

  /** The next request, without the payload of a WRITE, which is dropped. */
  async nextRequest(): Promise<ScriptedRequest | undefined> {
    const header = await this.take(REQUEST_SIZE);
    if (header === undefined) return undefined;
    const request = {
      flags: header.readUInt16BE(4),
      command: header.readUInt16BE(6),
      cookieHigh: header.readUInt32BE(8),
      cookieLow: header.readUInt32BE(12),
      offset: u64At(header, 16),
      length: header.readUInt32BE(24),
    };
    if (request.command === 1 && (await this.take(request.length)) === undefined) return undefined;
    return request;
  }
}

export function greeting(flags: number): Buffer {
  const bytes = Buffer.from('NBDMAGICIHAVEOPT\0\0', 'latin1');
  bytes.writeUInt16BE(flags, 16);
  return bytes;
}

type Named = Pick<ScriptedRequest, 'cookieHigh' | 'cookieLow'>;
const answered = ({ cookieHigh, cookieLow }: Named): Parameters<typeof encodeSimpleReply>[3] => ({
  cookieHigh,
  cookieLow,
  offsetHigh: 0,
  offsetLow: 0,
});

export function simpleReply(request: Named, error = 0, data: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.alloc(16);
  encodeSimpleReply(header, 0, error, answered(request));
  return Buffer.concat([header, data]);
}

/** Any chunk, right or wrong. */
export function chunk(
  request: Named,
  type: number,
  payload: Uint8Array,
  { flags = REPLY_FLAG_DONE, payloadLength = payload.length } = {},
): Buffer {
  const header = Buffer.alloc(20);
  encodeChunkHeader(header, 0, { flags, type, payloadLength }, answered(request), false);
  return Buffer.concat([header, payload]);
}

export const dataChunk = (request: Named, offset: number, data: Uint8Array, flags: number = REPLY_FLAG_DONE): Buffer =>
  chunk(request, CHUNK.OFFSET_DATA, Buffer.concat([u64(offset), data]), { flags });

export const holeChunk = (request: Named, offset: number, length: number, flags: number = REPLY_FLAG_DONE): Buffer =>
  chunk(request, CHUNK.OFFSET_HOLE, Buffer.concat([u64(offset), u32(length)]), { flags });

export const statusChunk = (
  request: Named,
  contextId: number,
  descriptors: readonly (readonly [length: number, flags: number])[],
  flags: number = REPLY_FLAG_DONE,
): Buffer =>
  chunk(request, CHUNK.BLOCK_STATUS, Buffer.concat([u32(contextId), ...descriptors.flat().map(u32)]), { flags });

export const doneChunk = (request: Named): Buffer => chunk(request, CHUNK.NONE, new Uint8Array(0));

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)));
  return bytes;
}

export interface ScriptedServer extends AsyncDisposable {
  readonly target: NbdTarget;
}

/** @param script runs for each connection; afterwards the connection stays open until the client goes or the server ends */
export async function scriptedServer(
  script: (connection: ScriptedConnection, nr: number) => Promise<void>,
): Promise<ScriptedServer> {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-nbd-'));
  const socketPath = join(directory, 'nbd.sock');
  const sockets = new Set<Socket>();
  const failures: unknown[] = [];
  let nrConnections = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    script(new ScriptedConnection(socket), nrConnections++).catch((error: unknown) => failures.push(error));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    target: { socketPath },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true, force: true });
      if (failures.length > 0) throw failures[0];
    },
  };
}

/** A server that offers an export properly, and has each request answered by `answer`. */
export const servingServer = (
  answer: (connection: ScriptedConnection, request: ScriptedRequest) => void | Promise<void>,
  offer: Partial<Offer> = {},
): Promise<ScriptedServer> =>
  scriptedServer(async (connection) => {
    await connection.greet();
    if (!(await connection.accept({ ...USUAL_OFFER, ...offer }))) return;
    for (;;) {
      const request = await connection.nextRequest();
      if (request === undefined) return;
      if (request.command === 2) {
        connection.socket.end();
        return;
      }
      await answer(connection, request);
    }
  });
