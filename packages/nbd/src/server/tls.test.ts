import { connect as connectTls, type TLSSocket } from 'node:tls';
import { MemoryDataDevice } from '@pdata/device';
import { STRANGER_CERTIFICATE, STRANGER_KEY, TEST_CERTIFICATE, TEST_KEY } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { RawClient } from '../../test/raw-client.js';
import { expectBytes, MIB, patternBytes, serve, until } from '../../test/served.js';
import { COMMAND, OPTION, OPTION_REPLY } from '../protocol/constants.js';
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../protocol/options.js';
import type { NbdServer } from './nbd-server.js';

const { ACK, ERR_INVALID, ERR_TLS_REQD } = OPTION_REPLY;
const certificate = { cert: TEST_CERTIFICATE, key: TEST_KEY };
const required = { ...certificate, mode: 'require' } as const;
const allowed = { ...certificate, mode: 'allow' } as const;
const goRequest = encodeInfoRequest({ name: 'disk', infoTypes: [] });
const baseRequest = encodeMetaContextRequest({ name: 'disk', queries: ['base:allocation'] });

/** Says STARTTLS and goes on encrypted; `plain` may have agreed on things before. */
async function encrypted(
  plain: RawClient,
  maxVersion?: 'TLSv1.2' | 'TLSv1.1',
  own: { cert?: string; key?: string } = {},
): Promise<RawClient> {
  await plain.agree(OPTION.STARTTLS);
  plain.socket.removeAllListeners('data');
  const socket: TLSSocket = connectTls({
    socket: plain.socket,
    ca: TEST_CERTIFICATE,
    ...own,
    servername: 'localhost',
    ...(maxVersion && { maxVersion, minVersion: maxVersion, ciphers: 'DEFAULT:@SECLEVEL=0' }),
  });
  await new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed in the TLS handshake')));
  });
  return new RawClient(socket);
}
const tlsClient = async (server: NbdServer): Promise<RawClient> => encrypted(await RawClient.haggling(server));

describe('a server that requires TLS', () => {
  it('answers every option but STARTTLS and ABORT with ERR_TLS_REQD', async () => {
    const { server, exports } = await serve({ tls: required });
    const client = await RawClient.haggling(server);
    for (const [option, data] of [
      [OPTION.LIST, undefined],
      [OPTION.INFO, goRequest],
      [OPTION.GO, goRequest],
      [OPTION.STRUCTURED_REPLY, undefined],
      [OPTION.LIST_META_CONTEXT, baseRequest],
      [OPTION.SET_META_CONTEXT, baseRequest],
      [OPTION.EXTENDED_HEADERS, undefined],
      [99, Buffer.alloc(MIB)],
    ] as const) {
      expect(await client.outcome(option, data), `option ${option}`).toBe(ERR_TLS_REQD);
    }
    expect(exports.nrOpened).toBe(0);
    expect(await client.outcome(OPTION.ABORT)).toBe(ACK);
  });

  it('ends the connection for EXPORT_NAME', async () => {
    const client = await RawClient.haggling((await serve({ tls: required })).server);
    client.send(encodeOption(OPTION.EXPORT_NAME, Buffer.from('disk')));
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('serves a client that has started TLS', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const { server } = await serve({ tls: required, device });
    const client = await tlsClient(server);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.go();
    expectBytes(await client.readData(0, MIB), patternBytes(MIB));
    const payload = patternBytes(300_000, 3);
    expect(await client.tried({ command: COMMAND.WRITE, offset: 5, payload })).toBe(0);
    expectBytes(await client.readData(5, 300_000), payload);
    expect(server.clients).toMatchObject([{ encrypted: true, exportName: 'disk' }]);
    client.request({ command: COMMAND.DISC });
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('refuses versions before TLS 1.2', async () => {
    const { server } = await serve({ tls: required });
    await expect(encrypted(await RawClient.haggling(server), 'TLSv1.1')).rejects.toThrow();
    const client = await encrypted(await RawClient.haggling(server), 'TLSv1.2');
    await client.go();
    expect(await client.tried({ command: COMMAND.FLUSH })).toBe(0);
  });

  it('works over TCP, too', async () => {
    const client = await tlsClient((await serve({ tls: required, listen: { port: 0 } })).server);
    await client.go();
    expectBytes(await client.readData(0, 4096), patternBytes(MIB).subarray(0, 4096));
  });

  it('cuts off a client that sends plain bytes where TLS must begin, and serves the next', async () => {
    const { server, logged } = await serve({ tls: required });
    const client = await RawClient.haggling(server);
    await client.agree(OPTION.STARTTLS);
    client.send(encodeOption(OPTION.LIST));
    await client.readToEnd();
    expect(logged).toHaveLength(1);
    const other = await tlsClient(server);
    expect(await other.outcome(OPTION.LIST)).toBe(ACK);
  });

  it('cuts off a client that stays silent where TLS must begin', async () => {
    const { server } = await serve({ tls: required, limits: { handshakeMs: 50 } });
    const client = await RawClient.haggling(server);
    await client.agree(OPTION.STARTTLS);
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('closes in good order while clients are attached', async () => {
    const { server } = await serve({ tls: required });
    const client = await tlsClient(server);
    await client.go();
    const half = await RawClient.haggling(server);
    await half.agree(OPTION.STARTTLS);
    await server.close({ graceMs: 200 });
    expect(await client.readToEnd()).toHaveLength(0);
  });
});

describe('a server that asks for certificates', () => {
  const asking = { ...required, requestCert: true, ca: TEST_CERTIFICATE };

  it('serves a client whose certificate it trusts', async () => {
    const { server } = await serve({ tls: asking });
    const client = await encrypted(await RawClient.haggling(server), undefined, certificate);
    await client.go();
    expect(await client.tried({ command: COMMAND.FLUSH })).toBe(0);
  });

  it('serves neither a client without one, nor one that it does not trust, and opens nothing for them', async () => {
    const { server, exports, logged } = await serve({ tls: asking });
    const stranger = { cert: STRANGER_CERTIFICATE, key: STRANGER_KEY };
    for (const own of [{}, stranger]) {
      for (const version of [undefined, 'TLSv1.2'] as const) {
        const answered = encrypted(await RawClient.haggling(server), version, own).then((client) => client.go());
        await expect(answered).rejects.toThrow(); // with TLS 1.3 the client learns of it only after its own part is done
      }
    }
    await until(() => server.clients.length === 0);
    expect(exports.nrOpened).toBe(0);
    expect(logged).toHaveLength(4);
  });
});

it.each<[string, { cert?: string; key?: string }, string]>([
  ['a certificate that is none', { cert: 'hello' }, 'one of them is no PEM, or the other thing'],
  [
    'certificate and key exchanged',
    { cert: TEST_KEY, key: TEST_CERTIFICATE },
    'one of them is no PEM, or the other thing',
  ],
  ['a certificate that is cut off', { cert: TEST_CERTIFICATE.slice(0, 200) }, 'one of them is cut off'],
  ['a key that is none', { key: 'hello' }, 'the key is no PEM, or damaged'],
  ['the key of another', { key: STRANGER_KEY }, 'the key does not belong to the certificate'],
  ['empty files', { cert: '', key: '' }, 'one of them is empty'],
  ['an empty key', { key: ' ' }, ''],
])('a server is not started with %s', async (_, change, says) => {
  await expect(serve({ tls: { ...required, ...change } })).rejects.toMatchObject({
    code: 'ERR_NBD_CERTIFICATE',
    message: expect.stringContaining(`the certificate or the key cannot be used: ${says}`),
  });
});

describe('a server that asks for certificates with nobody to vouch for them', () => {
  it.each([
    ['no ca', undefined],
    ['an empty one', ''],
    ['an empty file', Buffer.alloc(0)],
    ['an empty list', []],
    ['no PEM', 'hello'],
    ['a key', TEST_KEY],
  ])('is not started with %s', async (_, ca) => {
    const tls = { ...required, requestCert: true, ...(ca === undefined ? {} : { ca }) };
    await expect(serve({ tls })).rejects.toThrow('what shall vouch for clients holds no certificate');
  });

  it('is not started with a damaged certificate beside a good one', async () => {
    const damaged = TEST_CERTIFICATE.toString().replace(/MII./, 'AAAA');
    for (const ca of [TEST_CERTIFICATE + damaged, [TEST_CERTIFICATE, Buffer.from(damaged)]]) {
      const tls = { ...required, requestCert: true, ca };
      await expect(serve({ tls })).rejects.toMatchObject({
        code: 'ERR_NBD_LISTEN',
        message: expect.stringContaining('is damaged'),
      });
    }
  });
});

describe('a server that allows TLS', () => {
  it('serves clients with and without it', async () => {
    const { server } = await serve({ tls: allowed });
    const plain = await RawClient.transmitting(server);
    expect(await plain.tried({ command: COMMAND.FLUSH })).toBe(0);
    const client = await tlsClient(server);
    await client.go();
    expect(await client.tried({ command: COMMAND.FLUSH })).toBe(0);
  });

  it('takes STARTTLS once, and without data', async () => {
    const { server } = await serve({ tls: allowed });
    const client = await RawClient.haggling(server);
    expect(await client.outcome(OPTION.STARTTLS, Buffer.alloc(1))).toBe(ERR_INVALID);
    expect(await (await encrypted(client)).outcome(OPTION.STARTTLS)).toBe(ERR_INVALID);
  });

  it('forgets at STARTTLS all that was agreed on before (CVE-2021-3716)', async () => {
    const { server } = await serve({ tls: allowed });
    const plain = await RawClient.haggling(server);
    await plain.agree(OPTION.STRUCTURED_REPLY);
    expect(await plain.setContexts('disk', ['base:allocation'])).toHaveLength(1);
    const client = await encrypted(plain);
    // Structured replies are forgotten: no DF, contexts are refused, a READ is answered simply.
    expect(await client.outcome(OPTION.SET_META_CONTEXT, baseRequest)).toBe(ERR_INVALID);
    expect((await client.go()).flags).toBe(0x0d6d);
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
    client.request({ command: COMMAND.READ, length: 512, cookie: 2 });
    expect(await client.simpleReply()).toEqual({ error: 0, cookie: 2 });
  });

  it('forgets at STARTTLS extended headers and the selection of contexts, and gives back the export', async () => {
    const { server, exports } = await serve({ tls: allowed });
    const plain = await RawClient.haggling(server);
    await plain.agree(OPTION.EXTENDED_HEADERS);
    await plain.setContexts('disk', ['base:allocation']);
    const client = await encrypted(plain);
    await until(() => exports.nrReleased === 1);
    expect(exports.nrOpened).toBe(1);
    await client.agree(OPTION.STRUCTURED_REPLY);
    await client.go();
    expect(await client.tried({ command: COMMAND.BLOCK_STATUS, length: 512 })).toBe(22);
  });

  it('takes nothing that was said in plain text for encrypted (bytes sent together with STARTTLS)', async () => {
    const { server, logged, exports } = await serve({ tls: allowed });
    const client = await RawClient.haggling(server);
    client.send(Buffer.concat([encodeOption(OPTION.STARTTLS), encodeOption(OPTION.GO, goRequest)]));
    const answer = await client.readToEnd();
    expect(answer.length).toBeLessThanOrEqual(20); // at most the ACK
    expect(logged.join()).toContain('between STARTTLS and its answer');
    expect(exports.nrOpened).toBe(0);
  });
});
