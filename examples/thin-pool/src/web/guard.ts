/**
 * Who may talk to the page. It listens on loopback, but loopback is no border: every program of the machine and every web site
 * open in a browser can reach it. So each request passes these doors, in this order:
 *
 *   1. Host names this very server, so that a foreign name that was made to resolve to 127.0.0.1 (DNS rebinding) is nobody's.
 *   2. No other site sends it: `Origin`, when there is one, is ours, and so is `Sec-Fetch-Site`. One exception: the page itself
 *      may be opened by a link from anywhere, for it holds no secret and cannot be framed.
 *   3. It knows the token, where there is something to see or to change. The token travels in the `Authorization` header only.
 *      Not in a cookie: cookies are sent along by the browser unasked, and to *every* port of 127.0.0.1. Not in a path or query
 *      either: those end in logs, histories and `Referer`. The URL that the program prints carries it behind `#`, which a
 *      browser keeps to itself.
 *
 * What is asked for (methods, paths, bodies) is checked elsewhere: routes.ts, body.ts.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Refusal } from './refusal.js';

/** Characters of the shortest token accepted: 22 of base64url carry 132 bits. */
const MIN_TOKEN_LENGTH = 22;

/** 256 random bits. */
export const newToken = (): string => randomBytes(32).toString('base64url');

export class Guard {
  readonly #tokenDigest: Buffer;
  readonly #hosts: ReadonlySet<string>;

  /**
   * @param token at least 22 characters of A–Z a–z 0–9 - _
   * @param port where the server listens on 127.0.0.1
   * @throws RangeError for a token that could be guessed or that would need escapes in a URL
   */
  constructor(token: string, port: number) {
    checkToken(token);
    this.#tokenDigest = digest(token);
    const names = ['127.0.0.1', 'localhost'];
    // A browser leaves out the port that is http's own.
    this.#hosts = new Set(names.flatMap((name) => (port === 80 ? [name, `${name}:80`] : [`${name}:${port}`])));
  }

  /** @throws {@link Refusal} (403) for a request that was meant for another server or that another site makes a browser send */
  checkSender(request: IncomingMessage, to: { isPage: boolean }): void {
    const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers;
    const host = request.headers.host?.toLowerCase() ?? '';
    const nrHosts = request.rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === 'host').length;
    if (nrHosts !== 1 || !this.#hosts.has(host)) {
      throw new Refusal(403, 'ERR_WRONG_HOST', 'this server does not answer to that name; use the address it printed');
    }
    const isOpened = to.isPage && mode === 'navigate' && origin === undefined;
    if (isOpened) return;
    if (origin !== undefined && origin.toLowerCase() !== `http://${host}`) {
      throw new Refusal(403, 'ERR_WRONG_ORIGIN', 'another web site sent this request');
    }
    if (site !== undefined && site !== 'same-origin' && !(to.isPage && site === 'none')) {
      throw new Refusal(403, 'ERR_WRONG_ORIGIN', 'another web site sent this request');
    }
  }

  /** For what changes something: every browser names the origin of such a request, so one without it is refused. */
  checkOriginIsNamed(request: IncomingMessage): void {
    if (request.headers.origin !== undefined) return;
    throw new Refusal(403, 'ERR_WRONG_ORIGIN', 'a request that changes something must say its Origin');
  }

  /** @throws {@link Refusal} (401) */
  checkToken(request: IncomingMessage): void {
    const [, given] = /^Bearer ([\w-]{1,512})$/.exec(request.headers.authorization ?? '') ?? [];
    // Digests, so that the comparison takes the same time for every length as well.
    if (given !== undefined && timingSafeEqual(digest(given), this.#tokenDigest)) return;
    throw new Refusal(
      401,
      'ERR_WRONG_TOKEN',
      given === undefined
        ? 'the token is missing; open the address that the program printed, with what stands behind its #'
        : 'the token is not the one of this run; open the address that the program printed',
    );
  }
}

function checkToken(token: string): void {
  if (/^[\w-]+$/.test(token) && token.length >= MIN_TOKEN_LENGTH && token.length <= 512) return;
  throw new RangeError(`the page's token must be ${MIN_TOKEN_LENGTH} to 512 characters of A–Z a–z 0–9 - _`);
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
