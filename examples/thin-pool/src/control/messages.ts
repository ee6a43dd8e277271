/**
 * The language between `thin-pool serve` and the other commands, over a Unix socket in the pool's directory.
 *
 *   a message   4   length of the body, little-endian
 *               …   the body: msgpack, an array
 *
 *   [0, "hello", { protocol, processId }]     the server's first message
 *   [id, method, parameters]                  a request; `id` is above 0 and chosen by the client
 *   [id, true, result]                        its answer
 *   [id, false, { code, message }]            or its error
 *   [0, "event", PoolEvent]                   after the request `events`
 *
 * Requests are worked on at once and answered in any order, as a device's are. Methods are those of `PoolHost` and, on an open
 * volume's handle, those of `DataDevice`. Data travel in pieces of at most 1 MiB.
 *
 * Who may open the socket (mode 0600, in a directory of mode 0700) is the same user, who could open the pool's files as well; still,
 * lengths are bounded before anything is kept.
 */
import type { Socket } from 'node:net';
import { Packr } from 'msgpackr';
import { PoolError } from '../words/pool-error.js';

export const PROTOCOL = 1;
export const SOCKET_NAME = 'control.sock';
/** Data bytes of one read or write. */
export const MAX_PIECE = 1024 * 1024;
export const MAX_REQUEST = MAX_PIECE + 64 * 1024;
/** Answers may be larger: a map of very many volumes. */
export const MAX_ANSWER = 256 * 1024 * 1024;

export type Message = readonly [id: number, what: unknown, content: unknown];

const packr = new Packr({ useRecords: false, mapsAsObjects: true });

export function encodeMessage(message: Message): Buffer {
  const body = packr.pack(message);
  const bytes = Buffer.allocUnsafe(4 + body.length);
  bytes.writeUInt32LE(body.length, 0);
  body.copy(bytes, 4);
  return bytes;
}

/** @throws {@link PoolError} `ERR_PROTOCOL` for what is no message, or one longer than `maxLength` */
export async function* readMessages(socket: Socket, maxLength: number): AsyncGenerator<Message, void, undefined> {
  let pieces: Buffer[] = [];
  let nrBytes = 0;
  let wanted = 4;
  for await (const piece of socket as AsyncIterable<Buffer>) {
    pieces.push(piece);
    nrBytes += piece.length;
    while (nrBytes >= wanted) {
      const all = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
      const length = all.readUInt32LE(0);
      if (length > maxLength) throw new PoolError('ERR_PROTOCOL', `a message of ${length} bytes is too long`);
      wanted = 4 + length;
      if (all.length >= wanted) {
        yield decode(all.subarray(4, wanted));
        pieces = [all.subarray(wanted)];
        nrBytes -= wanted;
        wanted = 4;
      } else pieces = [all];
    }
  }
}

function decode(body: Buffer): Message {
  let content: unknown;
  try {
    content = packr.unpack(body);
  } catch {
    content = undefined;
  }
  if (!Array.isArray(content) || content.length !== 3 || !Number.isSafeInteger(content[0])) {
    throw new PoolError('ERR_PROTOCOL', 'a message cannot be decoded');
  }
  return content as unknown as Message;
}
