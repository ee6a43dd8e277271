/**
 * Metadata devices that need Node: regular files and block devices.
 * @packageDocumentation
 */

/** What they are; the same type as that of `@pdata/device`. */
export type { MetadataDevice } from '../metadata-device.js';
export { type OpenFileMetadataDeviceOptions, openFileMetadataDevice } from './file-metadata-device.js';
export { type LockFile, openLockFile } from './lock-file.js';
