/**
 * Where pdata's metadata lives, and the errors that every pdata package throws. Start at {@link MetadataDevice}.
 * Files and block devices: `@pdata/device/node`.
 * @packageDocumentation
 */
export { blocksInWords, nrBlocksOfRun, requireDeviceSize } from './block-run.js';
export {
  type AllocationExtent,
  type DataDevice,
  type DataDeviceHints,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from './data-device.js';
export {
  ClosedError,
  type CorruptBlockDetail,
  CorruptBlockError,
  DeviceBusyError,
  DeviceError,
  DeviceOpenError,
  InvariantError,
  invariant,
  ReadOnlyError,
  StoreError,
} from './errors.js';
export { MemoryMetadataDevice, type MemoryMetadataDeviceOptions } from './memory-metadata-device.js';
export { BLOCK_SIZE, type MetadataDevice } from './metadata-device.js';
