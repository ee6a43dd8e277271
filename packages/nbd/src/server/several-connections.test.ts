import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice, RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { RawClient } from '../../test/raw-client.js';
import { expectBytes, MIB, patternBytes, serve, until } from '../../test/served.js';
import { COMMAND, COMMAND_FLAG, OPTION } from '../protocol/constants.js';
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../protocol/options.js';

const { READ, WRITE, FLUSH, DISC } = COMMAND;

describe('several connections to one export', () => {
  it('see at once what one of them wrote', async () => {
    const { server, exports } = await serve();
    const [a, b] = [await RawClient.transmitting(server), await RawClient.transmitting(server, { structured: true })];
    const payload = patternBytes(4096, 9);
    expect(await a.tried({ command: WRITE, offset: 512, payload })).toBe(0);
    expectBytes(await b.readData(512, 4096), payload);
    expect(exports.nrOpened).toBe(1);
  });

  it('make durable by a FLUSH on any of them what was answered on all', async () => {
    const device = new RecordingDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server } = await serve({ device });
    const [a, b] = [await RawClient.transmitting(server), await RawClient.transmitting(server)];
    expect(await a.tried({ command: WRITE, offset: 0, payload: patternBytes(512, 1) })).toBe(0);
    expect(await b.tried({ command: WRITE, offset: 512, payload: patternBytes(512, 2) })).toBe(0);
    expect(await b.tried({ command: FLUSH })).toBe(0);
    expect(device.operations.map(({ op }) => op)).toEqual(['write', 'write', 'flush']);
    const left = device.crash({ seed: 1, lands: 'none' });
    const image = new Uint8Array(MIB);
    await left.read(0, image);
    expectBytes(image.subarray(0, 512), patternBytes(512, 1));
    expectBytes(image.subarray(512, 1024), patternBytes(512, 2));
  });

  it('keep FUA writes through a loss of power, without a FLUSH', async () => {
    const device = new RecordingDataDevice(new MemoryDataDevice({ size: MIB }));
    const client = await RawClient.transmitting((await serve({ device })).server);
    const payload = patternBytes(512, 1);
    expect(await client.tried({ command: WRITE, flags: COMMAND_FLAG.FUA, offset: 1024, payload })).toBe(0);
    const left = device.crash({ seed: 1, lands: 'none' });
    const image = new Uint8Array(MIB);
    await left.read(0, image);
    expectBytes(image.subarray(1024, 1536), payload);
  });

  it('do not hold each other up', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server } = await serve({ device });
    const [a, b] = [await RawClient.transmitting(server), await RawClient.transmitting(server)];
    const held = device.hold('read', { which: (offset) => offset === 0 });
    a.request({ command: READ, offset: 0, length: 512 });
    await held.untilHeld();
    expect(await b.readData(512, 512)).toHaveLength(512);
    held.release();
    expect(await a.read(16 + 512)).toHaveLength(528);
  });
});

describe('an export', () => {
  it('is opened by the first client that needs it, and released after the last', async () => {
    const { server, exports } = await serve();
    const a = await RawClient.haggling(server);
    await a.agree(OPTION.LIST);
    expect(exports.nrOpened).toBe(0);
    await a.agree(OPTION.INFO, encodeInfoRequest({ name: 'disk', infoTypes: [] }));
    expect([exports.nrOpened, exports.nrReleased]).toEqual([1, 1]);
    await a.go();
    const b = await RawClient.transmitting(server);
    expect([exports.nrOpened, exports.nrReleased]).toEqual([2, 1]);
    a.request({ command: DISC });
    await a.readToEnd();
    await until(() => server.clients.length === 1);
    expect([exports.nrOpened, exports.nrReleased]).toEqual([2, 1]);
    b.close(); // without a word, as a crash would
    await until(() => server.clients.length === 0);
    expect([exports.nrOpened, exports.nrReleased]).toEqual([2, 2]);
  });

  it('is released when a client that selected contexts of it leaves', async () => {
    const { server, exports } = await serve();
    const client = await RawClient.haggling(server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.setContexts('disk', ['base:allocation']);
    expect([exports.nrOpened, exports.nrReleased]).toEqual([1, 0]);
    await client.agree(OPTION.SET_META_CONTEXT, encodeMetaContextRequest({ name: 'disk', queries: [] }));
    client.close();
    await until(() => server.clients.length === 0);
    expect(exports.nrReleased).toBe(exports.nrOpened);
  });

  it('is flushed before it is released, if something was written since the last flush', async () => {
    const device = new RecordingDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server } = await serve({ device });
    const reader = await RawClient.transmitting(server);
    await reader.readData(0, 512);
    reader.close();
    await until(() => server.clients.length === 0);
    expect(device.operations).toHaveLength(0);
    const writer = await RawClient.transmitting(server);
    await writer.tried({ command: WRITE, payload: patternBytes(512) });
    writer.close();
    await until(() => server.clients.length === 0);
    expect(device.operations.map(({ op }) => op)).toEqual(['write', 'flush']);
  });

  it('waits with its release for what is in flight when its client is killed', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server, exports } = await serve({ device });
    const client = await RawClient.transmitting(server);
    const held = device.hold('write');
    client.request({ command: WRITE, payload: patternBytes(512) });
    await held.untilHeld();
    client.close();
    const other = await RawClient.haggling(server);
    await other.agree(OPTION.LIST);
    expect(exports.nrReleased).toBe(0);
    held.release();
    await until(() => exports.nrReleased === 1);
  });

  it('that comes back while it is being released is opened anew', async () => {
    const { server, exports } = await serve();
    let release: (() => void) | undefined;
    const open = exports.open.bind(exports);
    exports.open = async (name) => {
      const opened = await open(name);
      return opened && { ...opened, release: () => new Promise((resolve) => (release = resolve)) };
    };
    const releasing = async (): Promise<() => void> => {
      await until(() => release !== undefined);
      const found = release ?? (() => {});
      release = undefined;
      return found;
    };
    (await RawClient.transmitting(server)).close();
    const releaseFirst = await releasing();
    const second = await RawClient.haggling(server);
    const going = second.go();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(exports.nrOpened).toBe(1);
    releaseFirst();
    expect(await going).toMatchObject({ size: MIB });
    expect(exports.nrOpened).toBe(2);
    second.close();
    (await releasing())();
    await until(() => server.clients.length === 0);
  });

  it.each([OPTION.SET_META_CONTEXT, OPTION.GO, OPTION.INFO])(
    'is released when its client left while option %i was opening it',
    async (option) => {
      const { server, exports } = await serve();
      const client = await RawClient.haggling(server);
      await client.agree(OPTION.STRUCTURED_REPLY);
      const open = exports.open.bind(exports);
      let opening: (() => void) | undefined;
      exports.open = (name) => new Promise((resolve) => (opening = () => resolve(open(name))));
      const setRequest = encodeMetaContextRequest({ name: 'disk', queries: ['base:allocation'] });
      const goRequest = encodeInfoRequest({ name: 'disk', infoTypes: [] });
      client.send(encodeOption(option, option === OPTION.SET_META_CONTEXT ? setRequest : goRequest));
      await until(() => opening !== undefined);
      client.close();
      await new Promise((resolve) => setTimeout(resolve, 10));
      opening?.();
      await until(() => server.clients.length === 0);
      expect([exports.nrOpened, exports.nrReleased]).toEqual([1, 1]);
    },
  );

  it('that failed to open can be opened later', async () => {
    const { server, exports } = await serve();
    const open = exports.open.bind(exports);
    exports.open = async () => {
      throw new Error('not yet');
    };
    const client = await RawClient.haggling(server);
    await expect(client.go()).rejects.toThrow('GO failed');
    exports.open = open;
    expect(await client.go()).toMatchObject({ size: MIB });
  });

  it('of many is the one that was asked for', async () => {
    const device = (seed: number) => new MemoryDataDevice({ bytes: patternBytes(65_536, seed) });
    const { server } = await serve({
      exports: { a: { device: device(1) }, b: { device: device(2) }, 'c d/é': { device: device(3) } },
    });
    for (const [name, seed] of [
      ['a', 1],
      ['b', 2],
      ['c d/é', 3],
    ] as const) {
      const client = await RawClient.transmitting(server, { name });
      expectBytes(await client.readData(0, 65_536), patternBytes(65_536, seed));
    }
  });
});

it('keeps a write that is not whole sectors apart from others to its sectors, on any connection', async () => {
  const device = new FaultyDataDevice(new MemoryDataDevice({ bytes: new Uint8Array(4096).fill(1) }));
  const { server } = await serve({ device });
  const [a, b] = [await RawClient.transmitting(server), await RawClient.transmitting(server)];
  const held = device.hold('write');
  // a's write waits in the device; b's read-modify-write of the same sector must not read before it is done.
  a.request({ command: WRITE, offset: 0, payload: new Uint8Array(512).fill(2) });
  await held.untilHeld();
  b.request({ command: WRITE, offset: 100, payload: new Uint8Array(10).fill(3) });
  b.request({ command: WRITE, offset: 200, payload: new Uint8Array(10).fill(4) });
  b.request({ command: READ, offset: 1024, length: 512, cookie: 3 }); // elsewhere: goes ahead
  expect(await b.simpleReply()).toEqual({ error: 0, cookie: 3 });
  await b.read(512);
  held.release();
  expect([await a.error(), await b.error(), await b.error()]).toEqual([0, 0, 0]);
  const sector = await a.readData(0, 512);
  const expected = new Uint8Array(512).fill(2).fill(3, 100, 110).fill(4, 200, 210);
  expectBytes(sector, expected);
});
