import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemProblem } from './system-problem.js';

const failureOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};
const eventOf = (emitter: { once(name: 'error', listener: (error: Error) => void): unknown }): Promise<Error> =>
  new Promise((resolve) => void emitter.once('error', resolve));

it('is what the system says of a file, without its code, its call and its path', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-'));
  try {
    expect(systemProblem(failureOf(() => openSync(join(directory, 'a, open'), 'r')))).toBe('no such file or directory');
    expect(systemProblem(failureOf(() => openSync(directory, 'w')))).toBe('illegal operation on a directory');
    expect(systemProblem(failureOf(() => openSync(join(directory, 'x'.repeat(300)), 'w')))).toBe('name too long');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it('has words for sockets, where Node has none', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  const { port } = server.address() as { port: number };
  expect(systemProblem(await eventOf(createServer().listen({ host: '127.0.0.1', port })))).toBe(
    'address already in use',
  );
  await new Promise((resolve) => server.close(resolve));
  expect(systemProblem(await eventOf(createConnection({ host: '127.0.0.1', port })))).toBe('nobody listens there');
  expect(systemProblem(await eventOf(createConnection({ path: `${tmpdir()}/pdata-no-such-socket` })))).toBe(
    'no such file or directory',
  );
});

it('reads what others wrote in the manner of Node, and tells what is no problem of the system', () => {
  expect(systemProblem(new Error('ENOSPC: no space left on device, fdatasync'))).toBe('no space left on device');
  expect(systemProblem(new Error('EIO: i/o error'))).toBe('i/o error');
  expect(systemProblem(new AggregateError([new Error('EIO: i/o error')], 'all failed'))).toBe('i/o error');
  expect(systemProblem(new TypeError('x is not a function'))).toBeUndefined();
  expect(systemProblem(Object.assign(new Error('bad port'), { code: 'ERR_SOCKET_BAD_PORT' }))).toBeUndefined();
  expect(systemProblem('EIO: i/o error')).toBeUndefined();
});
