import { MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { exportInfo, metaContexts, RawClient, ServerClosed } from '../../test/raw-client.js';
import { MIB, serve } from '../../test/served.js';
import { COMMAND, INFO, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import {
  decodeInfo,
  decodeServerReply,
  encodeInfoRequest,
  encodeMetaContextRequest,
  encodeOption,
} from '../protocol/options.js';

const { ACK, ERR_INVALID, ERR_POLICY, ERR_TOO_BIG, ERR_UNKNOWN, ERR_UNSUP, ERR_EXT_HEADER_REQD } = OPTION_REPLY;
const infoRequest = (name: string, ...infoTypes: number[]): Buffer => encodeInfoRequest({ name, infoTypes });
const contextRequest = (name: string, ...queries: string[]): Buffer => encodeMetaContextRequest({ name, queries });
const extents = async () => [{ length: 512, flags: 0 }];
const withBitmaps = (name = 'disk') => ({
  exports: {
    [name]: {
      device: new MemoryDataDevice({ size: MIB }),
      description: 'a disk',
      contexts: [
        { name: 'qemu:dirty-bitmap:monday', extents },
        { name: 'qemu:dirty-bitmap:tuesday', extents },
        { name: 'x-pdata:sharing', extents },
      ],
    },
    other: { device: new MemoryDataDevice({ size: 2 * MIB }) },
  },
});

describe('the greeting', () => {
  it('is NBDMAGIC, IHAVEOPT, and the flags FIXED_NEWSTYLE and NO_ZEROES', async () => {
    const client = await RawClient.connect((await serve()).server);
    expect((await client.read(18)).toString('latin1')).toBe('NBDMAGICIHAVEOPT\x00\x03');
  });

  it.each([4, 0x8000_0001, 0xffff_ffff])(
    'is followed by an end when the client answers with flags 0x%x',
    async (flags) => {
      const client = await RawClient.connect((await serve()).server);
      await client.greet(flags);
      client.send(encodeOption(OPTION.LIST));
      expect(await client.readToEnd()).toHaveLength(0);
    },
  );

  it('without FIXED_NEWSTYLE leaves EXPORT_NAME alone to the client', async () => {
    const { server } = await serve();
    const client = await RawClient.connect(server);
    await client.greet(2);
    client.send(encodeOption(OPTION.EXPORT_NAME, Buffer.from('disk')));
    expect(await client.read(10)).toHaveLength(10);
    const other = await RawClient.connect(server);
    await other.greet(2);
    other.send(encodeOption(OPTION.LIST));
    expect(await other.readToEnd()).toHaveLength(0);
  });

  it('is followed by an end when an option does not begin with IHAVEOPT', async () => {
    const client = await RawClient.haggling((await serve()).server);
    const option = encodeOption(OPTION.LIST);
    option.writeUInt8(0x48, 0);
    client.send(option);
    expect(await client.readToEnd()).toHaveLength(0);
  });
});

describe('EXPORT_NAME', () => {
  it.each([
    { flags: 0, padding: 124 },
    { flags: 1, padding: 124 },
    { flags: 2, padding: 0 },
    { flags: 3, padding: 0 },
  ])('answers size, flags and $padding zeros to a client with flags $flags', async ({ flags, padding }) => {
    const client = await RawClient.connect((await serve()).server);
    await client.greet(flags);
    client.send(encodeOption(OPTION.EXPORT_NAME, Buffer.from('disk')));
    const answer = await client.read(10 + padding);
    expect(answer.readBigUInt64BE(0)).toBe(BigInt(MIB));
    expect(answer.readUInt16BE(8)).toBe(0x0d6d);
    expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true);
    client.request({ command: COMMAND.READ, offset: 0, length: 512, cookie: 99 });
    expect(await client.simpleReply()).toEqual({ error: 0, cookie: 99 });
  });

  it.each([
    { what: 'an unknown name', name: Buffer.from('nope') },
    { what: 'a name that is not UTF-8', name: Buffer.from([0xff, 0xfe]) },
    { what: 'a name with a NUL', name: Buffer.from('disk\0') },
    { what: 'a name of 4097 bytes', name: Buffer.alloc(4097, 'x') },
    { what: 'a name of 100,000 bytes', name: Buffer.alloc(100_000, 'x') },
  ])('ends the connection for $what, without a word', async ({ name }) => {
    const client = await RawClient.haggling((await serve()).server);
    client.send(encodeOption(OPTION.EXPORT_NAME, name));
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('is forbidden after EXTENDED_HEADERS', async () => {
    const client = await RawClient.haggling((await serve()).server);
    await client.agree(OPTION.EXTENDED_HEADERS);
    client.send(encodeOption(OPTION.EXPORT_NAME, Buffer.from('disk')));
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('keeps structured replies and contexts that were agreed on', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.setContexts('disk', ['base:allocation']);
    client.send(encodeOption(OPTION.EXPORT_NAME, Buffer.from('disk')));
    expect((await client.read(10)).readUInt16BE(8)).toBe(0x0ded);
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 4096 })).toBe(0);
  });
});

describe('ABORT', () => {
  it.each([0, 17])('is acknowledged with %i bytes of data, and then the connection ends', async (length) => {
    const client = await RawClient.haggling((await serve()).server);
    expect(await client.outcome(OPTION.ABORT, Buffer.alloc(length))).toBe(ACK);
    expect(await client.readToEnd()).toHaveLength(0);
  });
});

describe('LIST', () => {
  it('names every export with its description', async () => {
    const { server, exports } = await serve(withBitmaps());
    const client = await RawClient.haggling(server);
    const replies = await client.option(OPTION.LIST);
    expect(replies.map(({ type }) => type)).toEqual([OPTION_REPLY.SERVER, OPTION_REPLY.SERVER, ACK]);
    expect(replies.slice(0, 2).map(({ data }) => decodeServerReply(data))).toEqual([
      { name: 'disk', description: 'a disk' },
      { name: 'other', description: '' },
    ]);
    expect(exports.nrOpened).toBe(0);
  });

  it('with data is invalid, and the connection goes on', async () => {
    const client = await RawClient.haggling((await serve()).server);
    expect(await client.outcome(OPTION.LIST, Buffer.alloc(1))).toBe(ERR_INVALID);
    expect(await client.outcome(OPTION.LIST)).toBe(ACK);
  });
});

describe('INFO and GO', () => {
  it('tell size, flags, name, description and block sizes, asked or not', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    const replies = await client.option(OPTION.INFO, infoRequest('disk', INFO.BLOCK_SIZE, 4242));
    expect(replies.every(({ option }) => option === OPTION.INFO)).toBe(true);
    expect(replies.slice(0, -1).map(({ data }) => decodeInfo(data))).toEqual([
      { type: 'export', size: MIB, flags: 0x0d6d },
      { type: 'name', text: 'disk' },
      { type: 'blockSize', minimum: 1, preferred: 4096, maximum: 33_554_432 },
      { type: 'description', text: 'a disk' },
    ]);
    expect(await client.go('disk')).toEqual({ size: MIB, flags: 0x0d6d });
  });

  it('offer DF only after structured replies or extended headers', async () => {
    const { server } = await serve();
    const client = await RawClient.haggling(server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    const replies = await client.option(OPTION.INFO, infoRequest('disk'));
    expect(exportInfo(replies).flags).toBe(0x0ded);
    const other = await RawClient.haggling(server);
    await other.agree(OPTION.EXTENDED_HEADERS);
    expect((await other.go()).flags).toBe(0x0ded);
  });

  it('offer no writing on an export that is read-only', async () => {
    const device = new MemoryDataDevice({ size: MIB, readOnly: true });
    const client = await RawClient.haggling((await serve({ device })).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    expect((await client.go()).flags).toBe(0x058f);
  });

  it('do not know other names, and the connection goes on', async () => {
    const client = await RawClient.haggling((await serve()).server);
    for (const option of [OPTION.INFO, OPTION.GO]) {
      const [reply] = await client.option(option, infoRequest('nope'));
      expect(reply).toMatchObject({ option, type: ERR_UNKNOWN });
      expect(reply?.data.toString()).toBe('there is no export "nope"');
    }
    expect(await client.go()).toMatchObject({ size: MIB });
  });

  it('send nothing between ACK and the first reply, whatever the client said of zeros', async () => {
    const client = await RawClient.connect((await serve()).server);
    await client.greet(1);
    await client.go();
    client.request({ command: COMMAND.FLUSH, cookie: 3 });
    expect(await client.simpleReply()).toEqual({ error: 0, cookie: 3 });
  });

  const valid = infoRequest('disk', 3);
  const lying = (at: number, u32: number): Buffer => {
    const data = Buffer.from(valid);
    data.writeUInt32BE(u32, at);
    return data;
  };
  it.each([
    { what: 'no data', data: Buffer.alloc(0) },
    { what: 'five bytes', data: Buffer.alloc(5) },
    { what: 'a name of 2^32-1 bytes', data: lying(0, 0xffff_ffff) },
    { what: 'a name that is longer than the data by one', data: lying(0, valid.length - 5) },
    { what: 'a name that leaves a byte over', data: lying(0, 3) },
    { what: 'more info types than there are', data: Buffer.concat([valid.subarray(0, 8), Buffer.from([0, 2, 0, 3])]) },
    { what: 'fewer info types than there are', data: Buffer.concat([valid, Buffer.from([0, 0])]) },
    { what: 'a name of 4097 bytes', data: infoRequest('x'.repeat(4097)) },
    { what: 'a name with a NUL', data: infoRequest('di\0sk') },
  ])('are invalid with $what, and the connection goes on', async ({ data }) => {
    const { server, exports } = await serve();
    const client = await RawClient.haggling(server);
    expect(await client.outcome(OPTION.INFO, data)).toBe(ERR_INVALID);
    expect(await client.outcome(OPTION.GO, data)).toBe(ERR_INVALID);
    expect(exports.nrOpened).toBe(0);
    expect(await client.go()).toMatchObject({ size: MIB });
  });

  it('open the default export for the empty name', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps(''))).server);
    expect(await client.go('')).toMatchObject({ size: MIB });
  });

  it('say that the platform failed when the source does, without its secrets', async () => {
    const { server, exports, logged } = await serve();
    exports.open = async () => {
      throw new Error('/secret/path is missing');
    };
    const client = await RawClient.haggling(server);
    const [reply] = await client.option(OPTION.GO, infoRequest('disk'));
    expect(reply?.type).toBe(OPTION_REPLY.ERR_PLATFORM);
    expect(reply?.data.toString()).not.toContain('secret');
    expect(logged.join()).toContain('/secret/path is missing');
  });
});

describe('other options', () => {
  it.each([4, 12, 99, 0, 0xffff_ffff])('option %i is not supported; its data are consumed', async (option) => {
    const client = await RawClient.haggling((await serve()).server);
    for (const length of [0, 1000, MIB]) {
      const [reply] = await client.option(option, Buffer.alloc(length, 'IHAVEOPT'));
      expect(reply).toMatchObject({ option, type: ERR_UNSUP });
    }
    expect(await client.outcome(OPTION.LIST)).toBe(ACK);
  });

  it('STARTTLS is refused by a server without TLS', async () => {
    const client = await RawClient.haggling((await serve()).server);
    expect(await client.outcome(OPTION.STARTTLS)).toBe(ERR_POLICY);
    expect(await client.outcome(OPTION.STARTTLS, Buffer.alloc(2))).toBe(ERR_INVALID);
    expect(await client.outcome(OPTION.LIST)).toBe(ACK);
  });

  it('STRUCTURED_REPLY and EXTENDED_HEADERS take no data, and are agreed on once', async () => {
    const client = await RawClient.haggling((await serve()).server);
    for (const option of [OPTION.STRUCTURED_REPLY, OPTION.EXTENDED_HEADERS]) {
      expect(await client.outcome(option, Buffer.alloc(1))).toBe(ERR_INVALID);
      expect(await client.outcome(option)).toBe(ACK);
      expect(await client.outcome(option)).toBe(ERR_INVALID);
    }
    expect(await client.outcome(OPTION.STRUCTURED_REPLY)).toBe(ERR_EXT_HEADER_REQD);
  });

  it('are too big beyond the limit, and the connection goes on', async () => {
    const client = await RawClient.haggling((await serve({ limits: { optionSize: 1024 } })).server);
    expect(await client.outcome(OPTION.GO, Buffer.alloc(1025))).toBe(ERR_TOO_BIG);
    expect(await client.outcome(OPTION.LIST, Buffer.alloc(1025))).toBe(ERR_INVALID);
    expect(await client.go()).toMatchObject({ size: MIB });
  });

  it('of more than 16 MiB end the connection before they are read', async () => {
    const client = await RawClient.haggling((await serve()).server);
    const header = encodeOption(OPTION.GO);
    header.writeUInt32BE(0xffff_ffff, 12);
    client.send(header);
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('may all come in one piece', async () => {
    const client = await RawClient.haggling((await serve()).server);
    client.send(
      Buffer.concat([
        encodeOption(OPTION.STRUCTURED_REPLY),
        encodeOption(99, Buffer.alloc(5)),
        encodeOption(OPTION.LIST),
        encodeOption(OPTION.GO, infoRequest('disk')),
      ]),
    );
    const outcomes: (number | undefined)[] = [];
    while (outcomes.length < 4) outcomes.push((await client.optionReplies()).at(-1)?.type);
    expect(outcomes).toEqual([ACK, ERR_UNSUP, ACK, ACK]);
    expect(await client.tried({ command: COMMAND.FLUSH })).toBe(0);
  });
});

describe('LIST_META_CONTEXT', () => {
  const all = ['base:allocation', 'qemu:dirty-bitmap:monday', 'qemu:dirty-bitmap:tuesday', 'x-pdata:sharing'];
  it.each([
    { queries: [], names: all },
    { queries: ['base:'], names: all.slice(0, 1) },
    { queries: ['base:allocation'], names: all.slice(0, 1) },
    { queries: ['qemu:'], names: all.slice(1, 3) },
    { queries: ['qemu:dirty-bitmap:'], names: all.slice(1, 3) },
    { queries: ['qemu:dirty-bitmap:tuesday', 'qemu:dirty-bitmap:'], names: all.slice(1, 3) },
    { queries: ['base:nothing', 'unknown:', 'qemu', 'allocation', ''], names: [] },
  ])('answers $queries with $names', async ({ queries, names }) => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    const replies = await client.option(OPTION.LIST_META_CONTEXT, contextRequest('disk', ...queries));
    expect(replies.at(-1)?.type).toBe(ACK);
    expect(metaContexts(replies)).toEqual(names.map((name) => ({ id: 0, name })));
  });

  it('selects nothing', async () => {
    const client = await RawClient.haggling((await serve()).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.agree(OPTION.LIST_META_CONTEXT, contextRequest('disk'));
    await client.go();
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
  });
});

describe('SET_META_CONTEXT', () => {
  it('selects by exact name, each once, under ids of their own', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    const selected = await client.setContexts('disk', [
      'qemu:dirty-bitmap:monday',
      'base:allocation',
      'base:allocation',
      'qemu:',
      'unknown:thing',
    ]);
    expect(selected.map(({ name }) => name).sort()).toEqual(['base:allocation', 'qemu:dirty-bitmap:monday']);
    expect(new Set(selected.map(({ id }) => id)).size).toBe(2);
  });

  it.each([{ queries: [] }, { queries: ['base:'] }, { queries: ['qemu:dirty-bitmap:'] }])(
    'selects nothing for $queries',
    async ({ queries }) => {
      const client = await RawClient.haggling((await serve(withBitmaps())).server);
      await client.agree(OPTION.STRUCTURED_REPLY);
      await client.setContexts('disk', ['base:allocation']);
      expect(await client.setContexts('disk', queries)).toEqual([]);
      await client.go();
      expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
    },
  );

  it('is invalid without structured replies', async () => {
    const client = await RawClient.haggling((await serve()).server);
    expect(await client.outcome(OPTION.SET_META_CONTEXT, contextRequest('disk', 'base:allocation'))).toBe(ERR_INVALID);
  });

  it.each([
    { what: 'fails for an unknown export', data: contextRequest('nope', 'base:allocation'), outcome: ERR_UNKNOWN },
    { what: 'is malformed', data: Buffer.from([0, 0, 0, 9]), outcome: ERR_INVALID },
  ])('forgets the earlier selection even when it $what', async ({ data, outcome }) => {
    const client = await RawClient.haggling((await serve()).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.setContexts('disk', ['base:allocation']);
    expect(await client.outcome(OPTION.SET_META_CONTEXT, data)).toBe(outcome);
    await client.go();
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
  });

  it('holds for its export alone: GO with another name drops it', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.setContexts('disk', ['base:allocation']);
    await client.go('other');
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
  });

  it('survives an INFO, and a GO that failed', async () => {
    const client = await RawClient.haggling((await serve(withBitmaps())).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.setContexts('disk', ['base:allocation']);
    await client.agree(OPTION.INFO, infoRequest('other'));
    expect(await client.outcome(OPTION.GO, infoRequest('nope'))).toBe(ERR_UNKNOWN);
    await client.go('disk');
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(0);
  });

  const valid = contextRequest('disk', 'base:allocation');
  const lying = (at: number, u32: number): Buffer => {
    const data = Buffer.from(valid);
    data.writeUInt32BE(u32, at);
    return data;
  };
  it.each([
    { what: 'no data', data: Buffer.alloc(0) },
    { what: 'a name of 2^32-1 bytes', data: lying(0, 0xffff_ffff) },
    { what: '2^32-1 queries', data: lying(8, 0xffff_ffff) },
    { what: 'two queries where one is', data: lying(8, 2) },
    { what: 'a query that leaves the data', data: lying(12, 16) },
    { what: 'a query that leaves a byte over', data: lying(12, 14) },
    { what: 'a query of 4097 bytes', data: contextRequest('disk', 'x'.repeat(4097)) },
    { what: 'a query that is not UTF-8', data: Buffer.concat([valid.subarray(0, -1), Buffer.from([0xff])]) },
  ])('is invalid with $what, as LIST_META_CONTEXT is', async ({ data }) => {
    const client = await RawClient.haggling((await serve()).server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    expect(await client.outcome(OPTION.SET_META_CONTEXT, data)).toBe(ERR_INVALID);
    expect(await client.outcome(OPTION.LIST_META_CONTEXT, data)).toBe(ERR_INVALID);
    expect(await client.go()).toMatchObject({ size: MIB });
  });

  it('with 100,000 queries is too big', async () => {
    const client = await RawClient.haggling((await serve()).server);
    const queries = new Array<string>(100_000).fill('');
    expect(await client.outcome(OPTION.LIST_META_CONTEXT, contextRequest('disk', ...queries))).toBe(ERR_TOO_BIG);
    expect(await client.go()).toMatchObject({ size: MIB });
  });
});

it('gives up a client that closes in the middle of an option', async () => {
  const { server } = await serve();
  const client = await RawClient.haggling(server);
  client.send(encodeOption(OPTION.GO, infoRequest('disk')).subarray(0, 20));
  client.socket.end();
  await expect(client.read(1)).rejects.toThrow(ServerClosed);
});
