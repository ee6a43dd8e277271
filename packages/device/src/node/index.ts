/**
 * Metadata devices that need Node: regular files and block devices.
 * @packageDocumentation
 */
export { type OpenFileMetadataDeviceOptions, openFileMetadataDevice } from './file-metadata-device.js';
