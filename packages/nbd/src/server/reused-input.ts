/**
 * Reading a client's bytes into one buffer, again and again.
 *
 * Node hands every piece that a socket receives to its `data` listeners in new memory of 64 KiB. For a client that writes that is
 * garbage at the speed of the disk: of the processor time of a server that took 64 KiB WRITEs, collecting it was more than half,
 * most of it in the collector's own threads (Node 20.20, 2 cores, 2026-11). `onread` of `net.Socket` reads into memory of ours; but
 * only for sockets that connect, for a `net.Server` makes its sockets itself. So the accepted socket's handle is moved to a
 * new one, once, before anything was read. 22 µs for 64 KiB received became 11.
 *
 * The handle is not part of Node's public interface. Where it is not there, or the move is not possible, the accepted socket
 * is used as it is: slower, otherwise the same.
 */
import { Socket } from 'node:net';

/** Bytes that one call of the system brings at most; a WRITE of 64 KiB, the usual largest, comes in one piece or two. */
const INPUT_SIZE = 128 * 1024;

/** What is needed of a socket's insides. */
interface SocketInternals {
  _handle?: object | null;
}

/**
 * A socket for the connection of `accepted`, which must not have been read from, and is not to be used any more.
 *
 * @param receive called with what was received. The bytes are there until it returns: what is needed longer is copied
 */
export function readingIntoOneBuffer(accepted: Socket, receive: (chunk: Buffer) => void): Socket {
  const internals = accepted as unknown as SocketInternals;
  const handle = internals._handle;
  if (handle === undefined || handle === null) {
    accepted.on('data', receive);
    return accepted;
  }
  internals._handle = null;
  const socket = new Socket({
    handle,
    allowHalfOpen: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(INPUT_SIZE),
      callback: (nrBytes: number, buffer: Uint8Array) => {
        receive((buffer as Buffer).subarray(0, nrBytes));
        return true;
      },
    },
  } as ConstructorParameters<typeof Socket>[0]);
  // The server counts the sockets that it made: it has closed when all of them have.
  socket.once('close', () => accepted.destroy());
  socket.resume();
  return socket;
}
