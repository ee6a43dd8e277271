/**
 * TLS on a socket that has already been used: what follows the answer to STARTTLS.
 *
 * Node checks a client's certificate only in a `tls.Server`. So each such connection gets one, which never listens and is handed
 * this one socket (its documented `connection` event); that costs about as much as the handshake itself, a millisecond or two.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';

export interface NbdServerTls extends SecureContextOptions {
  /** `require` serves nothing without TLS; `allow` leaves it to the client, and so to whoever sits between it and us. */
  readonly mode: 'require' | 'allow';
  /**
   * Only clients get through whose certificate `ca` vouches for: the one way to tell clients apart that NBD has. With mode `require`, or
   * they just leave TLS out. Default false.
   */
  readonly requestCert?: boolean;
}

/** The encrypted socket, once both sides agree. @throws what went wrong, as a rejection; the socket is of no use then */
export function startTls(raw: Socket, { mode: _, requestCert = false, ...context }: NbdServerTls): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const server = createServer({ minVersion: 'TLSv1.2', ...context, requestCert, rejectUnauthorized: requestCert });
    server.once('secureConnection', resolve);
    server.once('tlsClientError', reject);
    // A certificate that is not trusted shows in no other way.
    const why = requestCert ? 'the client left, or has no certificate that is trusted' : 'the client left';
    raw.once('close', () => reject(new Error(why)));
    server.emit('connection', raw);
  });
}
