import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatNbdUri, NbdUriError, parseNbdUri } from './uri.js';

describe('an NBD URI', () => {
  it.each([
    ['nbd://localhost', { target: { host: 'localhost' }, exportName: '', tls: false }],
    ['nbd://localhost:10810/', { target: { host: 'localhost', port: 10810 }, exportName: '', tls: false }],
    ['nbd://h:/x', { target: { host: 'h' }, exportName: 'x', tls: false }],
    ['nbds://[::1]:1/a/b', { target: { host: '::1', port: 1 }, exportName: 'a/b', tls: true }],
    ['NBD://h//abs%20olute', { target: { host: 'h' }, exportName: '/abs olute', tls: false }],
    ['nbd+unix:///?socket=/run/nbd.sock', { target: { socketPath: '/run/nbd.sock' }, exportName: '', tls: false }],
    ['nbd+unix://?socket=nbd.sock', { target: { socketPath: 'nbd.sock' }, exportName: '', tls: false }],
    ['nbds+unix:///v%C3%A4?socket=/a%26b', { target: { socketPath: '/a&b' }, exportName: 'vä', tls: true }],
    [
      'nbds://h/x?tls-certificates=/pki&tls-hostname=real&unknown=1',
      { target: { host: 'h' }, exportName: 'x', tls: true, tlsCertificates: '/pki', tlsHostname: 'real' },
    ],
  ])('%s is understood', (uri, meaning) => {
    expect(parseNbdUri(uri)).toEqual(meaning);
  });

  it.each([
    ['/dev/nbd0', 'is not an NBD URI'],
    ['http://localhost/', 'has the scheme "http"'],
    ['nbd+vsock://3/x', 'has the scheme "nbd+vsock"'],
    ['nbd:///x', 'names no host'],
    ['nbd://h:0/', 'names the port 0'],
    ['nbd://h:65536/', 'names the port 65536'],
    ['nbd://h:1x/', 'names the host "h:1x"'],
    ['nbd://user@h/', 'names the host "user@h"'],
    ['nbd://h/?socket=/s', 'has a socket, but its scheme is for TCP'],
    ['nbd+unix:///x', 'lacks the parameter socket'],
    ['nbd+unix://h/x?socket=/s', 'names the host "h"'],
    ['nbd://h/%zz', 'has a wrong percent-encoding in "%zz"'],
    ['nbd://h/a%00b', 'has a zero byte'],
    ['nbds://h/?tls-psk-file=/keys', 'has the parameter "tls-psk-file"'],
  ])('%s is refused, because it %s', (uri, says) => {
    expect(() => parseNbdUri(uri)).toThrow(NbdUriError);
    expect(() => parseNbdUri(uri)).toThrow(says);
  });

  it('means what it was made of, whatever the names', () => {
    const name = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'));
    const path = name.filter((text) => text !== '');
    const target = fc.oneof(
      path.map((socketPath) => ({ socketPath })),
      fc.record({ host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()) }),
      fc.record({ host: fc.domain(), port: fc.integer({ min: 1, max: 65535 }) }),
    );
    const uri = fc.record(
      { target, exportName: name, tls: fc.boolean(), tlsCertificates: path, tlsHostname: path },
      { requiredKeys: ['target', 'exportName', 'tls'] },
    );
    fc.assert(
      fc.property(uri, (meaning) => {
        expect(parseNbdUri(formatNbdUri(meaning))).toEqual(meaning);
      }),
      { seed: 20261120, numRuns: 1000 },
    );
  });
});
