import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RawClient } from '../../test/raw-client.js';
import { MIB, serve, testDirectory } from '../../test/served.js';
import { NbdListenError } from './listening.js';

let umask: number;
beforeEach(() => {
  umask = process.umask(0o022);
});
afterEach(() => {
  expect(process.umask(umask)).toBe(0o022); // the server puts it back
});

it('makes the file of a Unix socket its owner’s alone, and removes it on close', async () => {
  const socketPath = join(testDirectory(), 's');
  const { server } = await serve({ listen: { socketPath } });
  expect(server.address).toEqual({ socketPath });
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  await server.close();
  expect(existsSync(socketPath)).toBe(false);
});

it('takes over the socket of a server that died', async () => {
  const socketPath = join(testDirectory(), 's');
  const dead = new Worker(
    `const { createServer } = require('node:net');
     createServer().listen(${JSON.stringify(socketPath)}, () => {
       require('node:fs').linkSync(${JSON.stringify(socketPath)}, ${JSON.stringify(`${socketPath}2`)});
       require('node:worker_threads').parentPort.postMessage('listening');
     });`,
    { eval: true },
  );
  await new Promise((resolve) => dead.once('message', resolve));
  await dead.terminate();
  const left = existsSync(socketPath) ? socketPath : `${socketPath}2`; // a worker that ends may remove the first name
  const { server } = await serve({ listen: { socketPath: left } });
  expect(await (await RawClient.haggling(server)).go()).toMatchObject({ size: MIB });
});

it('leaves the socket of a server that lives alone', async () => {
  const { server } = await serve();
  const { address } = server;
  await expect(serve({ listen: address })).rejects.toThrow(/another server is listening there; stop it or use another/);
  expect(await (await RawClient.haggling(server)).go()).toMatchObject({ size: MIB });
});

it('removes no file that is not a socket', async () => {
  const socketPath = join(testDirectory(), 's');
  writeFileSync(socketPath, 'precious');
  await expect(serve({ listen: { socketPath } })).rejects.toThrow(/a file that is not a socket is there/);
  expect(statSync(socketPath).size).toBe(8);
});

it('says what is wrong with a path, in one sentence', async () => {
  const directory = testDirectory();
  writeFileSync(join(directory, 'file'), '');
  mkdirSync(join(directory, 'dir'));
  const refusal = async (socketPath: string): Promise<NbdListenError> => {
    const error = await serve({ listen: { socketPath } }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(NbdListenError);
    return error as NbdListenError;
  };
  expect((await refusal(join(directory, 'missing', 's'))).message).toMatch(/: there is no directory .*\/missing$/);
  expect((await refusal(join(directory, 'file', 's'))).message).toMatch(/file is not a directory$/);
  expect((await refusal(join(directory, 'dir'))).message).toMatch(/not a socket is there/);
  expect((await refusal(join(directory, 'x'.repeat(120)))).message).toMatch(/at most 107 bytes; use a shorter one$/);
  expect(await refusal(join(directory, 'dir'))).toMatchObject({ code: 'ERR_NBD_LISTEN' });
});

it('listens on a TCP port of this machine alone, unless told otherwise', async () => {
  const { server } = await serve({ listen: { port: 0 } });
  const { address } = server;
  expect(address).toMatchObject({ host: '127.0.0.1' });
  expect((address as { port: number }).port).toBeGreaterThan(0);
  expect(await (await RawClient.haggling(server)).go()).toMatchObject({ size: MIB });
  expect(server.clients).toMatchObject([{ peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) }]);
});

it('says that a port is in use, out of range, or not of this machine', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { port: number };
  await expect(serve({ listen: { port } })).rejects.toThrow(
    `cannot listen on 127.0.0.1:${port}: another program is listening there; stop it or use another port or path`,
  );
  other.close();
  await expect(serve({ listen: { port: 65_536 } })).rejects.toThrow(/a port is a number from 0 to 65535/);
  await expect(serve({ listen: { host: '192.0.2.1', port: 0 } })).rejects.toThrow(/this machine has no such address/);
});

it('refuses limits that make no sense', async () => {
  await expect(serve({ limits: { connections: 0 } })).rejects.toThrow('the limit "connections" is 0');
  await expect(serve({ limits: { payload: 512 } })).rejects.toThrow('the limit "payload" is 512');
  await expect(serve({ limits: { handshakeMs: Number.NaN } })).rejects.toThrow('the limit "handshakeMs" is NaN');
  await expect(serve({ limits: { typo: 1 } as never })).rejects.toThrow('there is no limit "typo"');
});
