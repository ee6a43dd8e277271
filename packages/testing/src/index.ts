/**
 * Devices that record, fail, hold requests and crash, and suites that every device must pass. Start at
 * {@link RecordingMetadataDevice} and {@link crashImages}, {@link RecordingDataDevice} and {@link dataDeviceConformance}.
 * @packageDocumentation
 */
export { BLOCK_XOR, BlockImage } from './block-image.js';
export {
  type CoordinationStoreConformanceOptions,
  coordinationStoreConformance,
} from './conformance/coordination-store-conformance.js';
export { dataDeviceConformance } from './conformance/data-device-conformance.js';
export { ContractViolation } from './conformance/demand.js';
export type { ConformanceCase, DataDeviceConformanceOptions } from './conformance/device-case.js';
export {
  type MetadataDeviceConformanceOptions,
  metadataDeviceConformance,
} from './conformance/metadata-device-conformance.js';
export { type CrashImage, type CrashWorkload, crashImages } from './crash-images.js';
export { differentBlocks } from './different-blocks.js';
export {
  type DataFault,
  FaultyDataDevice,
  type FaultyDataOperation,
  type FaultyDataOptions,
  type HeldRequests,
  type HoldOptions,
} from './faulty-data-device.js';
export { type Fault, FaultyMetadataDevice, type FaultyOperation } from './faulty-metadata-device.js';
export { ManualTimers } from './manual-timers.js';
export { quiet, rejection } from './outcomes.js';
export { RandomSchedule, turned } from './random-schedule.js';
export {
  type DataCrash,
  type RecordedDataOperation,
  RecordingDataDevice,
  type RecordingDataOptions,
} from './recording-data-device.js';
export {
  type RecordedOperation,
  RecordingMetadataDevice,
  type RecordingOptions,
} from './recording-metadata-device.js';
export { seededRandom } from './seeded-random.js';
export { SparseMetadataDevice } from './sparse-metadata-device.js';
export { STRANGER_CERTIFICATE, STRANGER_KEY, TEST_CERTIFICATE, TEST_KEY } from './test-certificate.js';
export { thrownBy } from './thrown-by.js';
export { VolatileMetadataDevice } from './volatile-metadata-device.js';
export { Clock, sectorsOf, VolumeModel, valuesIn, type Writing, type WrittenSector } from './volume-model.js';
