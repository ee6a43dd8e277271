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
export { CorruptingDataDevice, CorruptingMetadataDevice, type Corruption } from './corrupting-devices.js';
export type { Choice, ChoiceBounds, Landed } from './crash/crash-choices.js';
export type { Landing } from './crash/crash-medium.js';
export type {
  CrashDevices,
  CrashMedia,
  CrashMedium,
  CrashMoment,
  CrashRun,
  CrashSubject,
  RecoverOptions,
} from './crash/crash-subject.js';
export { CrashViolation } from './crash/crash-violation.js';
export type { CrashExploration, Disguise } from './crash/crash-workload-run.js';
export { type CrashReport, exploreCrashes, replayCrash } from './crash/explore-crashes.js';
export { type CrashImage, type CrashWorkload, crashImages } from './crash-images.js';
export { differentBlocks } from './different-blocks.js';
export type { ErrorSubject, FaultSource } from './errors/error-subject.js';
export { type ErrorExploration, type ErrorReport, exploreErrors } from './errors/explore-errors.js';
export {
  type DataFault,
  FaultyDataDevice,
  type FaultyDataOperation,
  type FaultyDataOptions,
  type HeldRequests,
  type HoldOptions,
} from './faulty-data-device.js';
export { type Fault, FaultyMetadataDevice, type FaultyOperation } from './faulty-metadata-device.js';
export type { FieldKind, FormatField, FormatStructure } from './fuzz/format-structure.js';
export { type FuzzOptions, type FuzzReader, type FuzzReport, fuzzReaders } from './fuzz/fuzz-readers.js';
export { type MutatedImage, type MutationOptions, mutatedImages } from './fuzz/mutate-image.js';
export { FlushlessDataDevice, FlushlessMetadataDevice, SuperblockFirstDevice } from './lying-devices.js';
export { ManualTimers } from './manual-timers.js';
export { quiet, rejection } from './outcomes.js';
export { PassingDataDevice, PassingMetadataDevice } from './passing-devices.js';
export { RandomSchedule, turned } from './random-schedule.js';
export {
  type DataCrash,
  type DurableChanges,
  type RecordedChange,
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
export { SlowMetadataDevice } from './slow-metadata-device.js';
export { SparseMetadataDevice } from './sparse-metadata-device.js';
export { STRANGER_CERTIFICATE, STRANGER_KEY, TEST_CERTIFICATE, TEST_KEY } from './test-certificate.js';
export { thrownBy } from './thrown-by.js';
export { VolatileMetadataDevice } from './volatile-metadata-device.js';
export { Clock, sectorsOf, VolumeModel, valuesIn, type Writing, type WrittenSector } from './volume-model.js';
