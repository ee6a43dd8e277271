/** Servers that refuse, or break the protocol, before there is a disk. */
import { DeviceOpenError, StoreError } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import {
  greeting,
  type ScriptedConnection,
  scriptedServer,
  USUAL_FLAGS,
  USUAL_OFFER,
  u32,
  u64,
} from '../../test/scripted-server.js';
import { INFO, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import { encodeInfo, encodeMetaContextReply, encodeOptionReply, encodeServerReply } from '../protocol/options.js';
import { connectNbd, listNbdExports } from './connect.js';
import { NbdProtocolError } from './errors.js';

const EXPORT = encodeInfo({ type: 'export', size: 2 ** 20, flags: USUAL_FLAGS });
const blockSize = (minimum: number, preferred: number, maximum: number): Buffer =>
  encodeInfo({ type: 'blockSize', minimum, preferred, maximum });
const info = (data: Uint8Array): Buffer => encodeOptionReply(OPTION.GO, OPTION_REPLY.INFO, data);
const ack = (option: number): Buffer => encodeOptionReply(option, OPTION_REPLY.ACK);

/** Answers options as usual, but one of them with `replies`. */
async function answerOnly(connection: ScriptedConnection, option: number, ...replies: Uint8Array[]): Promise<void> {
  await connection.greet();
  for (;;) {
    const asked = await connection.nextOption();
    if (asked === undefined) return;
    if (asked.option === option) connection.send(...replies);
    else if (asked.option === OPTION.STRUCTURED_REPLY) connection.send(ack(asked.option));
    else if (asked.option === OPTION.GO) {
      connection.send(info(EXPORT), ack(OPTION.GO));
      return;
    } else connection.send(encodeOptionReply(asked.option, OPTION_REPLY.ERR_UNSUP));
  }
}

const { GO, STRUCTURED_REPLY, SET_META_CONTEXT } = OPTION;
const LIES: { lie: string; script: (connection: ScriptedConnection) => Promise<void>; says: string | RegExp }[] = [
  {
    lie: 'another protocol',
    script: async (c) => c.send(Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n')),
    says: 'is not an NBD server',
  },
  {
    lie: 'a greeting of no known kind',
    script: async (c) => c.send(Buffer.from('NBDMAGICNOTANOPT\0\u0003')),
    says: 'does not go on with "IHAVEOPT"',
  },
  {
    lie: 'half a greeting',
    script: async (c) => void c.socket.end(greeting(3).subarray(0, 9)),
    says: 'closed the connection in the middle of the handshake',
  },
  {
    lie: 'a reply with a wrong magic number',
    script: (c) => answerOnly(c, GO, Buffer.alloc(20, 1)),
    says: 'does not begin with its magic number',
  },
  {
    lie: 'a reply to another option',
    script: (c) => answerOnly(c, GO, ack(STRUCTURED_REPLY)),
    says: 'it answers option 8, and was asked for option 7',
  },
  {
    lie: 'a reply of almost 4 GiB',
    script: (c) => answerOnly(c, GO, Buffer.concat([info(EXPORT).subarray(0, 16), u32(2 ** 32 - 1)])),
    says: 'has 4294967295 bytes, more than any needs',
  },
  { lie: 'no export', script: (c) => answerOnly(c, GO, ack(GO)), says: 'without telling its size' },
  {
    lie: 'an export of 11 bytes',
    script: (c) => answerOnly(c, GO, info(EXPORT.subarray(0, 11)), ack(GO)),
    says: 'info 0 has 11 bytes, expected 12',
  },
  {
    lie: 'transmission flags without HAS_FLAGS',
    script: (c) => answerOnly(c, GO, info(encodeInfo({ type: 'export', size: 512, flags: 4 })), ack(GO)),
    says: 'lack the one that says they are flags',
  },
  {
    lie: 'an export that could not be addressed',
    script: (c) =>
      answerOnly(
        c,
        GO,
        info(Buffer.concat([Buffer.from([0, INFO.EXPORT]), Buffer.alloc(8, 255), Buffer.from([0, 1])])),
        ack(GO),
      ),
    says: 'larger than 2^53 bytes',
  },
  {
    lie: 'a smallest block of 0',
    script: (c) => answerOnly(c, GO, info(EXPORT), info(blockSize(0, 4096, 2 ** 25)), ack(GO)),
    says: 'smallest block is 0',
  },
  {
    lie: 'a smallest block of 3 sectors',
    script: (c) => answerOnly(c, GO, info(EXPORT), info(blockSize(1536, 4096, 2 ** 25)), ack(GO)),
    says: 'smallest block is 1536',
  },
  {
    lie: 'a smallest block of 128 KiB',
    script: (c) => answerOnly(c, GO, info(EXPORT), info(blockSize(131072, 131072, 2 ** 25)), ack(GO)),
    says: 'smallest block is 131072',
  },
  {
    lie: 'a preferred block of 256',
    script: (c) => answerOnly(c, GO, info(EXPORT), info(blockSize(1, 256, 2 ** 25)), ack(GO)),
    says: 'preferred block is 256',
  },
  {
    lie: 'a largest payload of 0',
    script: (c) => answerOnly(c, GO, info(EXPORT), info(blockSize(1, 4096, 0)), ack(GO)),
    says: 'largest payload is 0',
  },
  {
    lie: 'exports in answer to GO',
    script: (c) => answerOnly(c, GO, encodeOptionReply(GO, OPTION_REPLY.SERVER, u32(0))),
    says: 'contains a reply of type 2',
  },
  {
    lie: 'an info in answer to STRUCTURED_REPLY',
    script: (c) => answerOnly(c, STRUCTURED_REPLY, encodeOptionReply(STRUCTURED_REPLY, OPTION_REPLY.INFO, EXPORT)),
    says: 'answers option 8 with a reply of type 3',
  },
  {
    lie: 'a context that was not asked for',
    script: (c) =>
      answerOnly(
        c,
        SET_META_CONTEXT,
        encodeOptionReply(SET_META_CONTEXT, OPTION_REPLY.META_CONTEXT, encodeMetaContextReply({ id: 1, name: 'x:y' })),
      ),
    says: 'agrees on the context "x:y", which was not asked for',
  },
  {
    lie: 'a context twice',
    script: (c) => {
      const reply = encodeOptionReply(
        SET_META_CONTEXT,
        OPTION_REPLY.META_CONTEXT,
        encodeMetaContextReply({ id: 1, name: 'base:allocation' }),
      );
      return answerOnly(c, SET_META_CONTEXT, reply, reply);
    },
    says: 'names a context or an id twice',
  },
  {
    lie: 'infos without end',
    script: async (c) => {
      const many = Buffer.concat(Array.from({ length: 500 }, () => info(EXPORT)));
      await c.greet();
      await c.accept(USUAL_OFFER, GO);
      while (!c.socket.destroyed) {
        c.send(many);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    says: 'its answer to option 7 does not end',
  },
];

describe('a server that answers the handshake with', () => {
  it.each(LIES)('$lie is refused', async ({ script, says }) => {
    await using server = await scriptedServer(script);
    const failure = await connectNbd(server.target, { name: 'disk' }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StoreError);
    expect((failure as Error).message).toMatch(says);
    if (!/2\^53/.test(String(says))) expect(failure).toBeInstanceOf(NbdProtocolError);
  });
});

describe('a server that refuses', () => {
  it.each([
    [OPTION_REPLY.ERR_POLICY, 'does not allow it'],
    [OPTION_REPLY.ERR_UNKNOWN, 'has no such export; listNbdExports tells which there are (it says: go away)'],
    [OPTION_REPLY.ERR_TLS_REQD, 'wants TLS first'],
    [OPTION_REPLY.ERR_SHUTDOWN, 'is shutting down'],
    [OPTION_REPLY.ERR_BLOCK_SIZE_REQD, 'wants its block size obeyed'],
    [0x8000_0fff, 'answers with the error 0x80000fff'],
  ])('an export by reply 0x%s is quoted', async (type, says) => {
    await using server = await scriptedServer((c) =>
      answerOnly(c, GO, encodeOptionReply(GO, type, Buffer.from('go away'))),
    );
    const opening = connectNbd(server.target, { exportName: 'x' });
    await expect(opening).rejects.toThrow(DeviceOpenError);
    await expect(opening).rejects.toThrow(says);
    await expect(opening).rejects.toThrow('refuses the export "x"');
  });

  it('nothing but accepts and keeps silent is given up', async () => {
    await using server = await scriptedServer(async () => {});
    await expect(connectNbd(server.target, { connectMs: 100 })).rejects.toThrow(
      'no NBD server has answered within 0.1 s',
    );
  });

  it('an export the old way, by hanging up', async () => {
    await using server = await scriptedServer(async (connection) => {
      await connection.greet(0);
      await connection.nextOption();
      connection.socket.end();
    });
    await expect(connectNbd(server.target, { exportName: 'x' })).rejects.toThrow('has no export "x"');
  });

  it('a name of more than 4096 bytes is not even asked', async () => {
    await using server = await scriptedServer((c) => answerOnly(c, GO, ack(GO)));
    await expect(connectNbd(server.target, { exportName: 'ä'.repeat(2049) })).rejects.toThrow('at most 4096 bytes');
  });
});

it('goes away when somebody put plain text behind the agreement to TLS (CVE-2021-3716, seen from the client)', async () => {
  await using server = await scriptedServer(async (connection) => {
    await connection.greet();
    const asked = await connection.nextOption();
    expect(asked?.option).toBe(OPTION.STARTTLS);
    connection.send(ack(OPTION.STARTTLS), encodeOptionReply(STRUCTURED_REPLY, OPTION_REPLY.ACK));
  });
  await expect(connectNbd(server.target, { tls: true })).rejects.toThrow(
    'bytes follow its agreement to TLS that are not TLS',
  );
});

it('says that TLS failed when the server agrees to it and then speaks something else', async () => {
  await using server = await scriptedServer(async (connection) => {
    await connection.greet();
    await connection.nextOption();
    connection.send(ack(OPTION.STARTTLS));
    await connection.take(5);
    connection.send(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'));
  });
  await expect(connectNbd(server.target, { tls: true })).rejects.toThrow(/cannot connect to nbds\+unix/);
});

it('refuses a server whose connections show different disks', async () => {
  await using server = await scriptedServer(async (connection, nr) => {
    await connection.greet();
    await connection.accept({ ...USUAL_OFFER, flags: USUAL_FLAGS | 256, size: 2 ** 20 + nr * 512 });
  });
  await expect(connectNbd(server.target, { connections: 2 })).rejects.toThrow(
    'it shows one export differently on two connections',
  );
});

it('lists exports, and bounds how many', async () => {
  const { LIST } = OPTION;
  const entry = (name: string, description = ''): Buffer =>
    encodeOptionReply(LIST, OPTION_REPLY.SERVER, encodeServerReply({ name, description }));
  await using server = await scriptedServer((c) => answerOnly(c, LIST, entry('a', 'first'), entry(''), ack(LIST)));
  expect(await listNbdExports(server.target)).toEqual([
    { name: 'a', description: 'first' },
    { name: '', description: '' },
  ]);
  const many = Buffer.concat(Array.from({ length: 66_000 }, () => entry('x')));
  await using endless = await scriptedServer((c) => answerOnly(c, LIST, many));
  await expect(listNbdExports(endless.target)).rejects.toThrow('its answer to option 3 does not end');
  await using closed = await scriptedServer((c) =>
    answerOnly(c, LIST, encodeOptionReply(LIST, OPTION_REPLY.ERR_POLICY)),
  );
  await expect(listNbdExports(closed.target)).rejects.toThrow(
    'refuses the list of exports: the server does not allow it',
  );
  await using wrong = await scriptedServer((c) =>
    answerOnly(c, LIST, encodeOptionReply(LIST, OPTION_REPLY.SERVER, u64(9))),
  );
  await expect(listNbdExports(wrong.target)).rejects.toThrow(NbdProtocolError);
});

it.each([
  ['connections', { connections: 0 }],
  ['connections', { connections: 17 }],
  ['replyMs', { replyMs: 0 }],
  ['maxInFlight', { maxInFlight: 1.5 }],
])('refuses a %s that cannot be', async (what, options) => {
  await expect(connectNbd({ socketPath: '/none' }, options)).rejects.toThrow(RangeError);
  await expect(connectNbd({ socketPath: '/none' }, options)).rejects.toThrow(
    `${what} must be a whole number from 1 to`,
  );
});
