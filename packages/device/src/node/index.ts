/**
 * Metadata and data devices that need Node: regular files and block devices.
 * @packageDocumentation
 */

/** What they are; the same types as those of `@pdata/device`. */
export type { GrowableDataDevice } from '../growable-data-device.js';
export type { MetadataDevice } from '../metadata-device.js';
export { type OpenFileDataDeviceOptions, openFileDataDevice } from './file-data-device.js';
export { type OpenFileMetadataDeviceOptions, openFileMetadataDevice } from './file-metadata-device.js';
export { type LockFile, openLockFile } from './lock-file.js';
export { systemProblem } from './system-problem.js';
