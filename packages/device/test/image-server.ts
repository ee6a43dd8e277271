/** A server of one image, over node:http or node:https, that answers as it should until a test has it answer otherwise. */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface ImageServer {
  readonly url: string;
  /** The requests so far, as `RANGE` or `RANGE CONDITION`. */
  readonly requests: string[];
  /** The most requests that were being answered at the same time. */
  readonly mostAtOnce: () => number;
  /** Connections that were ever made. */
  readonly nrConnections: () => number;
  image: Uint8Array;
  headers: Record<string, string>;
  /** Answers a request in its place, if it returns true. `nr` counts requests from 1 on. */
  instead: (request: IncomingMessage, response: ServerResponse, nr: number) => boolean | Promise<boolean>;
  /** Sends the range asked for, as a good server does, with headers changed. */
  serve(request: IncomingMessage, response: ServerResponse, changes?: Record<string, string | undefined>): void;
  close(): Promise<void>;
}

export async function serveImage(
  image: Uint8Array,
  tls?: { readonly key: string; readonly cert: string },
): Promise<ImageServer> {
  let [nrNow, most, nr, nrConnections] = [0, 0, 0, 0];
  const listener: RequestListener = async (request, response) => {
    served.requests.push(
      [request.headers.range, request.headers['if-match'] ?? request.headers['if-unmodified-since']]
        .filter((part) => part !== undefined)
        .join(' '),
    );
    most = Math.max(most, ++nrNow);
    response.on('close', () => nrNow--);
    if (!(await served.instead(request, response, ++nr))) served.serve(request, response);
  };
  const server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener);
  server.on('connection', () => nrConnections++);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  const served: ImageServer = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/disk.img`,
    requests: [],
    mostAtOnce: () => most,
    nrConnections: () => nrConnections,
    image,
    headers: { ETag: '"one"' },
    instead: () => false,
    serve(request, response, changes = {}) {
      const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const [first, last] = [Number(begin), Math.min(Number(end), served.image.length - 1)];
      const total = served.image.length;
      const isThere = begin !== undefined && first < total;
      const body = isThere ? served.image.subarray(first, last + 1) : new Uint8Array(0);
      const headers: Record<string, string | undefined> = {
        'Content-Range': isThere ? `bytes ${first}-${last}/${total}` : `bytes */${total}`,
        'Content-Length': String(body.length),
        ...served.headers,
        ...changes,
      };
      for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
      response.statusCode = isThere ? 206 : 416;
      response.end(body);
    },
    close: () =>
      new Promise((closed) => {
        server.closeAllConnections();
        server.close(() => closed());
      }),
  };
  onTestFinished(() => served.close());
  return served;
}
