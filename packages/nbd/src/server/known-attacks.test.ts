/**
 * Each hole that was found in another NBD server, as a test of this one. See also tls.test.ts (CVE-2021-3716) and
 * shutdown.test.ts (CVE-2024-7409).
 */
import { MemoryDataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { RawClient } from '../../test/raw-client.js';
import { MIB, serve, until } from '../../test/served.js';
import { CHUNK, COMMAND, COMMAND_FLAG, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import { encodeInfoRequest, encodeOption } from '../protocol/options.js';

const GIB = 2 ** 30;

it.each([OPTION.INFO, OPTION.GO, OPTION.LIST_META_CONTEXT, OPTION.SET_META_CONTEXT])(
  'CVE-2022-26495: a name of 2^32-1 bytes in option %i is refused, and the session goes on',
  async (option) => {
    const client = await RawClient.haggling((await serve()).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    const data = Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff]), Buffer.alloc(40, 'x')]);
    expect(await client.outcome(option, data)).toBe(OPTION_REPLY.ERR_INVALID);
    expect(await client.go()).toMatchObject({ size: MIB });
  },
);

it('CVE-2022-26495: EXPORT_NAME with a name of 2^32-1 bytes ends the connection before any of it is stored', async () => {
  const { server } = await serve();
  const client = await RawClient.haggling(server);
  const header = encodeOption(OPTION.EXPORT_NAME);
  header.writeUInt32BE(0xffff_ffff, 12);
  client.send(header);
  expect(await client.readToEnd()).toHaveLength(0);
  await until(() => server.clients.length === 0);
});

it('CVE-2022-26496: options of any length are consumed whole, and memory is not asked for by their length', async () => {
  const client = await RawClient.haggling((await serve()).server);
  for (const length of [1023, 1024, 1025, 4096, 65_535, 65_536, 65_537, 16 * MIB]) {
    for (const option of [OPTION.LIST, OPTION.GO, OPTION.SET_META_CONTEXT, 77]) {
      const before = process.memoryUsage().arrayBuffers;
      const type = await client.outcome(option, Buffer.alloc(length, 0x49));
      expect(type, `option ${option} of ${length} bytes`).toBeGreaterThan(2 ** 31);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(128 * MIB);
    }
  }
  expect(await client.go()).toMatchObject({ size: MIB });
});

it('CVE-2017-15118: an export name of 3000 characters is not known, and the session goes on', async () => {
  const client = await RawClient.haggling((await serve()).server);
  const data = encodeInfoRequest({ name: 'x'.repeat(3000), infoTypes: [3] });
  for (const option of [OPTION.INFO, OPTION.GO]) {
    const [reply] = await client.option(option, data);
    expect(reply?.type).toBe(OPTION_REPLY.ERR_UNKNOWN);
    expect(reply?.data.length).toBeLessThanOrEqual(4096);
  }
  expect(await client.go()).toMatchObject({ size: MIB });
});

it('CVE-2019-14850: a client that does not finish the handshake opens nothing', async () => {
  const { server, exports } = await serve();
  const clients = [await RawClient.connect(server), await RawClient.haggling(server), await RawClient.haggling(server)];
  await clients[1]?.agree(OPTION.STRUCTURED_REPLY);
  await clients[2]?.agree(OPTION.LIST);
  for (const client of clients) client.close();
  await until(() => server.clients.length === 0);
  expect(exports.nrOpened).toBe(0);
});

it('CVE-2019-14851: options and commands in any order break nothing', { timeout: 30_000 }, async () => {
  const seed = 14851;
  const random = seededRandom(seed);
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)] as T;
  const { server, exports } = await serve();
  const options = Object.values(OPTION).filter((option) => option !== OPTION.EXPORT_NAME && option !== OPTION.GO);
  for (let round = 0; round < 60; round++) {
    const client = await RawClient.haggling(server);
    let extended = false;
    let isOpen = true;
    for (let step = Math.floor(random() * 8); step > 0 && isOpen; step--) {
      const option = pick(options);
      const data = pick([Buffer.alloc(0), encodeInfoRequest({ name: pick(['disk', 'nope', '']), infoTypes: [] })]);
      const type = await client.outcome(option, data);
      if (option === OPTION.EXTENDED_HEADERS && type === OPTION_REPLY.ACK) extended = true;
      if (option === OPTION.ABORT) isOpen = false;
    }
    if (!isOpen) {
      expect(await client.readToEnd(), `seed ${seed}, round ${round}`).toHaveLength(0);
      continue;
    }
    await client.go();
    client.extended = extended;
    for (let step = 0; step < 10; step++) {
      client.request({
        command: Math.floor(random() * 10) === 2 ? 9 : Math.floor(random() * 2) * 3,
        flags: Math.floor(random() * 4) === 0 ? Math.floor(random() * 65_536) & ~COMMAND_FLAG.PAYLOAD_LEN : 0,
        offset: Math.floor(random() * 2 * MIB),
        length: 0,
      });
      await client.error();
    }
    client.close();
  }
  await until(() => server.clients.length === 0);
  expect(exports.nrReleased).toBe(exports.nrOpened);
});

it.each([{ extended: false }, { extended: true }])(
  'CVE-2025-47711 and CVE-2025-47712: the status of about 4 GiB is neither one byte off nor 32 bits wide (%o)',
  async (mode) => {
    const size = 24 * GIB;
    const device = new MemoryDataDevice({ size });
    await device.write(20 * GIB, new Uint8Array(65_536).fill(1));
    const { server } = await serve({ device });
    const client = await RawClient.transmitting(server, { structured: true, ...mode, contexts: ['base:allocation'] });
    const lengths = [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 65_536, 2 ** 32 - 512, 2 ** 32 - 2, 2 ** 32 - 1];
    if (mode.extended) lengths.push(2 ** 32, 2 ** 32 + 1, 19 * GIB);
    for (const length of lengths) {
      for (const flags of [0, COMMAND_FLAG.REQ_ONE]) {
        // The answer may end early, so ask on; each answer has to make progress, or this never ends.
        let covered = 0;
        for (let question = 0; covered < length; question++) {
          expect(question).toBeLessThan(20_000);
          client.request({ command: COMMAND.BLOCK_STATUS, flags, offset: GIB + covered, length: length - covered });
          const [chunk] = await client.chunks();
          const payload = chunk?.payload ?? Buffer.alloc(0);
          const isWide = chunk?.type === CHUNK.BLOCK_STATUS_EXT;
          expect(isWide).toBe(mode.extended);
          for (let at = isWide ? 8 : 4; at < payload.length; at += isWide ? 16 : 8) {
            const extent = isWide ? u64At(payload, at) : payload.readUInt32BE(at);
            const state = isWide ? u64At(payload, at + 8) : payload.readUInt32BE(at + 4);
            expect(extent).toBeGreaterThan(0);
            const isData = GIB + covered >= 20 * GIB;
            expect(state).toBe(isData ? 0 : 3);
            covered += extent;
          }
          expect(covered).toBeLessThanOrEqual(length);
        }
        expect(covered).toBe(length);
      }
    }
  },
);

it('KubeVirt CDI 3242: an extent that outgrows 32 bits is passed on whole, or in parts that end', async () => {
  const device = new MemoryDataDevice({ size: 24 * GIB });
  const extents = async (offset: number) => [{ length: 24 * GIB - offset, flags: 1 }];
  const { server } = await serve({ exports: { disk: { device, contexts: [{ name: 'x:all', extents }] } } });
  const wide = await RawClient.transmitting(server, { extended: true, contexts: ['x:all'] });
  wide.request({ command: COMMAND.BLOCK_STATUS, length: 24 * GIB });
  expect(u64At((await wide.chunks())[0]?.payload ?? Buffer.alloc(16), 8)).toBe(24 * GIB);
  const narrow = await RawClient.transmitting(server, { structured: true, contexts: ['x:all'] });
  narrow.request({ command: COMMAND.BLOCK_STATUS, length: 2 ** 32 - 1 });
  expect((await narrow.chunks())[0]?.payload.readUInt32BE(4)).toBe(2 ** 32 - 1);
});

it('a payload length that is a lie costs no memory: 30 clients that each promise 32 MiB and send none of it', async () => {
  const { server } = await serve();
  const before = process.memoryUsage().rss;
  const clients: RawClient[] = [];
  for (let nr = 0; nr < 30; nr++) {
    const client = await RawClient.transmitting(server);
    client.request({ command: COMMAND.WRITE, length: 32 * MIB });
    clients.push(client);
  }
  await until(() => server.clients.every(({ bytesReceived }) => bytesReceived === 28));
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * MIB);
  for (const client of clients) client.close();
});
