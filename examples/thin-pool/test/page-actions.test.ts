/** What the buttons send: bodies that are refused, actions that are done, and the pool's refusals as sentences. */
import { describe, expect, it } from 'vitest';
import { MAX_BODY_SIZE } from '../src/web/body.js';
import { startTestPage } from './page-client.js';

const JSON_TYPE = { 'Content-Type': 'application/json' };
const create = { method: 'POST', path: '/api/do/create' };

describe('a body', () => {
  it.each([
    undefined,
    '',
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/json; charset=latin1',
    'text/plain; application/json',
    'application/json-seq',
  ])('of type %s is refused: forms of other sites can send it', async (type) => {
    const page = await startTestPage();
    const answer = await page.ask({ ...create, headers: { 'Content-Type': type }, body: '{"name":"a","size":512}' });
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([415, 'ERR_NOT_JSON']);
    expect(page.host.calls).toEqual([]);
  });

  it('that is encoded further is refused', async () => {
    const page = await startTestPage();
    const answer = await page.ask({ ...create, headers: { ...JSON_TYPE, 'Content-Encoding': 'gzip' }, body: '{}' });
    expect(answer.status).toBe(415);
  });

  it('that announces more than the limit is refused before it is read', async () => {
    const page = await startTestPage();
    const headers = Object.entries({ ...page.headers, ...JSON_TYPE, 'Content-Length': '1000000000000' });
    const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const answer = await page.raw(`POST /api/do/create HTTP/1.1\r\n${head}\r\n{`);
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toMatch(/\r\nConnection: close\r\n/i);
  });

  it('that turns out larger than the limit is cut off', async () => {
    const page = await startTestPage();
    const large = JSON.stringify({ name: 'x'.repeat(MAX_BODY_SIZE), size: 512 });
    const headers = { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' };
    expect((await page.ask({ ...create, headers, body: large })).status).toBe(413);
    expect(page.host.calls).toEqual([]);
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '"text"',
    '7',
    '{"name":"a","size":512}{"name":"b"}',
    "{'name':'a','size':512}",
    '['.repeat(16_000),
  ])('that is not one JSON object is refused: %s', async (body) => {
    const page = await startTestPage();
    const answer = await page.ask({ ...create, headers: JSON_TYPE, body });
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([400, 'ERR_NOT_JSON']);
    expect(page.host.calls).toEqual([]);
  });

  it('that is not UTF-8 is refused', async () => {
    const page = await startTestPage();
    const body = Buffer.from('{"name":"\xff","size":512}', 'latin1');
    expect((await page.ask({ ...create, headers: JSON_TYPE, body })).status).toBe(400);
  });

  it('has no place in a request that reads', async () => {
    const page = await startTestPage();
    for (const path of ['/', '/api/live', '/api/map?volume=a']) {
      expect((await page.ask({ path, headers: { 'Content-Length': '2' }, body: '{}' })).status).toBe(400);
    }
  });
});

describe('a request', () => {
  it.each([
    ['create', {}],
    ['create', { name: 'a' }],
    ['create', { name: '', size: 512 }],
    ['create', { name: 7, size: 512 }],
    ['create', { name: ['a'], size: 512 }],
    ['create', { name: 'x'.repeat(1025), size: 512 }],
    ['create', { name: 'a', size: '512' }],
    ['create', { name: 'a', size: 0 }],
    ['create', { name: 'a', size: -512 }],
    ['create', { name: 'a', size: 0.5 }],
    ['create', { name: 'a', size: 2 ** 53 }],
    ['create', { name: 'a', size: null }],
    ['create', { name: 'a', size: 512, origin: 'b' }],
    ['create', JSON.parse('{"__proto__":{"name":"a"},"size":512}')],
    ['snapshot', { origin: 'a', name: 'b' }],
    ['snapshot', { origin: 'a', name: 'b', writable: 1 }],
    ['rename', { name: 'a' }],
    ['resize', { name: 'a', size: 512 }],
    ['revert', { name: 'a', snapshot: null }],
    ['remove', { name: { toString: 'a' } }],
    ['grow', { size: '2147483648' }],
  ])('to %s that is not understood never reaches the pool: %j', async (name, body) => {
    const page = await startTestPage();
    const answer = await page.act(name, body);
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([400, 'ERR_BAD_REQUEST']);
    expect(page.host.calls).toEqual([]);
  });

  it('is done as it was asked for', async () => {
    const page = await startTestPage();
    const requests: [string, object][] = [
      ['create', { name: 'a', size: 1048576 }],
      ['snapshot', { origin: 'a', name: 'a@1', writable: false }],
      ['snapshot', { origin: 'a', name: 'copy', writable: true }],
      ['rename', { name: 'copy', to: '__proto__' }],
      ['resize', { name: 'a', size: 512, shrink: true }],
      ['revert', { name: 'a', snapshot: 'a@1' }],
      ['remove', { name: '__proto__' }],
      ['grow', { size: 2 ** 31 }],
    ];
    for (const [name, body] of requests) {
      const answer = await page.act(name, body);
      expect([name, answer.status, JSON.parse(answer.text)]).toEqual([name, 200, { done: true }]);
    }
    expect(page.host.calls).toEqual([
      'create a 1048576',
      'snapshot a a@1',
      'snapshot a copy writable',
      'rename copy __proto__',
      'resize a 512 shrink',
      'revert a a@1',
      'remove __proto__',
      `grow ${2 ** 31}`,
    ]);
  });

  it('that the pool refuses is answered in the pool’s own words', async () => {
    const page = await startTestPage();
    await page.act('create', { name: 'a', size: 512 });
    page.host.setUsers('a', 2);
    const refused: [string, object, string, string][] = [
      ['create', { name: 'a', size: 512 }, 'ERR_NAME_TAKEN', 'the name "a" is taken'],
      ['remove', { name: 'a' }, 'ERR_IN_USE', '"a" is in use by 2 clients'],
      ['remove', { name: 'b' }, 'ERR_NO_SUCH_VOLUME', 'there is no volume "b"'],
    ];
    for (const [name, body, code, message] of refused) {
      const answer = await page.act(name, body);
      expect([answer.status, JSON.parse(answer.text)]).toEqual([409, { error: { code, message } }]);
    }
    expect(page.logged).toEqual([]);
  });

  it('that fails for a reason nobody foresaw tells strangers nothing, and the log all', async () => {
    const page = await startTestPage();
    page.host.broken = new TypeError('cannot read properties of /secret/path');
    const answer = await page.act('create', { name: 'a', size: 512 });
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([500, 'ERR_INTERNAL']);
    expect(answer.text).not.toContain('secret');
    expect(page.logged.join()).toMatch(/POST \/api\/do\/create: TypeError: cannot read properties of \/secret\/path/);
  });
});
