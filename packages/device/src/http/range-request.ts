/**
 * One attempt at bytes of an image: a GET with a range, whose response is believed only when all of it fits.
 *
 *   206      for exactly the bytes asked for, of an image as long as it was, not encoded: its body is read into place
 *   200      the server knows no ranges: it would send all of the image for every sector of it
 *   412      the image is not the one that was opened
 *   416      the image does not have these bytes (any more)
 *   429, 5xx may be over in a while; Retry-After says when
 *   others   are final
 *
 * A body that ends early, a connection that breaks, and a server that says nothing for too long may be had again. A body that is
 * longer than it should be is a server that cannot be believed.
 */
import type { Timers } from '../engine/timers.js';
import { NETWORK_WORDS } from '../network-words.js';
import { AttemptError, ImageChangedError } from './errors.js';
import type { HttpBodyReader, HttpFetch, HttpResponse } from './http-fetch.js';
import { conditionsFor, differenceFrom, type ImageIdentity, identityOf } from './image-identity.js';

export interface HttpOrigin {
  readonly url: string;
  /** For messages: without what may be secret. */
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: HttpFetch;
  readonly timers: Timers;
  /** Milliseconds without a byte from the server. */
  readonly timeout: number;
  /** Ends everything at once. */
  readonly signal: AbortSignal | undefined;
}

/** Asks for the first byte: whether ranges can be had, how long the image is, and which one it is. */
export function lookAtImage(origin: HttpOrigin): Promise<ImageIdentity> {
  return attempt(origin, { Range: 'bytes=0-0' }, async (response) => {
    if (response.status === 416 && totalOf(response) === 0) return identityOf(response.headers, 0);
    if (response.status === 200) {
      throw final(
        'the server does not support range requests (it answered 200 to one, not 206): only whole downloads can be had from it',
      );
    }
    refuseStatus(response);
    const { length } = requireRange(response, 0, 1);
    return identityOf(response.headers, length);
  });
}

/**
 * Fills `into` with the image's bytes from `offset` on. `arrived` is told of each piece as it does, so that another attempt can
 * go on from there.
 * @throws {@link ImageChangedError} before a byte of another image gets into `into`
 */
export function readRange(
  origin: HttpOrigin,
  identity: ImageIdentity,
  offset: number,
  into: Uint8Array,
  arrived: (nrBytes: number) => void,
): Promise<void> {
  const range = `bytes=${offset}-${offset + into.length - 1}`;
  return attempt(origin, { Range: range, ...conditionsFor(identity) }, async (response, alive) => {
    const changed = (how: string): never => {
      throw new ImageChangedError(
        `${origin.name} has changed since it was opened: ${how}; open it anew, and begin anew what was made of it`,
      );
    };
    if (response.status === 412) changed('the server has no image any more that is the one opened (412)');
    if (response.status === 416) changed(`it has no ${into.length} bytes at ${offset} any more (416)`);
    if (response.status === 200) {
      const difference = differenceFrom(identity, response.headers, contentLengthOf(response) ?? identity.length);
      if (difference !== undefined) changed(difference);
      throw final('the server answered with all of the image (200) to a request for a range of it');
    }
    refuseStatus(response);
    const { length } = requireRange(response, offset, into.length);
    const difference = differenceFrom(identity, response.headers, length);
    if (difference !== undefined) changed(difference);
    await readBody(response, into, arrived, alive);
  });
}

/** Does one request, and ends it in any case: a response that is not read to its end would hold its connection. */
async function attempt<T>(
  origin: HttpOrigin,
  headers: Record<string, string>,
  use: (response: HttpResponse, alive: () => void) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const { timers, timeout, signal, url } = origin;
  const silent = new AttemptError(`the server has said nothing for ${timeout / 1000} s`, { canRetry: true });
  let timer = timers.set(() => abort.abort(silent), timeout);
  const alive = (): void => {
    timers.clear(timer);
    timer = timers.set(() => abort.abort(silent), timeout);
  };
  const stop = (): void => abort.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  try {
    const response = await origin.fetch(url, {
      headers: { ...origin.headers, ...headers, 'Accept-Encoding': 'identity' },
      signal: abort.signal,
      redirect: 'follow',
      cache: 'no-store',
    });
    alive();
    refuseDowngrade(url, response.url);
    return await use(response, alive);
  } catch (error) {
    if (error instanceof AttemptError || error instanceof ImageChangedError) throw error;
    if (signal?.aborted) throw new AttemptError('it was called off', { canRetry: false, cause: signal.reason });
    if (abort.signal.aborted) throw silent;
    throw networkError(error);
  } finally {
    timers.clear(timer);
    signal?.removeEventListener('abort', stop);
    abort.abort(); // ends what was not read; does nothing to what was
  }
}

/** Fills `into`, all of it and nothing more. */
async function readBody(
  response: HttpResponse,
  into: Uint8Array,
  arrived: (nrBytes: number) => void,
  alive: () => void,
): Promise<void> {
  const announced = contentLengthOf(response);
  if (announced !== undefined && announced !== into.length)
    throw final(`the server announced a body of ${announced} bytes for a range of ${into.length}`);
  const reader: HttpBodyReader | undefined = response.body?.getReader();
  let nr = 0;
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) break;
    alive();
    if (value === undefined) continue;
    if (nr + value.length > into.length)
      throw final(`the server sent more than the ${into.length} bytes it was asked for`);
    into.set(value, nr);
    nr += value.length;
    arrived(value.length);
  }
  if (nr < into.length) {
    throw new AttemptError(`the body ended after ${nr} of ${into.length} bytes`, { canRetry: true });
  }
}

function refuseStatus(response: HttpResponse): void {
  const { status, statusText } = response;
  if (status !== 206) {
    const canRetry = status === 429 || status >= 500;
    throw new AttemptError(`the server answered ${`${status} ${statusText}`.trim()}`, {
      canRetry,
      waitMs: canRetry ? retryAfter(response) : 0,
    });
  }
  const encoding = response.headers.get('content-encoding');
  if (encoding !== null && encoding.toLowerCase() !== 'identity')
    throw final(`the server sends the image encoded (Content-Encoding: ${encoding}), so that its ranges mean nothing`);
}

/** The whole image's length, from a Content-Range that is for exactly these bytes. */
function requireRange(response: HttpResponse, offset: number, length: number): { length: number } {
  const header = response.headers.get('content-range');
  if (header === null) {
    throw final(
      'the server does not say which bytes it sends (Content-Range is missing, or, in a browser, not among its ' +
        'Access-Control-Expose-Headers)',
    );
  }
  const [, begin, end, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(header) ?? [];
  if (total === '*') throw final(`the server does not say how long the image is (Content-Range: ${header})`);
  if (Number(begin) !== offset || Number(end) !== offset + length - 1)
    throw final(`the server sent other bytes than ${offset} to ${offset + length - 1} (Content-Range: ${header})`);
  if (!Number.isSafeInteger(Number(total))) throw final(`no image is as long as that (Content-Range: ${header})`);
  return { length: Number(total) };
}

/** The total that goes with 416, where no range is told. */
function totalOf(response: HttpResponse): number | undefined {
  const [, total] = /^bytes \*\/(\d+)$/i.exec(response.headers.get('content-range') ?? '') ?? [];
  return total === undefined ? undefined : Number(total);
}

function contentLengthOf(response: HttpResponse): number | undefined {
  const header = response.headers.get('content-length');
  return header === null || !/^\d+$/.test(header) ? undefined : Number(header);
}

/** Milliseconds; the header has seconds, or a date. */
function retryAfter(response: HttpResponse): number {
  const header = response.headers.get('retry-after');
  if (header === null) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

/** Who asked for https is not to be sent elsewhere in the clear. */
function refuseDowngrade(asked: string, answered: string): void {
  if (asked.startsWith('https:') && answered.startsWith('http:'))
    throw final('the server redirects from https to http, where anybody on the way could change the image');
}

const final = (message: string): AttemptError => new AttemptError(message, { canRetry: false });

/** Certificates do not become good by trying again. */
const OF_CERTIFICATES = /CERT|SELF_SIGNED|VERIFY|ERR_TLS/;

function networkError(error: unknown): AttemptError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code, message } = cause as { code?: unknown; message?: unknown };
  // Ports of other services, which no browser connects to, and so not `fetch`.
  if (message === 'bad port') return final('no HTTP client uses this port, which is reserved for another service');
  const words = typeof code === 'string' ? NETWORK_WORDS[code] : undefined;
  const why = words ?? (typeof message === 'string' && message !== '' ? message : String(code ?? error));
  const isOfCertificates = typeof code === 'string' && OF_CERTIFICATES.test(code);
  return new AttemptError(why, { canRetry: !isOfCertificates, cause: error });
}
