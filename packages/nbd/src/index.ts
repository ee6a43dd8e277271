/**
 * A Network Block Device server for any data device, and a client that is one.
 * @packageDocumentation
 */
export { connectNbd, listNbdExports, type NbdClientOptions, type NbdListedExport } from './client/connect.js';
export { NbdProtocolError, NbdReplyError, NbdTimeoutError } from './client/errors.js';
export type { NbdDataDevice, NbdExtent } from './client/nbd-data-device.js';
export type { OpenOptions as NbdOpenOptions } from './client/open-connection.js';
export type { NbdClientInfo } from './server/connection.js';
export type { ExportSource, MetaContext, MetaExtent, NbdExport } from './server/export.js';
export { DEFAULT_LIMITS, type NbdServerLimits } from './server/limits.js';
export { NbdListenError, type NbdListenTarget } from './server/listening.js';
export { NbdServer, type NbdServerOptions } from './server/nbd-server.js';
export { certificateProblem, NbdCertificateError, type NbdServerTls } from './server/starting-tls.js';
export { formatNbdUri, type NbdTarget, type NbdUri, NbdUriError, parseNbdUri } from './uri.js';
