/**
 * Metadata devices in an LMDB environment, and the catalogue of names that commits with them. Start at {@link LmdbEnvironment}.
 * @packageDocumentation
 */
export { Catalogue } from './catalogue.js';
export { type CreatePoolOptions, LmdbEnvironment, type OpenPoolOptions } from './environment.js';
export { EnvironmentFullError, LmdbUnavailableError } from './errors.js';
export { type CopyOptions, exportImage, importImage } from './image.js';
export { LmdbMetadataDevice } from './lmdb-metadata-device.js';
export type { OpenEnvironmentOptions } from './open-store.js';
export type { EnvironmentReader } from './readers.js';
