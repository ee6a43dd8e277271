/** An image for the example to fetch, from a server on this machine that is no faster than a line of so many bytes a second. */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ImageServer {
  readonly url: string;
  /** Bytes that were sent so far. */
  readonly nrBytesSent: () => number;
  close(): Promise<void>;
}

export async function serveImage(path: string, bytesASecond: number): Promise<ImageServer> {
  const { size, mtimeMs } = statSync(path);
  const etag = `"${createHash('sha256').update(`${size} ${mtimeMs}`).digest('hex').slice(0, 16)}"`;
  let nrBytesSent = 0;
  /** When what has been asked for so far will have gone through the line. */
  let lineIsFree = Date.now();
  const server = createServer(async ({ headers }, response) => {
    const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    if (begin === undefined || end === undefined || Number(begin) >= size) {
      response.writeHead(416, { 'Content-Range': `bytes */${size}` }).end();
      return;
    }
    if (headers['if-match'] !== undefined && headers['if-match'] !== etag) {
      response.writeHead(412).end();
      return;
    }
    const [first, last] = [Number(begin), Math.min(Number(end), size - 1)];
    const length = last - first + 1;
    lineIsFree = Math.max(lineIsFree, Date.now()) + (length / bytesASecond) * 1000;
    await sleep(lineIsFree - Date.now());
    nrBytesSent += length;
    response.writeHead(206, {
      'Content-Range': `bytes ${first}-${last}/${size}`,
      'Content-Length': length,
      ETag: etag,
    });
    createReadStream(path, { start: first, end: last }).pipe(response);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.img`,
    nrBytesSent: () => nrBytesSent,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}
