/**
 * Seeded fuzz: a server that sends almost right and all wrong bytes. Whatever it does, every call of ours settles, fails with a
 * typed error if it fails, and a read that succeeds has had each of its bytes answered.
 */
import { StoreError } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import {
  chunk,
  dataChunk,
  doneChunk,
  greeting,
  holeChunk,
  type ScriptedConnection,
  type ScriptedRequest,
  scriptedServer,
  simpleReply,
  statusChunk,
  USUAL_OFFER,
  u64,
} from '../../test/scripted-server.js';
import { CHUNK, TRANSMISSION_FLAG } from '../protocol/constants.js';
import { errorPayload } from '../protocol/replies.js';
import { connectNbd } from './connect.js';

type Random = () => number;
const below = (random: Random, limit: number): number => Math.floor(random() * limit);
const oneOf = <Item>(random: Random, items: readonly Item[]): Item => items[below(random, items.length)]!;
/** More with PDATA_FUZZ_ROUNDS. */
const NR_SEEDS = Number(process.env.PDATA_FUZZ_ROUNDS ?? 300);
const UNANSWERED = 0xaa;
const ODD_NUMBERS = [0, 1, 7, 8, 511, 512, 513, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** Right, wrong in one field, or noise. The data it sends is never made of UNANSWERED. */
function answer(random: Random, request: ScriptedRequest): Uint8Array {
  const { offset, length } = request;
  const few = (most: number): number => 1 + below(random, Math.max(1, Math.min(most, 4096)));
  const data = (nr: number): Uint8Array => new Uint8Array(nr).fill(below(random, 100));
  const flags = oneOf(random, [0, 1, 1, 1, 2, 0x8000]);
  const right = (): Uint8Array => {
    if (request.command === 0)
      return oneOf(random, [
        () => dataChunk(request, offset, data(length)),
        () => holeChunk(request, offset, length),
      ])();
    if (request.command === 7) return statusChunk(request, 7, [[few(length), below(random, 4)]]);
    return oneOf(random, [() => simpleReply(request), () => doneChunk(request)])();
  };
  const wrong = [
    () => dataChunk(request, offset + below(random, 1024) - 512, data(few(length)), flags),
    () => holeChunk(request, offset + below(random, 1024), oneOf(random, ODD_NUMBERS), flags),
    () =>
      statusChunk(
        request,
        below(random, 9),
        Array.from({ length: below(random, 5) }, () => [oneOf(random, ODD_NUMBERS), below(random, 5)] as const),
        flags,
      ),
    () =>
      chunk(request, CHUNK.ERROR, errorPayload(oneOf(random, [0, 5, 28, 9999]), 'x'.repeat(below(random, 5000))), {
        flags,
      }),
    () =>
      chunk(request, CHUNK.ERROR_OFFSET, Buffer.concat([errorPayload(5, 'x'), u64(below(random, 2 ** 21))]), { flags }),
    () =>
      chunk(request, below(random, 65536), data(below(random, 100)), {
        flags,
        payloadLength: oneOf(random, ODD_NUMBERS),
      }),
    () => simpleReply(request, oneOf(random, [0, 0, 5, 22]), data(below(random, 2) * length)),
    () => right().subarray(0, below(random, 30)),
    () => data(below(random, 200)),
    () => simpleReply({ ...request, cookieLow: below(random, 20) }),
  ];
  const bytes = Buffer.from(random() < 0.9 ? right() : oneOf(random, wrong)());
  if (random() < 0.03 && bytes.length > 0) {
    const at = below(random, Math.min(28, bytes.length));
    bytes[at] = bytes[at]! ^ (1 << below(random, 8));
  }
  return bytes;
}

/** Sends `bytes` in pieces of any size. */
function dribble(random: Random, connection: ScriptedConnection, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const nr = random() < 0.5 ? bytes.length : 1 + below(random, 40);
    connection.send(bytes.subarray(at, at + nr));
    at += nr;
  }
}

const settled = async (work: Promise<unknown>, seed: number): Promise<boolean> => {
  try {
    await work;
    return true;
  } catch (error) {
    if (!(error instanceof StoreError)) throw new Error(`seed ${seed}: an untyped error`, { cause: error });
    return false;
  }
};

it(`survives replies of every kind (${NR_SEEDS} seeds)`, async () => {
  let [nrRead, nrFailed] = [0, 0];
  for (let seed = 1; seed <= NR_SEEDS; seed++) {
    const random = seededRandom(seed);
    const structured = random() < 0.8;
    await using server = await scriptedServer(async (connection) => {
      await connection.greet();
      const flags = USUAL_OFFER.flags | TRANSMISSION_FLAG.CAN_MULTI_CONN;
      if (!(await connection.accept({ ...USUAL_OFFER, structured, flags }))) return;
      for (let nr = 0; ; nr++) {
        const request = await connection.nextRequest();
        if (request === undefined) return;
        dribble(random, connection, answer(random, request));
        // What is still owed is never sent: the connection ends, or the client gives it up.
        if (nr >= 12 || random() < 0.05) connection.socket.end();
      }
    });
    const disk = await connectNbd(server.target, { connections: 1 + below(random, 2), replyMs: 40 });
    const works: Promise<boolean>[] = [];
    for (let nr = 0; nr < 12; nr++) {
      const length = 512 * (1 + below(random, 8));
      const offset = 512 * below(random, 1024);
      const into = new Uint8Array(length).fill(UNANSWERED);
      const work = oneOf(random, [
        async () => {
          await disk.read(offset, into);
          nrRead++;
          if (into.includes(UNANSWERED)) throw new Error(`seed ${seed}: a read succeeded with bytes that nobody sent`);
        },
        () => disk.write(offset, into),
        () => disk.writeZeroes(offset, length),
        () => disk.flush(),
        async () => {
          const extents = await disk.allocation(offset, length);
          if (extents[0]?.offset !== offset) throw new Error(`seed ${seed}: allocation begins elsewhere`);
        },
      ]);
      works.push(settled(work(), seed));
      if (random() < 0.5) await works.at(-1);
    }
    nrFailed += (await Promise.all(works)).filter((well) => !well).length;
    await disk.close();
    expect(process.memoryUsage().arrayBuffers, `memory after seed ${seed}`).toBeLessThan(64 * 2 ** 20);
  }
  // The fuzz reaches both sides.
  expect(nrRead).toBeGreaterThan(100);
  expect(nrFailed).toBeGreaterThan(100);
}, 3_600_000);

it(`survives handshakes with wrong bits, missing and additional bytes (${NR_SEEDS} seeds)`, async () => {
  const transcript: Buffer[] = [];
  await using recording = await scriptedServer(async (connection) => {
    const send = connection.send.bind(connection);
    connection.send = (...parts) => {
      transcript.push(Buffer.concat(parts));
      send(...parts);
    };
    await connection.greet();
    await connection.accept({ ...USUAL_OFFER, blockSize: { minimum: 512, preferred: 4096, maximum: 2 ** 25 } });
  });
  await (await connectNbd(recording.target)).close();
  expect(transcript[0]).toEqual(greeting(3));
  let [nrOpened, nrRefused] = [0, 0];
  for (let seed = 1; seed <= NR_SEEDS; seed++) {
    const random = seededRandom(seed);
    const messages = transcript.map((message) => Buffer.from(message));
    for (let nr = 1 + below(random, 3); nr > 0; nr--) {
      const which = below(random, messages.length);
      const message = messages[which]!;
      const at = below(random, message.length);
      messages[which] = oneOf(random, [
        () => {
          message[at] = message[at]! ^ (1 << below(random, 8));
          return message;
        },
        () => message.subarray(0, at),
        () => Buffer.concat([message, message.subarray(at)]),
        () =>
          Buffer.concat([
            message.subarray(0, at),
            Buffer.alloc(1 + below(random, 40), below(random, 256)),
            message.subarray(at),
          ]),
        () => {
          if (at + 4 <= message.length) message.writeUInt32BE(oneOf(random, ODD_NUMBERS), at);
          return message;
        },
      ])();
    }
    await using server = await scriptedServer(async (connection) => {
      for (const message of messages) {
        dribble(random, connection, message);
        await connection.take(1);
      }
      connection.socket.end();
    });
    const opened = await settled(
      connectNbd(server.target, { connectMs: 60, replyMs: 40 }).then((disk) => disk.close()),
      seed,
    );
    if (opened) nrOpened++;
    else nrRefused++;
  }
  expect(nrOpened).toBeGreaterThan(5);
  expect(nrRefused).toBeGreaterThan(200);
}, 3_600_000);
