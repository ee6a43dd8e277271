import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchDirectory } from '../../test/run-tool.js';
import type { CommandLine, ParsedOptions } from '../command-line/option-table.js';
import { parseCommandLine, UsageError } from '../command-line/parse.js';
import { addressOptions, type ServeAddress, serveAddress } from './serve-address.js';

const directory = scratchDirectory();
const pem = (name: string): string => {
  const path = join(directory, name);
  writeFileSync(path, `the ${name}`);
  return path;
};
const cert = pem('cert.pem');
const key = pem('key.pem');
const ca = pem('ca.pem');

const commandLine: CommandLine<typeof addressOptions> = { name: 'serve', summary: 'Serve.', options: addressOptions };

function addressOf(line: string): ServeAddress {
  const parsed = parseCommandLine(commandLine, line === '' ? [] : line.split(' ')) as {
    options: ParsedOptions<typeof addressOptions>;
  };
  return serveAddress(parsed.options);
}

describe('a server listens', () => {
  it.each([
    ['', { host: '127.0.0.1', port: 10809 }],
    ['--port 0', { host: '127.0.0.1', port: 0 }],
    ['--host ::1 --port 1', { host: '::1', port: 1 }],
    ['--host localhost', { host: 'localhost', port: 10809 }],
    ['--host 127.1.2.3', { host: '127.1.2.3', port: 10809 }],
    ['--socket /tmp/x', { socketPath: '/tmp/x' }],
    ['--host 0.0.0.0 --insecure', { host: '0.0.0.0', port: 10809 }],
  ])('with "%s" where it should', (line, listen) => {
    expect(addressOf(line)).toMatchObject({ listen });
    expect(addressOf(line).tls).toBeUndefined();
  });

  it.each(['0.0.0.0', '::', '192.0.2.7', 'server.example', '127.example', '1270.0.0.1'])(
    'on %s, which others can reach, only with TLS or when told to',
    (host) => {
      expect(() => addressOf(`--host ${host}`)).toThrow(
        `anybody who can reach ${host} could read and write what is served`,
      );
      expect(addressOf(`--host ${host} --insecure`).warning).toContain(`whoever reaches ${host} can read and write`);
      expect(addressOf(`--host ${host} --tls-cert ${cert} --tls-key ${key}`)).toEqual({
        listen: { host, port: 10809 },
        tls: { cert: Buffer.from('the cert.pem'), key: Buffer.from('the key.pem') },
        warning: expect.stringContaining(`whoever reaches ${host} can read and write; --tls-ca admits only those`),
      });
      expect(addressOf(`--host ${host} --tls-cert ${cert} --tls-key ${key} --tls-ca ${ca}`)).toEqual({
        listen: { host, port: 10809 },
        tls: {
          cert: Buffer.from('the cert.pem'),
          key: Buffer.from('the key.pem'),
          ca: Buffer.from('the ca.pem'),
          requestCert: true,
        },
      });
    },
  );

  it('with TLS also on a Unix socket and on the loopback address', () => {
    for (const where of ['--socket /tmp/x', '--port 5']) {
      const { tls, warning } = addressOf(`${where} --tls-cert ${cert} --tls-key ${key}`);
      expect(tls).toEqual({ cert: Buffer.from('the cert.pem'), key: Buffer.from('the key.pem') });
      expect(warning).toBeUndefined();
    }
  });
});

describe('options that do not go together are refused', () => {
  it.each([
    ['--socket /tmp/x --port 1', "'--socket <PATH>' cannot be used with '--port <N>'"],
    ['--socket /tmp/x --host ::1', "'--socket <PATH>' cannot be used with '--host <ADDRESS>'"],
    ['--socket /tmp/x --insecure', "'--insecure' cannot be used with '--socket <PATH>'"],
    [`--host :: --insecure --tls-cert ${cert}`, "'--insecure' cannot be used with '--tls-cert <FILE>'"],
    ['--port 65536', "invalid value '65536' for '--port <N>': 65536 is not in 0..=65535"],
    ['--port -1', "unexpected argument '-1' found"],
  ])('%s', (line, reason) => {
    expect(() => addressOf(line)).toThrow(UsageError);
    expect(() => addressOf(line)).toThrow(reason);
  });

  it.each([
    ['--insecure', '--insecure, but 127.0.0.1 can be reached from this machine alone'],
    [`--tls-cert ${cert}`, 'there is a --tls-cert without its --tls-key'],
    [`--tls-key ${key}`, 'there is a --tls-key without its --tls-cert'],
    [`--tls-ca ${ca}`, 'there is a --tls-ca without TLS'],
    ['--socket=', '--socket is empty'],
    ['--host=', '--host is empty'],
  ])('%s', (line, reason) => {
    expect(() => addressOf(line)).toThrow(expect.objectContaining({ code: 'ERR_USAGE', exitCode: 2, message: reason }));
  });

  it('and so are certificates that cannot be read', () => {
    const missing = join(directory, 'missing.pem');
    expect(() => addressOf(`--tls-cert ${missing} --tls-key ${key}`)).toThrow(
      `cannot read '${missing}' (--tls-cert): no such file or directory`,
    );
  });
});
