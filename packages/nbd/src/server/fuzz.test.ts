/**
 * Malformed handshakes and requests, made from good ones by chance, while a client that behaves is served on another connection.
 *
 * What must hold: the good client reads what it wrote, in every round; the server neither ends nor grows; when the fuzz is over no
 * connection is left, every export was given back, and the server closes.
 *
 * Another seed, or a longer run: PDATA_FUZZ_SEED=7 PDATA_FUZZ_ROUNDS=5000.
 */
import { MemoryDataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { RawClient, requestBytes } from '../../test/raw-client.js';
import { expectBytes, MIB, patternBytes, serve } from '../../test/served.js';
import { COMMAND, OPTION } from '../protocol/constants.js';
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../protocol/options.js';

const SEED = Number(process.env.PDATA_FUZZ_SEED ?? 20261120);
const ROUNDS = Number(process.env.PDATA_FUZZ_ROUNDS ?? 400);
const BORDERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff, 4096, 4097, 65_537];

class Chance {
  readonly #random: () => number;
  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }
  isOneIn(n: number): boolean {
    return this.below(n) === 0;
  }
  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

/** An option, mostly good. */
function anOption(chance: Chance): Buffer {
  const name = chance.pick(['disk', 'disk', 'other', 'nope', '', 'x'.repeat(chance.below(5000))]);
  const queries = Array.from({ length: chance.below(4) }, () =>
    chance.pick(['base:allocation', 'base:', 'qemu:', 'x', '', 'qemu:dirty-bitmap:a']),
  );
  const infoTypes = Array.from({ length: chance.below(5) }, () => chance.below(6));
  return chance.pick([
    () => encodeOption(OPTION.LIST),
    () => encodeOption(OPTION.STRUCTURED_REPLY),
    () => encodeOption(OPTION.EXTENDED_HEADERS),
    () => encodeOption(OPTION.STARTTLS),
    () => encodeOption(OPTION.INFO, encodeInfoRequest({ name, infoTypes })),
    () => encodeOption(OPTION.GO, encodeInfoRequest({ name, infoTypes })),
    () => encodeOption(OPTION.LIST_META_CONTEXT, encodeMetaContextRequest({ name, queries })),
    () => encodeOption(OPTION.SET_META_CONTEXT, encodeMetaContextRequest({ name, queries })),
    () => encodeOption(chance.below(100), chance.bytes(chance.below(200))),
  ])();
}

/** A request, mostly good. */
function aRequest(chance: Chance, extended: boolean): Buffer {
  const command = chance.pick([0, 0, 1, 1, 3, 4, 5, 6, 7, 7, chance.below(65_536)]);
  const flags = chance.isOneIn(4) ? chance.below(128) : command === COMMAND.WRITE && extended ? 32 : 0;
  const offset = chance.isOneIn(6) ? BigInt(chance.pick(BORDERS)) * 2n ** 32n : chance.below(MIB);
  const length = chance.isOneIn(6) ? chance.pick(BORDERS) : chance.below(200_000);
  const hasPayload = command === COMMAND.WRITE || (extended && (flags & 32) !== 0);
  const payload = hasPayload ? Buffer.alloc(Math.min(length, 200_000), chance.below(256)) : undefined;
  const isLie = chance.isOneIn(20);
  return requestBytes(
    { command, flags, offset, length: payload && !isLie ? payload.length : length, ...(payload && { payload }) },
    extended,
  );
}

/** The bytes of one client: a handshake and requests, with some of them spoilt. */
function aConversation(chance: Chance): Buffer {
  const parts: Buffer[] = [chance.isOneIn(15) ? chance.bytes(4) : Buffer.from([0, 0, 0, chance.below(4)])];
  const extended = chance.isOneIn(3);
  if (extended) parts.push(encodeOption(OPTION.EXTENDED_HEADERS));
  else if (!chance.isOneIn(3)) parts.push(encodeOption(OPTION.STRUCTURED_REPLY));
  for (let nr = chance.below(5); nr > 0; nr--) parts.push(anOption(chance));
  if (!chance.isOneIn(4)) {
    parts.push(
      encodeOption(OPTION.SET_META_CONTEXT, encodeMetaContextRequest({ name: 'disk', queries: ['base:allocation'] })),
    );
    parts.push(encodeOption(OPTION.GO, encodeInfoRequest({ name: 'disk', infoTypes: [] })));
    for (let nr = chance.below(30); nr > 0; nr--) parts.push(aRequest(chance, extended));
  }
  const spoilt = chance.isOneIn(3) ? parts : parts.map((part) => (chance.isOneIn(8) ? spoil(part, chance) : part));
  return Buffer.concat(spoilt);
}

function spoil(part: Buffer, chance: Chance): Buffer {
  const bytes = Buffer.from(part);
  if (bytes.length === 0) return bytes;
  switch (chance.below(5)) {
    case 0:
      bytes.writeUInt8(chance.below(256), chance.below(bytes.length));
      return bytes;
    case 1:
      if (bytes.length >= 4) bytes.writeUInt32BE(chance.pick(BORDERS), chance.below(bytes.length - 3));
      return bytes;
    case 2:
      return bytes.subarray(0, chance.below(bytes.length));
    case 3:
      return Buffer.concat([bytes, chance.bytes(chance.below(40))]);
    default:
      return Buffer.concat([bytes, bytes]);
  }
}

it(`outlives ${ROUNDS} clients that say anything, and serves another undisturbed (seed ${SEED})`, {
  timeout: 600_000,
}, async () => {
  const chance = new Chance(SEED);
  const good = new MemoryDataDevice({ size: 4 * MIB });
  const { server, exports } = await serve({
    exports: {
      disk: { device: new MemoryDataDevice({ size: MIB }) },
      other: { device: new MemoryDataDevice({ size: MIB, readOnly: true }) },
      good: { device: good },
    },
    limits: { handshakeMs: 2000, stallMs: 2000 },
  });
  const client = await RawClient.transmitting(server, { name: 'good' });
  const model = new Uint8Array(4 * MIB);
  const attached: RawClient[] = [];
  const rssBefore = process.memoryUsage().rss;

  for (let round = 0; round < ROUNDS; round++) {
    const label = `seed ${SEED}, round ${round}`;
    const hostile = await RawClient.connect(server);
    if (chance.isOneIn(4)) hostile.socket.pause(); // reads nothing
    const bytes = aConversation(chance);
    if (chance.isOneIn(3)) {
      const at = chance.below(bytes.length + 1);
      hostile.send(bytes.subarray(0, at));
      await new Promise(setImmediate);
      hostile.send(bytes.subarray(at));
    } else hostile.send(bytes);

    const offset = chance.below(4 * MIB - 10_000);
    const payload = patternBytes(1 + chance.below(9000), round + 1);
    expect(await client.tried({ command: COMMAND.WRITE, offset, payload }), label).toBe(0);
    model.set(payload, offset);
    const from = Math.max(0, offset - 600);
    expectBytes(await client.readData(from, 10_000), model.subarray(from, from + 10_000));

    const end = chance.pick(['half-open', 'half-open', 'gone', 'attached']);
    if (end === 'half-open') hostile.socket.end();
    if (end === 'gone') hostile.close();
    else attached.push(hostile);
    if (attached.length > 40) attached.shift()?.close();
  }

  expectBytes(await client.readData(0, 4 * MIB), model);
  expect(process.memoryUsage().rss - rssBefore, `seed ${SEED}`).toBeLessThan(400 * MIB);
  client.close();
  await server.close({ graceMs: 500 });
  expect(server.clients).toEqual([]);
  expect(exports.nrReleased, `seed ${SEED}`).toBe(exports.nrOpened);
});
