/**
 * TLS on a socket that has already been used: what follows the answer to STARTTLS.
 *
 * Node checks a client's certificate only in a `tls.Server`. So each such connection gets one, which never listens and is handed
 * this one socket (its documented `connection` event); that costs about as much as the handshake itself, a millisecond or two.
 */
import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { createSecureContext, createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { StoreError } from '@pdata/device';
import { NbdListenError } from './listening.js';

export interface NbdServerTls extends SecureContextOptions {
  /** `require` serves nothing without TLS; `allow` leaves it to the client, and so to whoever sits between it and us. */
  readonly mode: 'require' | 'allow';
  /**
   * Only clients get through whose certificate `ca` vouches for: the one way to tell clients apart that NBD has. With mode `require`, or
   * they just leave TLS out. Wants a `ca`, as PEM. Default false.
   */
  readonly requestCert?: boolean;
}

/**
 * Tells at once what would otherwise be noticed with the first client, or never: Node takes a `ca` without any certificate, and then lets
 * in nobody; or, if it is empty, everybody with a certificate of any authority that the system trusts.
 * @throws {@link NbdListenError} for a `ca` that cannot vouch for anybody, {@link NbdCertificateError}
 */
export function checkServerTls(tls: NbdServerTls): void {
  try {
    createSecureContext(tls);
  } catch (cause) {
    throw new NbdCertificateError(`the certificate or the key cannot be used: ${certificateProblem(cause)}`, { cause });
  }
  const isThere = (content: unknown): boolean => [content ?? []].flat().some((part) => String(part).trim() !== '');
  if (tls.pfx === undefined && !(isThere(tls.cert) && isThere(tls.key)))
    throw new NbdCertificateError('the certificate or the key cannot be used: one of them is empty');
  if (tls.requestCert !== true) return;
  const texts = [tls.ca ?? []].flat().map((text) => text.toString());
  const certificates = texts.flatMap((text) => text.match(PEM_CERTIFICATE) ?? []);
  try {
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch (cause) {
    throw new NbdListenError('a certificate that shall vouch for clients is damaged: give it again, as PEM', { cause });
  }
  if (certificates.length === 0) {
    throw new NbdListenError('what shall vouch for clients holds no certificate: give at least one, as PEM');
  }
}

const PEM_CERTIFICATE =
  /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END (?:X509 |TRUSTED )?CERTIFICATE-----/gs;

/** The certificate of a server, or its key, is none, or they do not belong together. */
export class NbdCertificateError extends StoreError {
  override readonly name = 'NbdCertificateError';
  readonly code = 'ERR_NBD_CERTIFICATE';
}

/** What is wrong with a certificate or a key, in words, from what `tls.createSecureContext` has thrown. */
export function certificateProblem(error: unknown): string {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  // OpenSSL's: "error:0480006C:PEM routines::no start line".
  return PROBLEMS[code ?? ''] ?? (message ?? String(error)).replace(/^error:[0-9A-F]+:/, '').replace('::', ': ');
}

const PROBLEMS: Readonly<Record<string, string>> = {
  ERR_OSSL_PEM_NO_START_LINE: 'one of them is no PEM, or the other thing',
  ERR_OSSL_PEM_BAD_END_LINE: 'one of them is cut off',
  ERR_OSSL_UNSUPPORTED: 'the key is no PEM, or damaged',
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key does not belong to the certificate',
  ERR_OSSL_BAD_DECRYPT: 'the key has a passphrase',
};

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
