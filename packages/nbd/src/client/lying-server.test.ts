/** Servers that break the protocol in transmission: each violation is one clear error, and ends the connection. */
import { DeviceError } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import {
  chunk,
  dataChunk,
  doneChunk,
  holeChunk,
  type ScriptedConnection,
  type ScriptedRequest,
  servingServer,
  simpleReply,
  statusChunk,
  USUAL_FLAGS,
  u32,
  u64,
} from '../../test/scripted-server.js';
import { CHUNK, REPLY_FLAG_DONE, TRANSMISSION_FLAG } from '../protocol/constants.js';
import { errorPayload } from '../protocol/replies.js';
import { connectNbd } from './connect.js';
import { NbdProtocolError } from './errors.js';
import type { NbdDataDevice } from './nbd-data-device.js';

type Answer = (request: ScriptedRequest, connection: ScriptedConnection) => Uint8Array | Uint8Array[];
const read = (disk: NbdDataDevice): Promise<unknown> => disk.read(4096, new Uint8Array(1024));
const status = (disk: NbdDataDevice): Promise<unknown> => disk.allocation(4096, 8192);
const oneExtent = (disk: NbdDataDevice): Promise<unknown> =>
  disk.extents('base:allocation', 4096, 8192, { oneExtent: true });
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(9);

const LIES: { lie: string; ask?: typeof read; answer: Answer; structured?: false; says: string | RegExp }[] = [
  {
    lie: 'a READ answered only in part, and called done',
    answer: (r) => dataChunk(r, 4096, bytes(512)),
    says: 'byte 4608 is missing',
  },
  { lie: 'a READ answered with nothing, and called done', answer: (r) => doneChunk(r), says: 'byte 4096 is missing' },
  {
    lie: 'a READ answered with a gap between two chunks',
    answer: (r) => [dataChunk(r, 4096, bytes(512), 0), holeChunk(r, 4609, 511)],
    says: 'byte 4608 is missing',
  },
  {
    lie: 'a READ answered twice in part',
    answer: (r) => [dataChunk(r, 4096, bytes(1024), 0), holeChunk(r, 4700, 10)],
    says: 'was answered twice, the second time by bytes 4700 to 4710',
  },
  { lie: 'data before the range', answer: (r) => dataChunk(r, 4095, bytes(1024)), says: 'which leave its range' },
  { lie: 'data behind the range', answer: (r) => dataChunk(r, 4096, bytes(1025)), says: 'which leave its range' },
  {
    lie: 'data at an offset near 2^64',
    answer: (r) => chunk(r, CHUNK.OFFSET_DATA, Buffer.concat([Buffer.alloc(8, 255), bytes(8)])),
    says: 'which leave its range',
  },
  { lie: 'a hole of 4 GiB', answer: (r) => holeChunk(r, 4096, 2 ** 32 - 1), says: 'which leave its range' },
  { lie: 'a hole of no length', answer: (r) => holeChunk(r, 4096, 0), says: 'a chunk of no data' },
  {
    lie: 'a chunk of data without data',
    answer: (r) => chunk(r, CHUNK.OFFSET_DATA, u64(4096)),
    says: 'payload of 8 bytes',
  },
  {
    lie: 'a payload of almost 4 GiB that never comes, as qemu once could',
    answer: (r) => chunk(r, CHUNK.OFFSET_DATA, u64(4096), { payloadLength: 2 ** 32 - 1 }),
    says: 'which leave its range',
  },
  {
    lie: 'a block status of almost 4 GiB',
    ask: status,
    answer: (r) => chunk(r, CHUNK.BLOCK_STATUS, u32(7), { payloadLength: 2 ** 32 - 4 }),
    says: 'a block status has a payload of 4294967292 bytes',
  },
  {
    lie: 'an error of 1 MiB',
    answer: (r) => chunk(r, CHUNK.ERROR, u32(5), { payloadLength: 2 ** 20 }),
    says: 'an error has a payload of 1048576 bytes',
  },
  {
    lie: 'a hole with a payload too short',
    answer: (r) => chunk(r, CHUNK.OFFSET_HOLE, u64(4096)),
    says: 'payload of 8 bytes instead of 12',
  },
  {
    lie: 'an empty chunk that is not the last',
    answer: (r) => chunk(r, CHUNK.NONE, bytes(0), { flags: 0 }),
    says: 'or is not the last',
  },
  {
    lie: 'an empty chunk with a payload',
    answer: (r) => chunk(r, CHUNK.NONE, bytes(4)),
    says: 'an empty chunk has a payload',
  },
  {
    lie: 'a chunk with unknown flags',
    answer: (r) => chunk(r, CHUNK.NONE, bytes(0), { flags: 3 }),
    says: 'unknown flags 0x3',
  },
  { lie: 'a chunk of an unknown type', answer: (r) => chunk(r, 77, bytes(4)), says: 'unknown type 77' },
  { lie: 'a wrong magic number', answer: () => Buffer.from('HTTP/1.1 200 OK\r\n'), says: 'begins with 0x48545450' },
  {
    lie: 'a request as a reply',
    answer: () => Buffer.concat([u32(0x25609513), bytes(24)]),
    says: 'begins with 0x25609513',
  },
  {
    lie: 'an unknown cookie',
    answer: (r) => doneChunk({ ...r, cookieLow: r.cookieLow + 1 }),
    says: /cookie 2\) that was not asked or is answered/,
  },
  { lie: 'a cookie near 2^64', answer: (r) => doneChunk({ ...r, cookieHigh: 0xffffffff }), says: 'that was not asked' },
  {
    lie: 'a second answer to a request',
    answer: (r) => [dataChunk(r, 4096, bytes(1024)), dataChunk(r, 4096, bytes(1024))],
    ask: async (disk) => {
      await read(disk);
      await read(disk); // the server's second answer to the first comes before its answer to this
    },
    says: 'cookie 1) that was not asked or is answered',
  },
  {
    lie: 'a simple reply to a READ although structured ones were agreed on',
    answer: (r) => simpleReply(r, 0, bytes(1024)),
    says: 'was answered with a simple reply',
  },
  {
    lie: 'a simple reply to a status',
    ask: status,
    answer: (r) => simpleReply(r),
    says: 'was answered with a simple reply',
  },
  {
    lie: 'a structured reply that was not agreed on',
    structured: false,
    answer: (r) => dataChunk(r, 4096, bytes(1024)),
    says: 'structured replies, which were not agreed on',
  },
  {
    lie: 'data as an answer to a flush',
    ask: (disk) => disk.flush(),
    answer: (r) => dataChunk(r, 0, bytes(1)),
    says: 'a flush was answered with data',
  },
  {
    lie: 'a status as an answer to a READ',
    answer: (r) => statusChunk(r, 7, [[1024, 0]]),
    says: 'answered with a block status',
  },
  { lie: 'an error of number 0', answer: (r) => chunk(r, CHUNK.ERROR, errorPayload(0, '')), says: 'whose number is 0' },
  {
    lie: 'an error whose text leaves it',
    answer: (r) => chunk(r, CHUNK.ERROR, Buffer.concat([u32(5), Buffer.from([0, 9]), bytes(3)])),
    says: 'a payload of 9 bytes, but 15 are told',
  },
  {
    lie: 'an error at a byte outside the request',
    answer: (r) => chunk(r, CHUNK.ERROR_OFFSET, Buffer.concat([errorPayload(5, 'x'), u64(0)])),
    says: 'an error at byte 0, outside its range',
  },
  {
    lie: 'an extent of length 0',
    ask: status,
    answer: (r) => statusChunk(r, 7, [[0, 0]]),
    says: 'an extent of length 0',
  },
  {
    lie: 'an extent of length 0 in between',
    ask: status,
    answer: (r) =>
      statusChunk(r, 7, [
        [512, 0],
        [0, 3],
        [512, 0],
      ]),
    says: 'an extent of length 0',
  },
  { lie: 'no extents', ask: status, answer: (r) => chunk(r, CHUNK.BLOCK_STATUS, u32(7)), says: 'payload of 4 bytes' },
  {
    lie: 'half an extent',
    ask: status,
    answer: (r) => chunk(r, CHUNK.BLOCK_STATUS, bytes(10)),
    says: 'payload of 10 bytes',
  },
  { lie: 'a status without one', ask: status, answer: (r) => doneChunk(r), says: 'was not answered for context 7' },
  {
    lie: 'a status of another context',
    ask: status,
    answer: (r) => statusChunk(r, 8, [[8192, 0]]),
    says: 'for context 8, which was never agreed on',
  },
  {
    lie: 'a status that comes twice',
    ask: status,
    answer: (r) => [statusChunk(r, 7, [[8192, 0]], 0), statusChunk(r, 7, [[8192, 0]])],
    says: 'twice for context 7',
  },
  {
    lie: 'extents behind the range',
    ask: status,
    answer: (r) =>
      statusChunk(r, 7, [
        [8192, 0],
        [512, 3],
      ]),
    says: 'begins behind its range',
  },
  {
    lie: 'an extent behind the end of the export',
    ask: status,
    answer: (r) => statusChunk(r, 7, [[2 ** 32 - 1, 3]]),
    says: 'behind the end of the export at 1048576',
  },
  {
    lie: 'several extents where one was asked',
    ask: oneExtent,
    answer: (r) =>
      statusChunk(r, 7, [
        [512, 0],
        [512, 3],
      ]),
    says: 'asked for one extent and was answered with 2',
  },
  {
    lie: 'one extent longer than was asked',
    ask: oneExtent,
    answer: (r) => statusChunk(r, 7, [[8704, 0]]),
    says: 'one of 8704 bytes, more than it asked for',
  },
];

describe('a server that sends', () => {
  it.each(LIES)('$lie is found out', async ({ answer, ask = read, structured = true, says }) => {
    await using server = await servingServer(
      (connection, request) => {
        connection.send(...[answer(request, connection)].flat());
      },
      { structured },
    );
    const disk = await connectNbd(server.target, { name: 'disk' });
    const failure = await ask(disk).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DeviceError);
    const { message, cause } = failure as DeviceError;
    expect(cause).toBeInstanceOf(NbdProtocolError);
    expect(message).toMatch(/^disk: the server broke the NBD protocol: /);
    expect(message).toMatch(says);
    await expect(disk.read(0, new Uint8Array(512))).rejects.toThrow(DeviceError);
    await disk.close();
  });
});

describe('what a server may send', () => {
  const chunks: { what: string; answer: Answer }[] = [
    { what: 'in one chunk', answer: (r) => dataChunk(r, 4096, bytes(1024)) },
    {
      what: 'in chunks in any order, and then nothing',
      answer: (r) => [dataChunk(r, 4608, bytes(512), 0), dataChunk(r, 4096, bytes(512), 0), doneChunk(r)],
    },
    {
      what: 'byte by byte',
      answer: (r) =>
        Array.from({ length: 1024 }, (_, nr) => dataChunk(r, 5119 - nr, bytes(1), nr === 1023 ? REPLY_FLAG_DONE : 0)),
    },
  ];
  it.each(chunks)('a READ answered $what', async ({ answer }) => {
    await using server = await servingServer((connection, request) =>
      connection.send(...[answer(request, connection)].flat()),
    );
    const disk = await connectNbd(server.target);
    const into = new Uint8Array(1024);
    await disk.read(4096, into);
    expect(into).toEqual(bytes(1024));
    await disk.close();
  });

  it('answers in pieces that the line cuts anywhere, of several requests in turns', async () => {
    const waiting: ScriptedRequest[] = [];
    await using server = await servingServer(async (connection, request) => {
      waiting.push(request);
      if (waiting.length < 3) return;
      const [a, b, c] = waiting.splice(0) as [ScriptedRequest, ScriptedRequest, ScriptedRequest];
      const all = Buffer.concat([
        dataChunk(b, b.offset, bytes(100), 0),
        holeChunk(a, a.offset, 512, 0),
        statusChunk(
          c,
          7,
          [
            [512, 3],
            [512, 0],
          ],
          0,
        ),
        dataChunk(b, b.offset + 100, bytes(412)),
        doneChunk(c),
        doneChunk(a),
      ]);
      for (const [at] of all.entries()) {
        connection.send(all.subarray(at, at + 1));
        if (at % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    });
    const disk = await connectNbd(server.target);
    const [hole, data] = [bytes(512), new Uint8Array(512)];
    const [, , extents] = await Promise.all([disk.read(0, hole), disk.read(8192, data), disk.allocation(4096, 1024)]);
    expect(hole).toEqual(new Uint8Array(512));
    expect(data).toEqual(bytes(512));
    expect(extents).toEqual([
      { offset: 4096, length: 512, state: 'hole' },
      { offset: 4608, length: 512, state: 'data' },
    ]);
    await disk.close();
  });

  it('an error after a part of the data, with its place and words, whose control characters do not reach a terminal', async () => {
    await using server = await servingServer((connection, request) => {
      const payload = Buffer.concat([errorPayload(28, 'full \u001b[2J'), u64(4608)]);
      connection.send(dataChunk(request, 4096, bytes(512), 0), chunk(request, CHUNK.ERROR_OFFSET, payload));
    });
    const disk = await connectNbd(server.target, { name: 'disk' });
    await expect(read(disk)).rejects.toMatchObject({
      message:
        'disk: read of 1024 bytes at 4096 failed: the server answered ENOSPC, no space left at byte 4608: full \ufffd[2J',
      cause: { code: 'ERR_NBD_REPLY', errorNr: 28, errorName: 'ENOSPC' },
    });
    await disk.close();
  });

  it('an error of a type or a number that came later than this client', async () => {
    await using server = await servingServer((connection, request) => {
      connection.send(chunk(request, 0x8055, Buffer.concat([errorPayload(116, 'stale'), bytes(7)])));
    });
    const disk = await connectNbd(server.target);
    await expect(read(disk)).rejects.toThrow('the server answered EINVAL, invalid request: stale');
    await disk.close();
  });

  it('extents that begin and end in the middle of sectors, and few of them', async () => {
    await using server = await servingServer((connection, request) => {
      const length = Math.min(300, request.length);
      connection.send(statusChunk(request, 7, [[length, request.offset < 4608 ? 3 : 0]]));
    });
    const disk = await connectNbd(server.target);
    expect(await disk.allocation(4096, 8192)).toEqual([{ offset: 4096, length: 512, state: 'hole' }]);
    expect(await disk.allocation(4608, 512)).toEqual([{ offset: 4608, length: 512, state: 'data' }]);
    await disk.close();
  });
});

it('puts extents of more than 4 GiB together and comes to an end, as KubeVirt CDI #3242 did not', async () => {
  const size = 2 ** 42;
  await using server = await servingServer(
    (connection, request) => {
      const left = size - request.offset;
      connection.send(statusChunk(request, 9, [[Math.min(left, 2 ** 32 - 512), request.offset < 2 ** 41 ? 1 : 0]]));
    },
    { size, contexts: { 'qemu:dirty-bitmap:x': 9 } },
  );
  const disk = await connectNbd(server.target, { contexts: ['qemu:dirty-bitmap:x'] });
  const changed: { offset: number; length: number }[] = [];
  for await (const range of disk.changed('qemu:dirty-bitmap:x', 512)) changed.push(range);
  expect(changed).toHaveLength(1);
  expect(changed[0]?.offset).toBe(512);
  expect(changed[0]?.length).toBeGreaterThanOrEqual(2 ** 41 - 512);
  expect(await disk.allocation(2 ** 41, 2 ** 41)).toEqual([{ offset: 2 ** 41, length: 2 ** 41, state: 'data' }]);
  await disk.close();
});

describe('what a server does not offer', () => {
  const HAS_FLAGS = TRANSMISSION_FLAG.HAS_FLAGS;
  const run = async (flags: number, use: (disk: NbdDataDevice) => Promise<void>): Promise<string[]> => {
    const seen: string[] = [];
    await using server = await servingServer(
      (connection, request) => {
        seen.push(
          `${['read', 'write', 'disc', 'flush', 'trim', 'cache', 'zeroes'][request.command]}${request.flags === 0 ? '' : `+${request.flags}`} ${request.offset} ${request.length}`,
        );
        connection.send(simpleReply(request));
      },
      { flags },
    );
    const disk = await connectNbd(server.target, { trustWithoutFlush: (flags & TRANSMISSION_FLAG.SEND_FLUSH) === 0 });
    await use(disk);
    await disk.close();
    return seen;
  };

  it('is asked for when it is offered', async () => {
    const seen = await run(USUAL_FLAGS, async (disk) => {
      await disk.writeZeroes(0, 512, { fua: true, keepAllocated: true });
      await disk.writeZeroes(0, 512);
      await disk.discard(512, 512, { fua: true });
      await disk.write(1024, bytes(512), { fua: true });
      await disk.flush();
    });
    expect(seen).toEqual(['zeroes+3 0 512', 'zeroes 0 512', 'trim+1 512 512', 'write+1 1024 512', 'flush 0 0']);
  });

  it('is made up for: zeros written, FUA by a flush, discards left out', async () => {
    const seen = await run(HAS_FLAGS | TRANSMISSION_FLAG.SEND_FLUSH, async (disk) => {
      expect(disk.hints).toMatchObject({ discardGranularity: 0, fastZeroes: false });
      await disk.writeZeroes(0, 512, { fua: true });
      await disk.discard(512, 512);
    });
    expect(seen).toEqual(['write 0 512', 'flush 0 0']);
  });

  it('is FLUSH: durability is refused, not pretended, unless the caller vouches for the server', async () => {
    await using server = await servingServer((connection, request) => connection.send(simpleReply(request)), {
      flags: HAS_FLAGS,
    });
    const disk = await connectNbd(server.target);
    await disk.write(0, bytes(512));
    await expect(disk.write(0, bytes(512), { fua: true })).rejects.toThrow('the server cannot flush');
    await expect(disk.flush()).rejects.toThrow('trustWithoutFlush');
    await disk.close();
    expect(await run(HAS_FLAGS, (trusted) => trusted.flush())).toEqual([]);
  });

  it('is a second connection', async () => {
    await using server = await servingServer((connection, request) => connection.send(simpleReply(request)));
    const disk = await connectNbd(server.target, { connections: 8 });
    expect(disk.nrConnections).toBe(1);
    await disk.close();
  });
});

it('keeps failing flushes after one that failed', async () => {
  let nrFlushes = 0;
  await using server = await servingServer((connection, request) => {
    if (request.command === 3) nrFlushes++;
    connection.send(request.command === 3 && nrFlushes === 1 ? simpleReply(request, 5) : simpleReply(request));
  });
  const disk = await connectNbd(server.target);
  await expect(disk.flush()).rejects.toThrow('the server answered EIO');
  await disk.write(0, bytes(512));
  await expect(disk.flush()).rejects.toThrow('the server answered EIO');
  expect(nrFlushes).toBe(1);
  await disk.close();
});

it('keeps no more requests in flight than it is told, and sends each of a thousand', async () => {
  const unanswered: ScriptedRequest[] = [];
  let [most, nrRequests] = [0, 0];
  await using server = await servingServer((connection, request) => {
    unanswered.push(request);
    most = Math.max(most, unanswered.length);
    nrRequests++;
    if (unanswered.length === 8 || nrRequests > 992)
      for (const { ...each } of unanswered.splice(0)) connection.send(simpleReply(each));
  });
  const disk = await connectNbd(server.target, { maxInFlight: 8 });
  await Promise.all(Array.from({ length: 1000 }, (_, nr) => disk.write(nr * 512, bytes(512))));
  expect([most, nrRequests]).toEqual([8, 1000]);
  await disk.close();
});

it('cuts requests to the payload that the server takes, and writes parts of its blocks by whole ones', async () => {
  const content = new Uint8Array(65536).fill(1);
  const lengths: number[] = [];
  await using server = await servingServer(
    (connection, request) => {
      lengths.push(request.length);
      if (request.offset % 4096 !== 0 || request.length % 4096 !== 0 || request.length > 8192)
        connection.send(chunk(request, CHUNK.ERROR, errorPayload(22, 'unaligned')));
      else if (request.command === 0)
        connection.send(
          dataChunk(request, request.offset, content.subarray(request.offset, request.offset + request.length)),
        );
      else connection.send(simpleReply(request));
    },
    { size: 65536, blockSize: { minimum: 4096, preferred: 4096, maximum: 8192 } },
  );
  const disk = await connectNbd(server.target);
  expect(disk.hints).toEqual({ preferredSize: 4096, discardGranularity: 4096, fastZeroes: true });
  await disk.read(512, new Uint8Array(60000 - (60000 % 512)));
  await disk.write(512, bytes(20480));
  await disk.writeZeroes(512, 4096);
  await disk.discard(512, 4096);
  expect(lengths.length).toBeGreaterThan(10);
  expect(Math.max(...lengths)).toBe(8192);
  await disk.close();
});
