import { existsSync } from 'node:fs';
import { DeviceError, MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { RawClient, requestBytes } from '../../test/raw-client.js';
import { MIB, patternBytes, serve, until } from '../../test/served.js';
import { COMMAND, NBD_ERROR, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import { encodeInfoRequest, encodeOption } from '../protocol/options.js';

const { READ, WRITE, FLUSH } = COMMAND;

it('ends at once with clients in every state: silent, haggling, idle, gone, in the middle of a message (CVE-2024-7409)', async () => {
  const { server, exports } = await serve();
  const silent = await RawClient.connect(server);
  const haggling = await RawClient.haggling(server);
  await haggling.agree(OPTION.STRUCTURED_REPLY);
  await haggling.setContexts('disk', ['base:allocation']);
  const halfOption = await RawClient.haggling(server);
  halfOption.send(encodeOption(OPTION.GO, Buffer.alloc(30)).subarray(0, 20));
  const halfOpen = await RawClient.haggling(server);
  halfOpen.socket.end();
  const idle = await RawClient.transmitting(server);
  const halfHeader = await RawClient.transmitting(server);
  halfHeader.send(requestBytes({ command: FLUSH }).subarray(0, 11));
  const halfPayload = await RawClient.transmitting(server);
  halfPayload.send(requestBytes({ command: WRITE, payload: patternBytes(5000) }).subarray(0, 3000));
  const gone = await RawClient.transmitting(server);
  gone.close();
  await until(() => (server.clients.find(({ id }) => id === 7)?.bytesReceived ?? 0) === 3000);
  const started = performance.now();
  await server.close({ graceMs: 60_000 });
  expect(performance.now() - started).toBeLessThan(30_000); // far below the grace: nobody was waited for
  for (const client of [silent, haggling, halfOption, halfOpen, idle, halfHeader, halfPayload])
    await client.readToEnd();
  expect(server.clients).toEqual([]);
  expect(exports.nrReleased).toBe(exports.nrOpened);
  const { address } = server;
  expect('socketPath' in address && existsSync(address.socketPath)).toBe(false);
});

it('accepts nobody any more', async () => {
  const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
  const { server } = await serve({ device });
  const client = await RawClient.transmitting(server);
  const held = device.hold('flush');
  client.request({ command: FLUSH });
  await held.untilHeld();
  const closing = server.close();
  await expect(RawClient.connect(server)).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  held.release();
  await closing;
});

it.each([{ structured: false }, { structured: true }])(
  'finishes and answers what is in flight, and refuses what comes after with ESHUTDOWN (%o)',
  async (mode) => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server, exports } = await serve({ device });
    const client = await RawClient.transmitting(server, mode);
    const held = device.hold('write');
    client.request({ command: WRITE, payload: patternBytes(512), cookie: 1 });
    await held.untilHeld();
    const closing = server.close();
    expect(await client.tried({ command: READ, length: 512 })).toBe(NBD_ERROR.ESHUTDOWN);
    expect(await client.tried({ command: WRITE, payload: patternBytes(5000) })).toBe(NBD_ERROR.ESHUTDOWN);
    expect(await client.tried({ command: FLUSH })).toBe(NBD_ERROR.ESHUTDOWN);
    expect(exports.nrReleased).toBe(0);
    held.release();
    expect(await client.error()).toBe(0);
    expect(await client.readToEnd()).toHaveLength(0);
    await closing;
    expect(exports.nrReleased).toBe(1);
    expect(device.nrDone('flush')).toBe(1); // what was written is durable before the export is let go
  },
);

it('answers an option that is being worked on, and no other', async () => {
  const { server, exports } = await serve();
  let list: (() => void) | undefined;
  exports.list = () => new Promise((resolve) => (list = () => resolve([{ name: 'disk' }])));
  const client = await RawClient.haggling(server);
  client.send(encodeOption(OPTION.LIST));
  client.send(encodeOption(OPTION.GO, encodeInfoRequest({ name: 'disk', infoTypes: [] })));
  await until(() => list !== undefined);
  const closing = server.close();
  list?.();
  expect((await client.optionReplies()).at(-1)?.type).toBe(OPTION_REPLY.ACK);
  expect(await client.readToEnd()).toHaveLength(0);
  await closing;
  expect(exports.nrOpened).toBe(0);
});

it('lets a GO that is being worked on begin, and ends it', async () => {
  const { server, exports } = await serve();
  let open: () => void = () => {};
  let hasAsked = false;
  const openNow = exports.open.bind(exports);
  exports.open = (name) => {
    hasAsked = true;
    return new Promise((resolve) => (open = () => resolve(openNow(name))));
  };
  const client = await RawClient.haggling(server);
  client.send(encodeOption(OPTION.GO, encodeInfoRequest({ name: 'disk', infoTypes: [] })));
  await until(() => hasAsked);
  const closing = server.close();
  open();
  expect((await client.optionReplies()).at(-1)?.type).toBe(OPTION_REPLY.ACK);
  expect(await client.readToEnd()).toHaveLength(0); // transmission ends as it begins
  await closing;
  expect(exports.nrReleased).toBe(exports.nrOpened);
});

it('cuts off after the grace a client that does not fetch its answers', async () => {
  const device = new MemoryDataDevice({ size: 16 * MIB });
  const { server, exports } = await serve({ device });
  const client = await RawClient.transmitting(server);
  client.socket.pause();
  client.request({ command: READ, length: 16 * MIB });
  await until(() => server.clients[0]?.nrInFlight === 1);
  await server.close({ graceMs: 30 });
  expect(exports.nrReleased).toBe(1);
});

it('says which export could not be flushed, and resolves otherwise', async () => {
  const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }), [{ operation: 'flush', nth: 1 }]);
  const { server, exports, logged } = await serve({ device });
  const client = await RawClient.transmitting(server);
  expect(await client.tried({ command: WRITE, payload: patternBytes(512) })).toBe(0);
  const error = await server.close().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AggregateError);
  expect((error as AggregateError).errors[0]).toBeInstanceOf(DeviceError);
  expect(logged.join()).toContain('export "disk" was not released well');
  expect(exports.nrReleased).toBe(1);
});

it('may be asked twice', async () => {
  const { server } = await serve();
  const first = server.close();
  expect(server.close()).toBe(first);
  await first;
});
