/**
 * NBD URIs: where a server is and which of its exports is meant, in one line that every NBD client understands.
 *
 *   nbd://HOST[:PORT]/EXPORT            TCP, port 10809 unless given; HOST may be [an IPv6 address]
 *   nbd+unix:///EXPORT?socket=/PATH     a Unix socket
 *   nbds://…, nbds+unix://…             the same, with TLS demanded
 *
 * The export's name is everything after the slash that ends the authority, percent-encoded, so that `nbd://host//disk` names
 * "/disk" and `nbd://host` the default export "". Parameters are read as libnbd and nbdkit write them: `tls-certificates`
 * and `tls-hostname` are understood; other parameters that start with `tls` would change what is trusted and are refused;
 * what remains is ignored, as the URI specification asks. `nbd+vsock` and `nbd+ssh` are refused.
 *
 * Source: "The NBD URI Specification", the NetworkBlockDevice project's doc/uri.md.
 */
import { StoreError } from '@pdata/device';

/** Where a server listens. */
export type NbdTarget = { readonly socketPath: string } | { readonly host: string; readonly port?: number };

export interface NbdUri {
  readonly target: NbdTarget;
  /** "" is the server's default export. */
  readonly exportName: string;
  /** Whether TLS is demanded (`nbds`). */
  readonly tls: boolean;
  /** A directory with ca-cert.pem and, for a client that proves who it is, client-cert.pem and client-key.pem. */
  readonly tlsCertificates?: string;
  /** The name that the server's certificate must bear, where it differs from the host. */
  readonly tlsHostname?: string;
}

/** Text that is not a usable NBD URI. */
export class NbdUriError extends StoreError {
  override readonly name = 'NbdUriError';
  readonly code = 'ERR_NBD_URI';
}

const SCHEMES: Readonly<Record<string, { readonly unix: boolean; readonly tls: boolean }>> = {
  nbd: { unix: false, tls: false },
  nbds: { unix: false, tls: true },
  'nbd+unix': { unix: true, tls: false },
  'nbds+unix': { unix: true, tls: true },
};

const SHAPE = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i;

/**
 * @example parseNbdUri('nbd+unix:///vol?socket=/run/nbd.sock')
 * // → { target: { socketPath: '/run/nbd.sock' }, exportName: 'vol', tls: false }
 * @throws {@link NbdUriError} when it is not an NBD URI, or asks for what this client cannot do
 */
export function parseNbdUri(uri: string): NbdUri {
  const refuse = (why: string): never => {
    throw new NbdUriError(
      `"${uri}" ${why}; write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH (nbds… for TLS)`,
    );
  };
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      return refuse(`has a wrong percent-encoding in "${part}"`);
    }
  };
  const shape = SHAPE.exec(uri);
  if (shape === null) return refuse('is not an NBD URI');
  const [, schemeAsWritten, authority, path = '', query = ''] = shape as unknown as [
    string,
    string,
    string,
    string?,
    string?,
  ];
  const scheme = SCHEMES[schemeAsWritten.toLowerCase()];
  if (scheme === undefined) return refuse(`has the scheme "${schemeAsWritten}", which this client does not speak`);

  let socketPath: string | undefined;
  const tlsParameters: { tlsCertificates?: string; tlsHostname?: string } = {};
  for (const parameter of query.split(/[&;]/).filter((text) => text !== '')) {
    const equals = parameter.indexOf('=');
    const name = decoded(equals < 0 ? parameter : parameter.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? '' : decoded(parameter.slice(equals + 1));
    if (name === 'socket') socketPath = value;
    else if (name === 'tls-certificates') tlsParameters.tlsCertificates = value;
    else if (name === 'tls-hostname') tlsParameters.tlsHostname = value;
    else if (name.startsWith('tls')) return refuse(`has the parameter "${name}", which this client does not know`);
  }

  const exportName = decoded(path);
  if (exportName.includes('\0')) return refuse('has a zero byte in the name of the export');
  const target = scheme.unix
    ? unixTarget(authority, socketPath, refuse)
    : socketPath === undefined
      ? tcpTarget(authority, refuse)
      : refuse('has a socket, but its scheme is for TCP');
  return { target, exportName, tls: scheme.tls, ...tlsParameters };
}

function unixTarget(authority: string, socketPath: string | undefined, refuse: (why: string) => never): NbdTarget {
  if (authority !== '') return refuse(`names the host "${authority}", but its scheme is for a Unix socket`);
  if (socketPath === undefined || socketPath === '') return refuse('lacks the parameter socket');
  return { socketPath };
}

function tcpTarget(authority: string, refuse: (why: string) => never): NbdTarget {
  const shape = /^(?:\[([0-9a-f:.%]+)\]|([^:@[\]]+))(?::([0-9]*))?$/i.exec(authority);
  if (shape === null)
    return refuse(authority === '' ? 'names no host' : `names the host "${authority}", which is not one`);
  const [, ipv6, plain, digits] = shape;
  const host = ipv6 ?? plain!;
  if (digits === undefined || digits === '') return { host };
  const port = Number(digits);
  return port >= 1 && port <= 65535 ? { host, port } : refuse(`names the port ${digits}, which is not from 1 to 65535`);
}

/** The inverse of {@link parseNbdUri}: what it returns for the result is equal to `uri`. */
export function formatNbdUri({
  target,
  exportName = '',
  tls = false,
  tlsCertificates,
  tlsHostname,
}: Partial<NbdUri> & Pick<NbdUri, 'target'>): string {
  const scheme = tls ? 'nbds' : 'nbd';
  const parameters = Object.entries({
    socket: 'socketPath' in target ? target.socketPath : undefined,
    'tls-certificates': tlsCertificates,
    'tls-hostname': tlsHostname,
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encoded(value)}`]));
  const query = parameters.length === 0 ? '' : `?${parameters.join('&')}`;
  const path = `/${encoded(exportName)}${query}`;
  if ('socketPath' in target) return `${scheme}+unix://${path}`;
  const host = target.host.includes(':') ? `[${target.host}]` : target.host;
  return `${scheme}://${host}${target.port === undefined ? '' : `:${target.port}`}${path}`;
}

/** Slashes stay readable; clients decode them either way. */
const encoded = (text: string): string => encodeURIComponent(text).replaceAll('%2F', '/');
