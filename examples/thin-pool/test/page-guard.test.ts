/** Who gets in and who does not: a test for each door of src/web/guard.ts and each limit of src/web/web-page.ts. */
import { createHash } from 'node:crypto';
import { createConnection } from 'node:net';
import { describe, expect, it } from 'vitest';
import { newToken } from '../src/web/guard.js';
import { startWebPage } from '../src/web/web-page.js';
import { FakePoolHost } from './fake-pool-host.js';
import { type Request, startTestPage } from './page-client.js';

const GUARDED: readonly Request[] = [
  { path: '/api/live' },
  { path: '/api/map?volume=a' },
  { path: '/nowhere' },
  ...['create', 'snapshot', 'rename', 'resize', 'revert', 'remove', 'grow'].map((name) => ({
    method: 'POST',
    path: `/api/do/${name}`,
    headers: { 'Content-Type': 'application/json' },
    body: '{"name":"a","size":1048576}',
  })),
];

describe('the token', () => {
  it('is 256 random bits, another in each run, and stands behind the # of the address', async () => {
    const [one, other] = [await startTestPage(), await startTestPage()];
    expect(one.page.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}$/);
    expect(other.token).not.toBe(one.token);
  });

  it.each(GUARDED)('is asked for at $path', async ({ headers, ...request }) => {
    const page = await startTestPage();
    const wrong: (string | undefined)[] = [
      undefined,
      '',
      'Bearer',
      `Bearer ${newToken()}`,
      `Bearer ${page.token}x`,
      `Bearer ${page.token.slice(0, -1)}`,
      `Bearer ${page.token.toUpperCase()}`,
      `Basic ${Buffer.from(`:${page.token}`).toString('base64')}`,
      page.token,
    ];
    for (const Authorization of wrong) {
      const answer = await page.ask({ ...request, headers: { ...headers, Authorization } });
      expect([Authorization, answer.status]).toEqual([Authorization, 401]);
      expect(JSON.parse(answer.text).error.code).toBe('ERR_WRONG_TOKEN');
      expect(answer.text).not.toContain(page.token);
    }
    expect(page.host.calls).toEqual([]);
  });

  it('is not taken from a cookie, a query or a path, where others could see it', async () => {
    const page = await startTestPage();
    const nowhere = { Authorization: undefined };
    const cookie = `token=${page.token}`;
    for (const request of [
      { path: '/api/live', headers: { ...nowhere, Cookie: cookie } },
      { path: `/api/live?token=${page.token}`, headers: nowhere },
      { path: `/${page.token}/api/live`, headers: nowhere },
    ]) {
      expect((await page.ask(request)).status).toBe(401);
    }
  });

  it('never appears in what the server sends, cookies included', async () => {
    const page = await startTestPage();
    for (const path of ['/', '/main.js', '/api/map?volume=a', '/nowhere']) {
      const { text, headers } = await page.ask({ path });
      expect(text + JSON.stringify(headers)).not.toContain(page.token);
      expect(headers['set-cookie']).toBeUndefined();
    }
  });

  it.each(['', 'short', 'with blanks is not one either', 'a/b'.repeat(20), 'x'.repeat(513)])(
    'cannot be "%s": too easily guessed, or not fit for an address',
    async (token) => {
      await expect(startWebPage({ host: new FakePoolHost(), token })).rejects.toThrow(RangeError);
    },
  );

  it('may be given, to stay the same over runs', async () => {
    const token = createHash('sha256').update('a test').digest('base64url');
    const page = await startTestPage({ token });
    expect(page.token).toBe(token);
    expect((await page.act('create', { name: 'a', size: 512 })).status).toBe(200);
  });
});

describe('Host', () => {
  it.each([
    'evil.example',
    'evil.example:PORT',
    '127.0.0.1',
    '127.0.0.1:1',
    '127.0.0.1.evil.example:PORT',
    '0.0.0.0:PORT',
    '[::1]:PORT',
    '',
  ])('may not be "%s": a foreign name that leads here (DNS rebinding)', async (host) => {
    const page = await startTestPage();
    const Host = host.replace('PORT', String(page.port));
    for (const path of ['/', '/main.js', '/api/live']) {
      const answer = await page.ask({ path, headers: { Host, Origin: `http://${Host}` } });
      expect(answer.status).toBe(403);
      expect(JSON.parse(answer.text).error.code).toBe('ERR_WRONG_HOST');
    }
  });

  it('may be localhost', async () => {
    const page = await startTestPage();
    const Host = `localhost:${page.port}`;
    const answer = await page.act('create', { name: 'a', size: 512 }, { Host, Origin: `http://${Host}` });
    expect(answer.status).toBe(200);
  });

  it('must be there, once', async () => {
    const page = await startTestPage();
    const right = `Host: 127.0.0.1:${page.port}\r\n`;
    expect(await page.raw(`GET / HTTP/1.1\r\nConnection: close\r\n\r\n`)).toMatch(/^HTTP\/1\.1 400 /);
    expect(await page.raw(`GET / HTTP/1.0\r\n\r\n`)).toMatch(/^HTTP\/1\.1 403 /);
    const twice = `GET / HTTP/1.1\r\n${right}Host: evil.example\r\nConnection: close\r\n\r\n`;
    expect(await page.raw(twice)).toMatch(/^HTTP\/1\.1 40[03] /);
    expect(await page.raw(`GET / HTTP/1.1\r\n${right}Connection: close\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('other web sites', () => {
  it.each(['http://evil.example', 'null', 'https://127.0.0.1:PORT', 'http://127.0.0.1:1', 'http://localhost:PORT'])(
    'cannot send a request from %s, even with the token',
    async (origin) => {
      const page = await startTestPage();
      const Origin = origin.replace('PORT', String(page.port));
      for (const { headers, ...request } of GUARDED) {
        const answer = await page.ask({ ...request, headers: { ...headers, Origin } });
        expect([request.path, answer.status]).toEqual([request.path, 403]);
        expect(JSON.parse(answer.text).error.code).toBe('ERR_WRONG_ORIGIN');
      }
      expect(page.host.calls).toEqual([]);
    },
  );

  it.each(['cross-site', 'same-site', 'none'])('cannot hide their origin: Sec-Fetch-Site: %s', async (site) => {
    const page = await startTestPage();
    for (const { headers, ...request } of GUARDED) {
      const answer = await page.ask({ ...request, headers: { ...headers, Origin: undefined, 'Sec-Fetch-Site': site } });
      expect([request.path, answer.status]).toEqual([request.path, 403]);
    }
    expect(page.host.calls).toEqual([]);
  });

  it('may hold a link to the page, but not embed it or its files', async () => {
    const page = await startTestPage();
    const from = (mode: string) => ({ Origin: undefined, 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': mode });
    expect((await page.ask({ path: '/', headers: from('navigate') })).status).toBe(200);
    expect((await page.ask({ path: '/', headers: from('no-cors') })).status).toBe(403);
    expect((await page.ask({ path: '/main.js', headers: from('no-cors') })).status).toBe(403);
    expect((await page.ask({ path: '/icon.svg', headers: from('navigate') })).status).toBe(403);
    expect((await page.ask({ path: '/api/live', headers: from('navigate') })).status).toBe(403);
  });

  it('get no leave by a preflight, and no header that shares an answer', async () => {
    const page = await startTestPage();
    const answer = await page.ask({
      method: 'OPTIONS',
      path: '/api/do/create',
      headers: { Origin: 'http://evil.example', 'Access-Control-Request-Method': 'POST' },
    });
    expect(answer.status).toBe(403);
    const names = Object.keys((await page.ask({ path: '/' })).headers);
    expect([...Object.keys(answer.headers), ...names].filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  it('are told apart by the origin, which every change must name', async () => {
    const page = await startTestPage();
    const headers = { Origin: undefined, 'Sec-Fetch-Site': undefined };
    const answer = await page.act('create', { name: 'a', size: 512 }, headers);
    expect(answer.status).toBe(403);
    expect(page.host.calls).toEqual([]);
  });
});

describe('methods and paths', () => {
  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'TRACE'])(
    'changes nothing by %s',
    async (method) => {
      const page = await startTestPage();
      await page.host.createVolume({ name: 'a', size: 512 });
      for (const name of ['create', 'snapshot', 'rename', 'resize', 'revert', 'remove', 'grow']) {
        const answer = await page.ask({ method, path: `/api/do/${name}` });
        expect([name, answer.status, answer.headers.allow]).toEqual([name, 405, 'POST']);
      }
      expect((await page.ask({ method, path: '/api/do/remove?name=a' })).status).toBe(405);
      expect(page.host.calls).toEqual(['create a 512']);
    },
  );

  it('sends files and frames for reading only', async () => {
    const page = await startTestPage();
    for (const path of ['/', '/main.js', '/api/live', '/api/map?volume=a']) {
      const answer = await page.ask({
        method: 'POST',
        path,
        headers: { 'Content-Type': 'application/json' },
        body: '{}',
      });
      expect([path, answer.status]).toEqual([path, 405]);
    }
    const head = await page.ask({ method: 'HEAD', path: '/' });
    expect([head.status, head.text, Number(head.headers['content-length']) > 1000]).toEqual([200, '', true]);
  });

  it('knows no way to other files', async () => {
    const page = await startTestPage();
    for (const path of [
      '/../package.json',
      '/../../../../etc/passwd',
      '/%2e%2e/%2e%2e/package.json',
      '/..%2f..%2fpackage.json',
      '/base.css/../../web-page.ts',
      '//etc/passwd',
      '/.//base.css',
      '/index.html',
      '/page/index.html',
      '/tsconfig.json',
      '/base.css%00.html',
      '/api/do/toString',
      '/api/do/__proto__',
      '/api/do/',
      '/api/do/create/',
      '/constructor',
      `/${'x'.repeat(8000)}`,
    ]) {
      const answer = await page.ask({ path });
      expect([path, answer.status]).toEqual([path, 404]);
    }
    const host = `Host: 127.0.0.1:${page.port}\r\nConnection: close\r\n`;
    const auth = `Authorization: Bearer ${page.token}\r\n`;
    for (const target of ['http://evil.example/', `http://127.0.0.1:${page.port}/main.js`, '*']) {
      const method = target === '*' ? 'OPTIONS' : 'GET';
      expect(await page.raw(`${method} ${target} HTTP/1.1\r\n${host}${auth}\r\n`)).toMatch(/^HTTP\/1\.1 404 /);
    }
  });

  it('is no proxy: CONNECT and upgrades lead nowhere', async () => {
    const page = await startTestPage();
    const host = `Host: 127.0.0.1:${page.port}\r\n`;
    expect(await page.raw(`CONNECT evil.example:443 HTTP/1.1\r\n${host}\r\n`)).toBe('');
    const upgrade =
      'Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
    expect(await page.raw(`GET /api/live HTTP/1.1\r\n${host}${upgrade}\r\n`)).not.toMatch(/^HTTP\/1\.1 (101|200)/);
  });

  it('answers what is not HTTP with an error, and goes on', async () => {
    const page = await startTestPage();
    expect(await page.raw('NBDMAGIC\0\x01\x02 hello\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    expect(
      await page.raw(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${page.port}\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`),
    ).toMatch(/^HTTP\/1\.1 431 /);
    expect((await page.ask({ path: '/' })).status).toBe(200);
  });
});

describe('every answer', () => {
  const asked: readonly (Request & { status: number })[] = [
    { path: '/', status: 200 },
    { path: '/base.css', status: 200 },
    { path: '/icon.svg', status: 200 },
    { path: '/api/live', headers: { Authorization: undefined }, status: 401 },
    { path: '/', headers: { Host: 'evil.example' }, status: 403 },
    { path: '/nowhere', status: 404 },
    { path: '/api/do/create', status: 405 },
    { path: '/api/do/create', method: 'POST', body: '{}', status: 415 },
  ];
  it.each(asked)(
    '$status at $path forbids scripts of others, frames, sniffing, caches and referrers',
    async ({ status, ...request }) => {
      const page = await startTestPage();
      const answer = await page.ask(request);
      expect(answer.status).toBe(status);
      const { headers } = answer;
      const policy = (headers['content-security-policy'] as string).split('; ');
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).toContain("base-uri 'none'");
      expect(policy).toContain("form-action 'none'");
      expect(policy.join()).not.toMatch(/unsafe|\*|https?:|data:|blob:/);
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['referrer-policy']).toBe('no-referrer');
      expect(headers['cache-control']).toBe('no-store');
      expect(headers['x-frame-options']).toBe('DENY');
      expect(headers['cross-origin-resource-policy']).toBe('same-origin');
      expect(headers['cross-origin-opener-policy']).toBe('same-origin');
      expect(headers['x-powered-by'] ?? headers.server).toBeUndefined();
    },
  );
});

describe('limits', () => {
  it('cuts off who takes too long to send a request, and serves others meanwhile', async () => {
    const page = await startTestPage({ limits: { headersTimeout: 200, requestTimeout: 400 } });
    const host = `Host: 127.0.0.1:${page.port}\r\n`;
    const slow = [
      page.raw(`GET / HTTP/1.1\r\n${host}X-Slow: `),
      page.raw(
        `POST /api/do/create HTTP/1.1\r\n${host}Origin: ${page.origin}\r\nAuthorization: Bearer ${page.token}\r\n` +
          'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name":',
      ),
    ];
    expect((await page.ask({ path: '/' })).status).toBe(200);
    for (const answer of await Promise.all(slow)) expect(answer).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
    expect(page.host.calls).toEqual([]);
  });

  it('has room again after strangers filled it with idle connections', async () => {
    const page = await startTestPage({ limits: { headersTimeout: 300, maxConnections: 4 } });
    const idle = [1, 2, 3, 4].map(() => page.socket());
    await Promise.all(idle.map((socket) => new Promise((resolve) => socket.on('connect', resolve))));
    const gone = idle.map((socket) => new Promise((resolve) => socket.resume().on('close', resolve)));
    await expect(page.ask({ path: '/' })).rejects.toThrow(/hang up|ECONNRESET/);
    await Promise.all(gone);
    expect((await page.ask({ path: '/' })).status).toBe(200);
  });

  it('listens on 127.0.0.1 alone', async () => {
    const page = await startTestPage();
    const elsewhere = createConnection({ port: page.port, host: '127.0.0.2' });
    const code = await new Promise((resolve) => {
      elsewhere.on('connect', () => resolve('connected'));
      elsewhere.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    elsewhere.destroy();
    expect(code).not.toBe('connected');
  });

  it('says when the port is taken', async () => {
    const page = await startTestPage();
    await expect(startWebPage({ host: new FakePoolHost(), port: page.port })).rejects.toMatchObject({
      code: 'ERR_LISTEN',
      message: expect.stringContaining(`port ${page.port} of 127.0.0.1`),
    });
  });
});
