/**
 * An image behind a URL as a data device: read-only, by requests for ranges of it, over HTTP or HTTPS. Made of `fetch`, so it runs
 * in browsers too.
 *
 * A read is cut into requests of a few MiB at most, some of which are on their way at the same time; the connections they go over
 * are kept by `fetch`. What fails for reasons that may pass is tried again, from where it got to, after a while that grows.
 *
 * Invariants:
 *   1. All bytes that were ever read are of one image: what identifies it is compared in every response before its body is used
 *      (image-identity.ts). Once another image has answered, nothing is read any more.
 *   2. A read resolves when each byte of it has arrived, counted, never by the end of a body alone.
 *
 * Not here: what a response must be like (range-request.ts). What comes from afar is not kept: a cache is a device of its own, and
 * a clone is one.
 */
import type { AllocationExtent, DataDevice, DataDeviceHints } from '../data-device.js';
import { allEnded } from '../engine/all-ended.js';
import type { Timers } from '../engine/timers.js';
import { ClosedError, DeviceError, DeviceOpenError, ReadOnlyError } from '../errors.js';
import { bytesInWords, requireSectorRange, wholeSectors } from '../sector-range.js';
import { AttemptError, ImageChangedError } from './errors.js';
import type { HttpFetch } from './http-fetch.js';
import type { ImageGuard, ImageIdentity } from './image-identity.js';
import { type HttpOrigin, lookAtImage, readRange } from './range-request.js';
import { Slots } from './slots.js';

/** Bytes of the longest request. */
const LARGEST_REQUEST = 4 * 2 ** 20;
/** Milliseconds before the second attempt; each further one waits twice as long, up to… */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;
/** …unless the server says how long, up to this. */
const LONGEST_ASKED_WAIT = 60_000;
/** An address that was never right does not get better: opening tries again less often. */
const RETRIES_OF_OPENING = 2;

export interface OpenHttpDataDeviceOptions {
  /** For messages; the URL without password and query when left out. */
  readonly name?: string;
  /** Sent with every request, e.g. `Authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Requests on their way at the same time; the others wait in order. Default 16. */
  readonly parallel?: number;
  /** Further attempts at a request that failed for a reason that may pass. Default 6, which takes some 15 seconds. */
  readonly retries?: number;
  /** Milliseconds without a byte from the server, after which a request counts as failed. Default 30 000. */
  readonly timeout?: number;
  /** Ends everything at once, reads on their way included. */
  readonly signal?: AbortSignal;
  /** Default: the platform's `fetch`. */
  readonly fetch?: HttpFetch;
  /** For tests: who measures the time. Default: `setTimeout` and `clearTimeout`. */
  readonly timers?: Timers;
}

/**
 * Opens the image at `url` (http: or https:), with one request, for its first byte. Redirects are followed anew by each request.
 * Bytes behind the last whole sector of 512 are not used.
 *
 * Rejects with a {@link DeviceOpenError}: no server, no such image, none of ranges, an encoded image, one of less than a sector.
 * Reads reject with an {@link ImageChangedError} when the image is not the one that was opened.
 */
export async function openHttpDataDevice(
  url: string | URL,
  options: OpenHttpDataDeviceOptions = {},
): Promise<HttpDataDevice> {
  const { parallel = 16, retries = 6, timeout = 30_000, fetch: fetcher, timers = wakefulTimers } = options;
  for (const [what, value, least] of [
    ['parallel', parallel, 1],
    ['retries', retries, 0],
    ['timeout', timeout, 1],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < least)
      throw new RangeError(`${what} is a whole number, at least ${least}, not ${value}`);
  }
  const { address, shown, authorization } = partsOf(url);
  const origin: HttpOrigin = {
    url: address,
    name: options.name ?? shown,
    headers: { ...authorization, ...options.headers },
    fetch: fetcher ?? ((target, init) => fetch(target, init)),
    timers,
    timeout,
    signal: options.signal,
  };
  const attempts = new Attempts(origin);
  let identity: ImageIdentity;
  try {
    identity = await attempts.untilOne(Math.min(retries, RETRIES_OF_OPENING), () => lookAtImage(origin));
  } catch (cause) {
    throw new DeviceOpenError(`cannot open ${origin.name}: ${(cause as Error).message}`, { cause });
  }
  if (wholeSectors(identity.length) === 0) {
    throw new DeviceOpenError(
      `cannot open ${origin.name}: it holds ${identity.length} bytes, less than one sector of 512 bytes`,
    );
  }
  return new HttpDataDevice(origin, identity, attempts, { parallel, retries });
}

/** Made by {@link openHttpDataDevice}. */
export class HttpDataDevice implements DataDevice {
  readonly name: string;
  readonly size: number;
  /** Bytes of the image; those behind its last whole sector are not used. */
  readonly imageSize: number;
  /** What the image is known by, in every response. With `length` a change that keeps the length is not seen. */
  readonly guard: ImageGuard;
  readonly readOnly = true;
  readonly hints: DataDeviceHints = { preferredSize: 65_536, discardGranularity: 0, fastZeroes: false };
  readonly #origin: HttpOrigin;
  readonly #identity: ImageIdentity;
  readonly #attempts: Attempts;
  readonly #slots: Slots;
  readonly #retries: number;
  readonly #inFlight = new Set<Promise<void>>();
  #changed: ImageChangedError | undefined;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    origin: HttpOrigin,
    identity: ImageIdentity,
    attempts: Attempts,
    { parallel, retries }: { readonly parallel: number; readonly retries: number },
  ) {
    this.name = origin.name;
    this.imageSize = identity.length;
    this.size = wholeSectors(identity.length);
    this.guard = identity.guard;
    this.#origin = origin;
    this.#identity = identity;
    this.#attempts = attempts;
    this.#slots = new Slots(parallel);
    this.#retries = retries;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#requireOpen();
    requireSectorRange(this, 'read', offset, into.byteLength);
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < into.byteLength; at += LARGEST_REQUEST) {
      const piece = into.subarray(at, Math.min(into.byteLength, at + LARGEST_REQUEST));
      pieces.push(this.#slots.run(() => this.#readPiece(offset + at, piece)));
    }
    const request = allEnded(pieces);
    this.#inFlight.add(request);
    try {
      await request;
    } finally {
      this.#inFlight.delete(request);
    }
  }

  write(): Promise<void> {
    return this.#refuseChange('write');
  }

  writeZeroes(): Promise<void> {
    return this.#refuseChange('writeZeroes');
  }

  discard(): Promise<void> {
    return this.#refuseChange('discard');
  }

  async flush(): Promise<void> {
    this.#requireOpen();
  }

  /** Everything is data: HTTP does not know of holes. */
  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#requireOpen();
    requireSectorRange(this, 'allocation', offset, length);
    return length === 0 ? [] : [{ offset, length, state: 'data' }];
  }

  /** What is on its way may end, but is not tried again; to end it at once there is `signal`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#attempts.end();
    while (this.#inFlight.size > 0) await Promise.allSettled(this.#inFlight);
  }

  async #readPiece(offset: number, into: Uint8Array): Promise<void> {
    let done = 0;
    try {
      await this.#attempts.untilOne(this.#retries, () => {
        if (this.#changed !== undefined) throw this.#changed;
        return readRange(this.#origin, this.#identity, offset + done, into.subarray(done), (nrBytes) => {
          done += nrBytes;
        });
      });
    } catch (cause) {
      if (cause instanceof ImageChangedError) {
        this.#changed ??= cause;
        throw cause;
      }
      throw new DeviceError(
        `cannot read ${bytesInWords(offset, into.byteLength)} of ${this.name}: ${(cause as Error).message}`,
        { cause },
      );
    }
    if (this.#changed !== undefined) throw this.#changed;
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
  }

  async #refuseChange(operation: string): Promise<void> {
    this.#requireOpen();
    throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
  }
}

/** Unlike those of the engines: a program that waits for a read is not to end in a pause between two attempts. */
const wakefulTimers: Timers = {
  set: (work, ms) => setTimeout(work, ms),
  clear: (timer) => clearTimeout(timer as Parameters<typeof clearTimeout>[0]),
};

/** Trying again, with pauses between; until it is to end. */
class Attempts {
  readonly #timers: Timers;
  readonly #signal: AbortSignal | undefined;
  #hasEnded = false;
  readonly #pauses = new Set<() => void>();

  constructor({ timers, signal }: HttpOrigin) {
    this.#timers = timers;
    this.#signal = signal;
    signal?.addEventListener('abort', () => this.end(), { once: true });
  }

  async untilOne<T>(retries: number, attempt: () => Promise<T>): Promise<T> {
    for (let nrFailed = 0; ; nrFailed++) {
      try {
        return await attempt();
      } catch (error) {
        const isLast = nrFailed >= retries || this.#hasEnded || this.#signal?.aborted;
        if (!(error instanceof AttemptError) || !error.canRetry || isLast) {
          if (nrFailed === 0 || !(error instanceof AttemptError)) throw error;
          throw new AttemptError(`${error.message} (and so in ${nrFailed + 1} attempts)`, {
            canRetry: false,
            cause: error,
          });
        }
        await this.#pause(error.waitMs > 0 ? Math.min(error.waitMs, LONGEST_ASKED_WAIT) : waitAfter(nrFailed));
        if (this.#hasEnded) throw error;
      }
    }
  }

  /** Nobody pauses any more, or tries again. */
  end(): void {
    this.#hasEnded = true;
    for (const wake of this.#pauses) wake();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#timers.clear(timer);
        this.#pauses.delete(wake);
        resolve();
      };
      const timer = this.#timers.set(wake, ms);
      this.#pauses.add(wake);
    });
  }
}

/** Up to a half less by chance: many who lost the same server do not come back at the same moment. */
const waitAfter = (nrFailed: number): number =>
  Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** nrFailed) * (0.5 + Math.random() / 2);

/** `fetch` takes no user and password in its URL; nor should messages have them, or a query with a signature. */
function partsOf(url: string | URL): { address: string; shown: string; authorization: Record<string, string> } {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    const [, port = ''] = /^\w+:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/.exec(String(url)) ?? [];
    const why = Number(port) > 65535 ? `it names the port ${port}, which is not from 0 to 65535` : 'that is no URL';
    throw new DeviceOpenError(`cannot open ${url}: ${why}`, { cause });
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
    throw new DeviceOpenError(`cannot open ${url}: expected http: or https:, not ${parsed.protocol}`);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  parsed.hash = '';
  const authorization: Record<string, string> =
    username === '' && password === ''
      ? {}
      : { Authorization: `Basic ${btoa(credentials(parsed.origin, [username, password]))}` };
  return { address: parsed.href, shown: `${parsed.origin}${parsed.pathname}`, authorization };
}

/** @throws {@link DeviceOpenError} that does not show them */
function credentials(origin: string, parts: readonly string[]): string {
  try {
    const text = parts.map((part) => decodeURIComponent(part)).join(':');
    // Servers read Latin-1, as ever; what that has no letters for can be UTF-8 only.
    const isLatin1 = [...text].every((letter) => letter <= '\xff');
    return isLatin1 ? text : String.fromCharCode(...new TextEncoder().encode(text));
  } catch (cause) {
    throw new DeviceOpenError(
      `cannot open ${origin}: the name or the password in the URL has a wrong percent-encoding; write % as %25`,
      { cause },
    );
  }
}
