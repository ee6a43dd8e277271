/**
 * Where pdata's metadata and data live, and the errors that every pdata package throws. Start at {@link MetadataDevice}
 * and {@link DataDevice}.
 * Files and block devices: `@pdata/device/node`.
 * @packageDocumentation
 */
export { appendExtent } from './allocation-extents.js';
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
export type { GrowableDataDevice } from './growable-data-device.js';
export { MemoryDataDevice, type MemoryDataDeviceOptions } from './memory-data-device.js';
export { MemoryMetadataDevice, type MemoryMetadataDeviceOptions } from './memory-metadata-device.js';
export { BLOCK_SIZE, type MetadataDevice } from './metadata-device.js';
export {
  bytesInWords,
  type RangeOperation,
  requireDataSize,
  requireSectorRange,
  wholeSectors,
} from './sector-range.js';
