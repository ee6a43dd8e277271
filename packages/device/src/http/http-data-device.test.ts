import { connect, createServer } from 'node:net';
import { dataDeviceConformance, ManualTimers, quiet, rejection, TEST_CERTIFICATE, TEST_KEY } from '@pdata/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ImageServer, serveImage } from '../../test/image-server.js';
import { type HttpDataDevice, type OpenHttpDataDeviceOptions, openHttpDataDevice } from './http-data-device.js';

const KIB = 1024;
/** Different in each sector. */
const content = (length: number): Uint8Array =>
  new Uint8Array(length).map((_, at) => (Math.floor(at / 512) * 7 + at) % 251);
const IMAGE = content(768 * KIB);

const open = (server: ImageServer, options: OpenHttpDataDeviceOptions = {}): Promise<HttpDataDevice> =>
  openHttpDataDevice(server.url, options);

async function readFrom(device: HttpDataDevice, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee);
  await device.read(offset, into);
  return into;
}

/** Lets all time pass that attempts wait for, until `work` has ended. */
async function passing<T>(timers: ManualTimers, work: Promise<T>): Promise<T> {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  work.then(over, over);
  for (let nr = 0; !isOver && nr < 500; nr++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (timers.nrWaiting > 0) timers.pass(1000);
  }
  return work;
}

describe('an image behind a URL', () => {
  let server: ImageServer;
  const create = async (): Promise<HttpDataDevice> => open(await serveImage(IMAGE));
  for (const { name, run } of dataDeviceConformance({ create, fixedContent: IMAGE })) it(name, run);

  it('is known by one request, and read by requests for what is asked for', async () => {
    server = await serveImage(IMAGE);
    const device = await open(server);
    expect([device.size, device.guard, device.readOnly]).toEqual([IMAGE.length, 'etag', true]);
    expect(await readFrom(device, 1024, 512)).toEqual(IMAGE.subarray(1024, 1536));
    expect(server.requests).toEqual(['bytes=0-0', 'bytes=1024-1535 "one"']);
  });

  it('is read in pieces, a few at a time, over connections that are kept', async () => {
    const image = content(40 * 1024 * KIB);
    server = await serveImage(image);
    const device = await open(server, { parallel: 3 });
    expect(Buffer.compare(await readFrom(device, 512, image.length - 1024), image.subarray(512, -512))).toBe(0);
    expect(Buffer.compare(await readFrom(device, 0, image.length), image)).toBe(0);
    expect(server.requests.length).toBe(1 + 10 + 10);
    expect(server.mostAtOnce()).toBe(3);
    expect(server.nrConnections()).toBeLessThan(8);
  });

  it('loses the part of a sector at its end, and says how long it is', async () => {
    const device = await open(await serveImage(content(3 * 512 + 100)));
    expect([device.size, device.imageSize]).toEqual([3 * 512, 3 * 512 + 100]);
  });

  it('is had with the user and password of the URL, which no message shows', async () => {
    server = await serveImage(IMAGE);
    let authorization: string | undefined;
    server.instead = ({ headers }) => {
      authorization = headers.authorization;
      return false;
    };
    const url = server.url.replace('://', '://me:s%40crèt@');
    const device = await openHttpDataDevice(`${url}?signature=secret`, { headers: { 'X-Mine': '1' } });
    expect(authorization).toBe(`Basic ${Buffer.from('me:s@crèt', 'latin1').toString('base64')}`);
    expect(device.name).toBe(server.url);
  });

  it('is had over TLS, when the certificate is good', async () => {
    server = await serveImage(IMAGE, { key: TEST_KEY, cert: TEST_CERTIFICATE });
    const error = await rejection(open(server));
    expect([error.code, error.message]).toEqual([
      'ERR_DEVICE_OPEN',
      expect.stringMatching(/^cannot open https:\/\/127\.0\.0\.1:\d+\/disk\.img: self[- ]signed certificate$/),
    ]);
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      const device = await open(server);
      expect(await readFrom(device, 512, 512)).toEqual(IMAGE.subarray(512, 1024));
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });
});

describe('redirects are followed', () => {
  it('by every request anew, and the guard goes with them', async () => {
    const [first, second] = [await serveImage(IMAGE), await serveImage(IMAGE)];
    first.instead = (_, response) => {
      response.writeHead(302, { Location: `${second.url}?token=1` }).end();
      return true;
    };
    const device = await open(first);
    expect(await readFrom(device, 0, 1024)).toEqual(IMAGE.subarray(0, 1024));
    expect(second.requests).toEqual(['bytes=0-0', 'bytes=0-1023 "one"']);
    second.headers = { ETag: '"two"' };
    expect((await rejection(device.read(0, new Uint8Array(512)))).code).toBe('ERR_IMAGE_CHANGED');
  });

  it('but not from https to http', async () => {
    const plain = await serveImage(IMAGE);
    const server = await serveImage(IMAGE, { key: TEST_KEY, cert: TEST_CERTIFICATE });
    server.instead = (_, response) => {
      response.writeHead(301, { Location: plain.url }).end();
      return true;
    };
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      expect((await rejection(open(server))).message).toContain('redirects from https to http');
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });
});

describe('an image that changes is noticed, and no byte of the other is handed out', () => {
  let server: ImageServer;
  const other = IMAGE.map((byte) => byte ^ 0xff);
  beforeEach(async () => {
    server = await serveImage(IMAGE);
  });

  it.each([
    {
      by: 'another ETag',
      before: { ETag: '"one"' },
      after: { ETag: '"two"' },
      says: 'its ETag was "one", and is "two" now',
    },
    { by: 'a missing ETag', before: { ETag: '"one"' }, after: {}, says: 'its ETag was "one", and is missing now' },
    {
      by: 'a weak ETag where a strong one was',
      before: { ETag: '"one"' },
      after: { ETag: 'W/"one"' },
      says: 'its ETag was "one", and is W/"one" now',
    },
    {
      by: 'its date, where the ETag is weak',
      before: { ETag: 'W/"a"', 'Last-Modified': 'Sat, 28 Nov 2026 10:00:00 GMT' },
      after: { ETag: 'W/"a"', 'Last-Modified': 'Sat, 28 Nov 2026 10:00:01 GMT' },
      says: 'its Last-Modified was Sat, 28 Nov 2026 10:00:00 GMT, and is Sat, 28 Nov 2026 10:00:01 GMT now',
    },
  ])('by $by', async ({ before, after, says }) => {
    server.headers = before as Record<string, string>;
    const device = await open(server);
    await device.read(0, new Uint8Array(512));
    server.headers = after as Record<string, string>;
    server.image = other;
    const into = new Uint8Array(512).fill(0xee);
    const error = await rejection(device.read(0, into));
    expect([error.code, error.message]).toEqual([
      'ERR_IMAGE_CHANGED',
      `${server.url} has changed since it was opened: ${says}; open it anew, and begin anew what was made of it`,
    ]);
    expect(into.every((byte) => byte === 0xee)).toBe(true);
  });

  it('by its length, where there is nothing else', async () => {
    server.headers = {};
    const device = await open(server);
    expect(device.guard).toBe('length');
    server.image = content(IMAGE.length + 512);
    expect((await rejection(device.read(0, new Uint8Array(512)))).message).toContain(
      'it had 786432 bytes, and has 786944 now',
    );
  });

  it('by a server that is asked for it and refuses (412), has no such bytes any more (416), or sends all of the other (200)', async () => {
    for (const [status, says] of [
      [412, '(412)'],
      [416, '(416)'],
      [200, 'its ETag was "one", and is "two" now'],
    ] as const) {
      const device = await open(server);
      server.instead = (_, response) => {
        response.writeHead(status, { ETag: '"two"' }).end();
        return true;
      };
      const error = await rejection(device.read(0, new Uint8Array(512)));
      expect([error.code, error.message]).toEqual(['ERR_IMAGE_CHANGED', expect.stringContaining(says)]);
      server.instead = () => false;
    }
  });

  it('for good: reads fail from then on, even if the first image is back', async () => {
    const device = await open(server);
    server.headers = { ETag: '"two"' };
    await rejection(device.read(0, new Uint8Array(512)));
    server.headers = { ETag: '"one"' };
    expect((await rejection(device.read(512, new Uint8Array(512)))).code).toBe('ERR_IMAGE_CHANGED');
  });

  it('in the middle of a read that was broken off', async () => {
    const timers = new ManualTimers();
    const device = await open(server, { timers });
    server.instead = (request, response, nr) => {
      if (nr > 2) {
        server.headers = { ETag: '"two"' };
        return false;
      }
      response.writeHead(206, {
        'Content-Range': `bytes 0-65535/${IMAGE.length}`,
        'Content-Length': 65536,
        ETag: '"one"',
      });
      response.write(IMAGE.subarray(0, 1000), () => request.socket.destroy());
      return true;
    };
    const into = new Uint8Array(65_536).fill(0xee);
    expect((await passing(timers, rejection(device.read(0, into)))).code).toBe('ERR_IMAGE_CHANGED');
    expect(into.subarray(1000).every((byte) => byte === 0xee)).toBe(true);
  });
});

describe('what may pass is tried again', () => {
  let server: ImageServer;
  let timers: ManualTimers;
  beforeEach(async () => {
    server = await serveImage(IMAGE);
    timers = new ManualTimers();
  });

  it.each([429, 500, 502, 503, 504])('%i from the server', async (status) => {
    const device = await open(server, { timers });
    server.instead = (_, response, nr) => {
      if (nr > 4) return false;
      response.writeHead(status).end('busy');
      return true;
    };
    expect(await passing(timers, readFrom(device, 0, 512))).toEqual(IMAGE.subarray(0, 512));
    expect(server.requests.length).toBe(5);
  });

  it('for so many times, and then says what it was', async () => {
    const device = await open(server, { timers, retries: 3 });
    server.instead = (_, response) => {
      response.writeHead(503, 'Too Busy').end();
      return true;
    };
    const error = await passing(timers, rejection(device.read(512, new Uint8Array(1024))));
    expect([error.code, error.message, server.requests.length]).toEqual([
      'ERR_DEVICE',
      `cannot read 1024 bytes at 512 of ${server.url}: the server answered 503 Too Busy (and so in 4 attempts)`,
      5,
    ]);
  });

  it('not before the time that the server asks for', async () => {
    const device = await open(server, { timers });
    server.instead = (_, response, nr) => {
      if (nr > 2) return false;
      response.writeHead(503, { 'Retry-After': '20' }).end();
      return true;
    };
    const read = readFrom(device, 0, 512);
    await expect.poll(() => server.requests.length).toBe(2);
    await expect.poll(() => timers.nrWaiting).toBe(1);
    timers.pass(19_999);
    await quiet();
    expect(server.requests.length).toBe(2);
    timers.pass(1);
    expect(await read).toEqual(IMAGE.subarray(0, 512));
  });

  it('a connection that breaks in the middle of a body, from there on', async () => {
    const device = await open(server, { timers });
    server.instead = (request, response, nr) => {
      if (nr !== 2) return false;
      response.writeHead(206, {
        'Content-Range': `bytes 0-65535/${IMAGE.length}`,
        'Content-Length': 65536,
        ETag: '"one"',
      });
      response.write(IMAGE.subarray(0, 1000), () => request.socket.destroy());
      return true;
    };
    expect(await passing(timers, readFrom(device, 0, 65_536))).toEqual(IMAGE.subarray(0, 65_536));
    expect(server.requests).toEqual(['bytes=0-0', 'bytes=0-65535 "one"', 'bytes=1000-65535 "one"']);
  });

  it('a body that ends early without saying so', async () => {
    const device = await open(server, { timers });
    server.instead = (_, response, nr) => {
      if (nr !== 2) return false;
      response.writeHead(206, { 'Content-Range': `bytes 0-1023/${IMAGE.length}`, ETag: '"one"' }); // chunked
      response.end(IMAGE.subarray(0, 512));
      return true;
    };
    expect(await passing(timers, readFrom(device, 0, 1024))).toEqual(IMAGE.subarray(0, 1024));
    expect(server.requests.at(-1)).toBe('bytes=512-1023 "one"');
  });

  it.each(['headers', 'body'])('a server that says nothing for too long, in its %s', async (where) => {
    const device = await open(server, { timers, timeout: 5000 });
    server.instead = (_, response, nr) => {
      if (nr !== 2) return false;
      if (where === 'body') {
        response.writeHead(206, { 'Content-Range': `bytes 0-1023/${IMAGE.length}`, ETag: '"one"' });
        response.write(IMAGE.subarray(0, 100));
      }
      return true;
    };
    expect(await passing(timers, readFrom(device, 0, 1024))).toEqual(IMAGE.subarray(0, 1024));
    expect(server.requests.length).toBe(3);
  });

  it('a server that is gone, and comes back', async () => {
    const device = await open(server, { timers });
    const { port } = new URL(server.url);
    await server.close();
    const read = readFrom(device, 0, 512);
    await expect.poll(() => timers.nrWaiting).toBe(1); // it pauses
    const again = await serveImage(IMAGE);
    const forward = createServer((socket) => {
      socket.pipe(connect(Number(new URL(again.url).port), '127.0.0.1')).pipe(socket);
    });
    await new Promise<void>((listening) => forward.listen(Number(port), '127.0.0.1', listening));
    expect(await passing(timers, read)).toEqual(IMAGE.subarray(0, 512));
    forward.close();
  });
});

describe('what does not pass is not tried again', () => {
  let server: ImageServer;
  let device: HttpDataDevice;
  beforeEach(async () => {
    server = await serveImage(IMAGE);
    device = await open(server);
  });

  it.each([400, 401, 403, 404, 410, 451])('%i from the server', async (status) => {
    server.instead = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    const error = await rejection(device.read(0, new Uint8Array(512)));
    expect([error.code, server.requests.length]).toEqual(['ERR_DEVICE', 2]);
    expect(error.message).toContain(`the server answered ${status}`);
  });

  it.each<[string, Record<string, string | undefined>, string]>([
    ['an encoded body', { 'Content-Encoding': 'br' }, 'the server sends the image encoded (Content-Encoding: br)'],
    ['other bytes', { 'Content-Range': `bytes 512-1023/${IMAGE.length}` }, 'the server sent other bytes than 0 to 511'],
    ['fewer bytes', { 'Content-Range': `bytes 0-100/${IMAGE.length}` }, 'the server sent other bytes than 0 to 511'],
    ['bytes of several ranges', { 'Content-Range': undefined }, 'the server does not say which bytes it sends'],
    [
      'a length that nobody knows',
      { 'Content-Range': 'bytes 0-511/*' },
      'the server does not say how long the image is',
    ],
    [
      'a longer body',
      { 'Content-Length': undefined, 'Transfer-Encoding': 'chunked', 'X-More': '1' },
      'the server sent more than the 512 bytes',
    ],
    [
      'a body announced as longer',
      { 'Content-Length': '700', 'X-More': '1' },
      'announced a body of 700 bytes for a range of 512',
    ],
  ])('%s', async (_, changes, says) => {
    server.instead = (request, response) => {
      if (changes['X-More'] !== undefined) {
        const { end } = response;
        response.end = ((body: Uint8Array) =>
          end.call(response, Buffer.concat([body, Buffer.alloc(188)]), 'binary')) as never;
      }
      server.serve(request, response, changes);
      return true;
    };
    const into = new Uint8Array(1024).fill(0xee);
    const error = await rejection(device.read(0, into.subarray(0, 512)));
    expect([error.code, server.requests.length]).toEqual(['ERR_DEVICE', 2]);
    expect(error.message).toContain(says);
    expect(into.subarray(512).every((byte) => byte === 0xee)).toBe(true);
  });

  it('all of the image in the place of a range', async () => {
    server.instead = (_, response) => {
      response.writeHead(200, { ETag: '"one"' }).end(IMAGE);
      return true;
    };
    expect((await rejection(device.read(0, new Uint8Array(512)))).message).toContain(
      'the server answered with all of the image (200) to a request for a range of it',
    );
  });
});

describe('opening is refused in one sentence', () => {
  let server: ImageServer;
  beforeEach(async () => {
    server = await serveImage(IMAGE);
  });

  it.each<[string, ImageServer['instead'] | undefined, Partial<ImageServer>, string]>([
    [
      'of a server that knows no ranges',
      (_, response) => {
        response.writeHead(200).end(IMAGE);
        return true;
      },
      {},
      'the server does not support range requests (it answered 200 to one, not 206): only whole downloads can be had from it',
    ],
    [
      'of nothing',
      (_, response) => {
        response.writeHead(404).end();
        return true;
      },
      {},
      'the server answered 404 Not Found',
    ],
    [
      'of an empty image',
      undefined,
      { image: new Uint8Array(0) },
      'it holds 0 bytes, less than one sector of 512 bytes',
    ],
    [
      'of less than a sector',
      undefined,
      { image: content(511) },
      'it holds 511 bytes, less than one sector of 512 bytes',
    ],
    [
      'of an encoded image',
      undefined,
      { headers: { 'Content-Encoding': 'gzip' } },
      'the server sends the image encoded',
    ],
  ])('%s', async (_, instead, changes, says) => {
    Object.assign(server, changes, instead === undefined ? {} : { instead });
    const error = await rejection(open(server));
    expect([error.code, error.message]).toEqual([
      'ERR_DEVICE_OPEN',
      expect.stringContaining(`cannot open ${server.url}: ${says}`),
    ]);
  });

  it('of a port where nobody listens', async () => {
    await server.close();
    const error = await rejection(open(server, { retries: 0 }));
    expect([error.code, error.message]).toEqual(['ERR_DEVICE_OPEN', expect.stringContaining('nobody listens there')]);
  });

  it.each([
    ['ftp://example.org/disk.img', 'expected http: or https:, not ftp:'],
    ['disk.img', 'that is no URL'],
    ['http://example.org:99999/disk.img', 'it names the port 99999, which is not from 0 to 65535'],
    ['http://127.0.0.1:25/', 'no HTTP client uses this port, which is reserved for another service'],
  ])('of %s', async (url, says) => {
    expect((await rejection(openHttpDataDevice(url))).message).toBe(`cannot open ${url}: ${says}`);
  });

  it('of a password that is no percent-encoding, without showing it', async () => {
    expect((await rejection(openHttpDataDevice('http://name:100%secret@example.org/disk.img'))).message).toBe(
      'cannot open http://example.org: the name or the password in the URL has a wrong percent-encoding; write % as %25',
    );
  });

  it.each([{ parallel: 0 }, { retries: -1 }, { timeout: 0 }])('with %o', async (options) => {
    expect(await rejection(open(server, options))).toBeInstanceOf(RangeError);
  });
});

describe('the end', () => {
  let server: ImageServer;
  beforeEach(async () => {
    server = await serveImage(IMAGE);
  });
  afterEach(() => server.close());

  it('waits for what is on its way, but not for another attempt', async () => {
    const timers = new ManualTimers();
    const device = await open(server, { timers });
    server.instead = (_, response) => {
      response.writeHead(503).end();
      return true;
    };
    const read = rejection(device.read(0, new Uint8Array(512)));
    await expect.poll(() => server.requests.length).toBe(2);
    await quiet();
    await device.close();
    expect((await read).message).toContain('the server answered 503');
    expect(server.requests.length).toBe(2);
  });

  it('comes at once when it is called off', async () => {
    const calledOff = new AbortController();
    const device = await open(server, { signal: calledOff.signal });
    server.instead = () => true; // never answers
    const read = rejection(device.read(0, new Uint8Array(512)));
    await expect.poll(() => server.requests.length).toBe(2);
    calledOff.abort();
    expect((await read).message).toContain('it was called off');
    expect((await rejection(device.read(0, new Uint8Array(512)))).message).toContain('it was called off');
  });
});
