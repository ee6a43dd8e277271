/**
 * The live page of a pool: an HTTP server on 127.0.0.1, for one person and the browser on the same machine.
 *
 * This file is the list of what can be asked for, and the one place where a request is answered. Everything else is refused:
 *
 *   GET   / and the page's files     no token needed, there is nothing to see in them     page-files.ts
 *   GET   /api/live                  frames: the pool, rates, events…                     pool-watch.ts, live-feed.ts
 *   GET   /api/map?volume=NAME       one volume's map
 *   POST  /api/do/ACTION        the buttons                                          actions.ts
 *
 * Who may ask: guard.ts. What is said: page-protocol.ts. Limits: connections, header and body sizes, time to send a request, open
 * pages; a stranger who fills them keeps the page from being used, not the pool.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StoreError } from '@pdata/device';
import { PoolError, reasonOf } from '../words/pool-error.js';
import { actionNames, runAction } from './actions.js';
import { checkNoBody, readJsonObject } from './body.js';
import { Guard, newToken } from './guard.js';
import { LiveFeed } from './live-feed.js';
import { loadPageFiles, type PageFile } from './page-files.js';
import type { PageHost } from './page-host.js';
import type { Actions, FailedAnswer } from './page-protocol.js';
import { PoolWatch } from './pool-watch.js';
import { Refusal } from './refusal.js';

export interface WebPageOptions {
  /** The page uses it and does not close it. */
  readonly host: PageHost;
  /** TCP port on 127.0.0.1; 0, the default: any that is free. */
  readonly port?: number;
  /** At least 22 characters of A–Z a–z 0–9 - _; default: 256 random bits, new in each run. */
  readonly token?: string;
  /** Gets what goes wrong inside, in one line; default: nobody. */
  readonly log?: (message: string) => void;
  readonly limits?: Partial<WebPageLimits>;
}

export interface WebPageLimits {
  /** Milliseconds a client has to send the headers of a request; default 5 000. */
  readonly headersTimeout: number;
  /** Milliseconds it has to send the whole request; default 10 000. */
  readonly requestTimeout: number;
  /** Connections at a time; further ones are closed at once; default 64. */
  readonly maxConnections: number;
}

export interface WebPage {
  /** For the person's browser; the token stands behind the `#`. Whoever has this URL may do everything the page can. */
  readonly url: string;
  /** Ends open pages and resolves when the port is free. Actions under way end first. */
  close(): Promise<void>;
}

const DEFAULT_LIMITS: WebPageLimits = { headersTimeout: 5_000, requestTimeout: 10_000, maxConnections: 64 };

/** No scripts but ours, no styles but ours, no frames, no forms that leave, and text that becomes HTML is an error. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS_OF_ALL: Readonly<Record<string, string>> = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'Cache-Control': 'no-store',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
};

/**
 * Serves the page until `close`.
 * @throws PoolError `ERR_LISTEN` when the port is taken or not allowed
 * @throws RangeError for a token that could be guessed
 */
export async function startWebPage(options: WebPageOptions): Promise<WebPage> {
  const { host, port = 0, token = newToken(), log = () => {} } = options;
  const { headersTimeout, requestTimeout, maxConnections } = { ...DEFAULT_LIMITS, ...options.limits };
  const server = createServer({
    headersTimeout,
    requestTimeout,
    connectionsCheckingInterval: Math.min(1000, headersTimeout),
    keepAliveTimeout: 5_000,
    maxHeaderSize: 16 * 1024,
  });
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 100;

  const guardFor = (onPort: number): Guard => new Guard(token, onPort);
  guardFor(port); // A bad token is an error before the port is taken.
  const listening = await listen(server, port);
  const routes = new Routes(host, guardFor(listening), log);
  server.on('request', (request, response) => void routes.answer(request, response));

  let closing: Promise<void> | undefined;
  return {
    url: `http://127.0.0.1:${listening}/#${token}`,
    close: () => {
      closing ??= closeServer(server, routes);
      return closing;
    },
  };
}

class Routes {
  readonly #host: PageHost;
  readonly #guard: Guard;
  readonly #log: (message: string) => void;
  readonly #files: ReadonlyMap<string, PageFile> = loadPageFiles();
  readonly #feed = new LiveFeed();
  readonly #watch: PoolWatch;

  constructor(host: PageHost, guard: Guard, log: (message: string) => void) {
    this.#host = host;
    this.#guard = guard;
    this.#log = log;
    this.#watch = new PoolWatch(host, this.#feed, log);
  }

  close(): void {
    this.#watch.close();
    this.#feed.close();
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS_OF_ALL)) response.setHeader(name, value);
    // A client that goes away in mid-answer is no error of ours.
    response.on('error', () => {});
    try {
      await this.#route(request, response);
    } catch (error) {
      this.#refuse(request, response, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Compared as it came: nothing is decoded or resolved, so `/../x`, `//x` and `http://x/` are simply not on the list.
    const [path = '', query] = splitOnce(request.url ?? '', '?');
    this.#guard.checkSender(request, { isPage: path === '/' });

    const file = this.#files.get(path);
    if (file !== undefined) {
      allow(request, ['GET', 'HEAD']);
      checkNoBody(request);
      response.writeHead(200, { 'Content-Type': file.type, 'Content-Length': file.bytes.length });
      response.end(request.method === 'HEAD' ? undefined : file.bytes);
      return;
    }

    this.#guard.checkToken(request);
    const action = actionNames.find((name) => path === `/api/do/${name}`);
    if (action !== undefined) return await this.#act(action, request, response);
    if (path === '/api/live') return this.#live(request, response);
    if (path === '/api/map') return this.#map(request, response, query);
    throw new Refusal(404, 'ERR_NOT_FOUND', 'there is nothing under this path');
  }

  async #act(name: keyof Actions, request: IncomingMessage, response: ServerResponse): Promise<void> {
    allow(request, ['POST']);
    this.#guard.checkOriginIsNamed(request);
    await runAction(this.#host, name, await readJsonObject(request));
    this.#watch.soon();
    sendJson(response, 200, { done: true });
  }

  #live(request: IncomingMessage, response: ServerResponse): void {
    allow(request, ['GET']);
    checkNoBody(request);
    this.#feed.join(response, { history: this.#watch.rates.history });
    this.#watch.start();
  }

  #map(request: IncomingMessage, response: ServerResponse, query: string | undefined): void {
    allow(request, ['GET']);
    checkNoBody(request);
    sendJson(response, 200, this.#watch.mapOf(new URLSearchParams(query).get('volume') ?? ''));
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const { status, code, message, headers } = refusalOf(error);
    if (status === 500)
      this.#log(`the page failed at ${request.method} ${splitOnce(request.url ?? '', '?')[0]}: ${error}`);
    // What may still come of the body is not read.
    if (!request.complete) response.setHeader('Connection', 'close');
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const answer: FailedAnswer = { error: { code, message } };
    sendJson(response, status, answer);
  }
}

/** What the pool refuses is a conflict with its state, in its own words; what nobody foresaw is not shown to strangers. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof StoreError) return new Refusal(409, error.code, error.message);
  return new Refusal(
    500,
    'ERR_INTERNAL',
    'something went wrong inside; the program that serves this page has said what',
  );
}

function allow(request: IncomingMessage, methods: readonly string[]): void {
  if (methods.includes(request.method ?? '')) return;
  throw new Refusal(405, 'ERR_METHOD', `this path takes ${methods.join(' and ')} only`, { Allow: methods.join(', ') });
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const bytes = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': bytes.length });
  response.end(bytes);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** Resolves with the port. */
function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const sentence = `cannot serve the page on port ${port} of 127.0.0.1: ${reasonOf(cause)}`;
      reject(new PoolError('ERR_LISTEN', sentence, { cause }));
    });
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => resolve((server.address() as AddressInfo).port));
  });
}

function closeServer(server: Server, routes: Routes): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    routes.close();
    server.closeIdleConnections();
    // A client that does not read its last answer does not keep the program from ending.
    setTimeout(() => server.closeAllConnections(), 1000).unref();
  });
}
