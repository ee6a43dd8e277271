/**
 * What one client may cost the server: pieces of any size, thousands of requests, answers that nobody fetches, silence.
 */
import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { RawClient, requestBytes } from '../../test/raw-client.js';
import { expectBytes, MIB, patternBytes, serve, until } from '../../test/served.js';
import { COMMAND, COMMAND_FLAG, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../protocol/options.js';

const { READ, WRITE, FLUSH, BLOCK_STATUS } = COMMAND;

/** Sends `bytes` in two pieces that arrive apart. */
async function sendSplit(client: RawClient, bytes: Buffer, at: number): Promise<void> {
  await new Promise((resolve) => client.socket.write(bytes.subarray(0, at), resolve));
  await new Promise((resolve) => setTimeout(resolve, 1));
  client.send(bytes.subarray(at));
}

describe('messages in pieces', () => {
  const goRequest = encodeInfoRequest({ name: 'disk', infoTypes: [3] });
  const flags = Buffer.from([0, 0, 0, 3]);
  const handshake = Buffer.concat([
    flags,
    encodeOption(OPTION.STRUCTURED_REPLY),
    encodeOption(OPTION.SET_META_CONTEXT, encodeMetaContextRequest({ name: 'disk', queries: ['base:allocation'] })),
    encodeOption(99, Buffer.alloc(9)),
    encodeOption(OPTION.GO, goRequest),
    requestBytes({ command: FLUSH, cookie: 77 }),
  ]);

  it('are understood wherever the handshake is split', async () => {
    const { server } = await serve();
    const inOnePiece = await RawClient.connect(server);
    inOnePiece.send(handshake);
    const expected = await inOnePiece.read(18 + 20 + (20 + 4 + 15) + 20 + 20);
    const rest = await replyTo(inOnePiece);
    for (let at = 1; at < handshake.length; at++) {
      const client = await RawClient.connect(server);
      await sendSplit(client, handshake, at);
      expect(Buffer.compare(await client.read(expected.length), expected), `split at ${at}`).toBe(0);
      expect(await replyTo(client), `split at ${at}`).toEqual(rest);
      client.close();
    }

    /** The answers to option 99 and GO, in outline, and the cookie of the reply to FLUSH. */
    async function replyTo(client: RawClient): Promise<unknown> {
      // What was read so far ends inside the text of the refusal of option 99; its length was read with it.
      const text = await client.read(26);
      const go = await client.optionReplies();
      return [text.toString(), go.map(({ type, data }) => [type, data.toString('hex')]), await client.simpleReply()];
    }
  });

  it('are understood byte by byte', async () => {
    const client = await RawClient.connect((await serve()).server);
    await client.read(18);
    await client.sendByByte(handshake);
    const types: number[] = [];
    for (let nr = 0; nr < 4; nr++) types.push((await client.optionReplies()).at(-1)?.type ?? 0);
    expect(types).toEqual([OPTION_REPLY.ACK, OPTION_REPLY.ACK, OPTION_REPLY.ERR_UNSUP, OPTION_REPLY.ACK]);
    expect(await client.simpleReply()).toEqual({ error: 0, cookie: 77 });
  });

  it.each([{ extended: false }, { extended: true }])(
    'are understood wherever requests are split (%o)',
    async ({ extended }) => {
      const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
      const client = await RawClient.transmitting((await serve({ device })).server, {
        extended,
        structured: true,
        contexts: ['base:allocation'],
      });
      const refusedFlags = COMMAND_FLAG.FAST_ZERO | (extended ? COMMAND_FLAG.PAYLOAD_LEN : 0);
      const stream = Buffer.concat([
        requestBytes({ command: WRITE, offset: 512, payload: patternBytes(40, 5), cookie: 1 }, extended),
        requestBytes(
          { command: WRITE, flags: refusedFlags, offset: 512, payload: patternBytes(30, 6), cookie: 2 },
          extended,
        ),
        requestBytes({ command: BLOCK_STATUS, length: 4096, cookie: 3 }, extended),
        requestBytes({ command: FLUSH, cookie: 4 }, extended),
      ]);
      for (let at = 1; at < stream.length; at++) {
        await sendSplit(client, stream, at);
        const errors: number[] = [];
        while (errors.length < 4) errors.push(await client.error());
        expect(errors.sort(), `split at ${at}`).toEqual([0, 0, 0, 22]);
      }
      expectBytes(await client.readData(512, 40), patternBytes(40, 5));
    },
  );

  it('are understood when a payload comes in many', async () => {
    const client = await RawClient.transmitting((await serve()).server);
    const payload = patternBytes(200_000, 8);
    const request = requestBytes({ command: WRITE, offset: 700, payload });
    for (let at = 0; at < request.length; at += 6007) {
      await new Promise((resolve) => client.socket.write(request.subarray(at, at + 6007), resolve));
      await new Promise(setImmediate);
    }
    expect(await client.error()).toBe(0);
    expectBytes(await client.readData(700, 200_000), payload);
  });
});

describe('a thousand requests in one piece', () => {
  it('are all answered, each once', async () => {
    const client = await RawClient.transmitting((await serve({ limits: { requestsInFlight: 50 } })).server);
    const requests: Buffer[] = [];
    for (let cookie = 0; cookie < 1000; cookie++) {
      const offset = (cookie % 100) * 4096;
      if (cookie % 3 === 0)
        requests.push(requestBytes({ command: WRITE, cookie, offset, payload: patternBytes(4096, cookie) }));
      else if (cookie % 3 === 1) requests.push(requestBytes({ command: FLUSH, cookie }));
      else requests.push(requestBytes({ command: READ, cookie, offset, length: 512 }));
    }
    client.send(Buffer.concat(requests));
    const answered = new Set<number>();
    while (answered.size < 1000) {
      const { error, cookie } = await client.simpleReply();
      expect(error).toBe(0);
      expect(answered.has(cookie)).toBe(false);
      answered.add(cookie);
      if (cookie % 3 === 2) await client.read(512);
    }
    expect(client.nrUnread).toBe(0);
  });

  it('are in flight no more than the limit says, and every one of them in the end', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const { server } = await serve({ device, limits: { requestsInFlight: 10 } });
    const client = await RawClient.transmitting(server);
    const held = device.hold('write');
    const one = (cookie: number): Buffer =>
      requestBytes({ command: WRITE, cookie, offset: 512 * cookie, payload: patternBytes(512) });
    client.send(Buffer.concat(Array.from({ length: 1000 }, (_, cookie) => one(cookie))));
    await held.untilHeld(10);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(held.nrHeld).toBe(10);
    expect(server.clients).toMatchObject([{ nrInFlight: 10 }]);
    held.release();
    for (let nr = 0; nr < 1000; nr++) expect((await client.simpleReply()).error).toBe(0);
    expect(device.nrDone('write')).toBe(1000);
  });
});

describe('memory', () => {
  it('is bounded with a client that asks for much and reads nothing', { timeout: 30_000 }, async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: 8 * MIB }));
    const { server } = await serve({ device, limits: { bytesInFlight: 16 * MIB } });
    const greedy = await RawClient.transmitting(server);
    greedy.socket.pause();
    const read = requestBytes({ command: READ, length: 4 * MIB });
    const many = Buffer.concat(new Array<Buffer>(5000).fill(read)); // 20 GB, if it were served
    greedy.send(many);
    // What the device was asked for can be counted: 4 in flight, and what the system's socket buffers took.
    await until(() => device.nrDone('read') >= 4);
    const other = await RawClient.transmitting(server);
    for (let nr = 0; nr < 200; nr++) expect(await other.readData(0, 65_536)).toHaveLength(65_536);
    const nrForGreedy = device.nrDone('read') - 200;
    expect(nrForGreedy).toBeLessThanOrEqual(8);
    expect(server.clients[0]?.nrInFlight).toBeLessThanOrEqual(4);
    // It is served as soon as it reads.
    greedy.socket.resume();
    expect(await greedy.simpleReply()).toMatchObject({ error: 0 });
    await greedy.read(4 * MIB);
    greedy.close();
  });

  it('is bounded with a client that lists exports for ever and reads nothing', async () => {
    const { server, exports } = await serve();
    let nrLists = 0;
    const list = Array.from({ length: 5000 }, (_, nr) => ({ name: `export ${nr}`, description: 'x'.repeat(100) }));
    exports.list = async () => {
      nrLists++;
      return list;
    };
    const greedy = await RawClient.haggling(server);
    greedy.socket.pause();
    for (let nr = 0; nr < 1000; nr++) greedy.send(encodeOption(OPTION.LIST));
    const other = await RawClient.transmitting(server);
    for (let nr = 0; nr < 100; nr++) await other.readData(0, 512);
    expect(nrLists).toBeLessThan(10);
    greedy.close();
  });

  it('is shared: above the total, each connection has one request at a time', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: 4 * MIB }));
    const { server } = await serve({ device, limits: { totalBytesInFlight: 2 * MIB } });
    const clients = [
      await RawClient.transmitting(server),
      await RawClient.transmitting(server),
      await RawClient.transmitting(server),
    ];
    const held = device.hold('read');
    for (const client of clients) {
      for (let nr = 0; nr < 4; nr++) client.request({ command: READ, length: MIB });
    }
    await held.untilHeld(4);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(server.clients.map(({ nrInFlight }) => nrInFlight).sort()).toEqual([1, 1, 2]);
    held.release();
    for (const client of clients) {
      for (let nr = 0; nr < 4; nr++) {
        expect(await client.simpleReply()).toMatchObject({ error: 0 });
        await client.read(MIB);
      }
    }
  });

  it('lets a single request through that is larger than the limit', async () => {
    const { server } = await serve({ limits: { bytesInFlight: 65_536, totalBytesInFlight: 65_536 } });
    const client = await RawClient.transmitting(server);
    expectBytes(await client.readData(0, MIB), patternBytes(MIB));
    expect(await client.tried({ command: WRITE, payload: patternBytes(MIB, 4) })).toBe(0);
    expectBytes(await client.readData(0, MIB), patternBytes(MIB, 4));
  });
});

describe('a client is cut off', () => {
  it('when there are too many, and the next is served when one has left', async () => {
    const { server, logged } = await serve({ limits: { connections: 2 } });
    const [a] = [await RawClient.transmitting(server), await RawClient.transmitting(server)];
    const third = await RawClient.connect(server);
    expect(await third.readToEnd()).toHaveLength(0);
    expect(logged).toEqual(['a client was turned away: there are 2 already']);
    a?.close();
    await until(() => server.clients.length === 1);
    expect(await (await RawClient.transmitting(server)).tried({ command: FLUSH })).toBe(0);
  });

  it.each([
    { where: 'before its flags', bytes: [] },
    { where: 'in the middle of its flags', bytes: [Buffer.alloc(2)] },
    { where: 'between options', bytes: [Buffer.from([0, 0, 0, 3]), encodeOption(OPTION.LIST)] },
    {
      where: 'in the middle of an option',
      bytes: [Buffer.from([0, 0, 0, 3]), encodeOption(OPTION.GO, Buffer.alloc(90)).subarray(0, 50)],
    },
    {
      where: 'in the middle of dropped data',
      bytes: [Buffer.from([0, 0, 0, 3]), encodeOption(99, Buffer.alloc(MIB)).subarray(0, 90_000)],
    },
  ])('when it falls silent in the handshake, $where', async ({ bytes }) => {
    const { server, logged } = await serve({ limits: { handshakeMs: 40 } });
    const client = await RawClient.connect(server);
    for (const one of bytes) client.send(one);
    await client.readToEnd();
    await until(() => server.clients.length === 0);
    expect(logged).toEqual(['client 1: the handshake took too long']);
  });

  it.each([
    { where: 'a header', bytes: requestBytes({ command: FLUSH }).subarray(0, 27) },
    { where: 'a payload', bytes: requestBytes({ command: WRITE, payload: patternBytes(5000) }).subarray(0, 4000) },
    {
      where: 'a refused payload',
      bytes: requestBytes({ command: WRITE, flags: 64, payload: patternBytes(500) }).subarray(0, 40),
    },
  ])('when it falls silent in the middle of $where', async ({ bytes }) => {
    const { server, exports, logged } = await serve({ limits: { stallMs: 40 } });
    const client = await RawClient.transmitting(server);
    client.send(bytes);
    expect(await client.readToEnd()).toHaveLength(0);
    await until(() => exports.nrReleased === 1);
    expect(logged).toEqual(['client 1: silent in the middle of a request']);
  });

  it('but not when it is silent between requests, or waits for a slow device, or is slow to read', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: 8 * MIB }));
    const { server } = await serve({ device, limits: { stallMs: 20, handshakeMs: 20, requestsInFlight: 2 } });
    const client = await RawClient.transmitting(server);
    const held = device.hold('write');
    for (let nr = 0; nr < 5; nr++) client.request({ command: WRITE, payload: patternBytes(102_400) });
    await held.untilHeld(2);
    await new Promise((resolve) => setTimeout(resolve, 120));
    held.release();
    for (let nr = 0; nr < 5; nr++) expect(await client.error()).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 120));
    client.socket.pause();
    for (let nr = 0; nr < 5; nr++) client.request({ command: READ, length: 4 * MIB });
    await new Promise((resolve) => setTimeout(resolve, 120));
    client.socket.resume();
    for (let nr = 0; nr < 5; nr++) {
      expect((await client.simpleReply()).error).toBe(0);
      await client.read(4 * MIB);
    }
  });
});

it('leaves no part of a WRITE whose client was killed in the middle of it, and goes on', async () => {
  const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
  const { server, exports } = await serve({ device });
  const client = await RawClient.transmitting(server);
  client.send(requestBytes({ command: WRITE, offset: 4096, payload: new Uint8Array(200_000) }).subarray(0, 150_000));
  await until(() => (server.clients[0]?.bytesReceived ?? 0) >= 150_000);
  client.close();
  await until(() => exports.nrReleased === 1);
  expectBytes(device.bytes, patternBytes(MIB));
  expect(await (await RawClient.transmitting(server)).tried({ command: FLUSH })).toBe(0);
});
