/**
 * Thin provisioning's metadata, byte for byte as Linux's thin-pool target keeps it: {@link ThinMetadata} opens, changes and
 * commits it; check, dump, restore and list work on it as a whole.
 * @packageDocumentation
 */
export { AbortedChangesError, type MessageErrno, type Timers } from '@pdata/device/engine';
export type { CheckSeverity, Progress, TextPosition, WorkOptions } from '@pdata/persistent-data/maintenance';
export { PoolMessageError, PoolModeError, VolumeInUseError } from './engine/errors.js';
export type { ThinPoolEvents, ThinPoolListener } from './engine/events.js';
export type { ThinPoolOptions } from './engine/options.js';
export type { PoolMode } from './engine/pool-mode.js';
export type { PoolStatus, ThinStatus } from './engine/status.js';
export { type Alongside, ThinPool } from './engine/thin-pool.js';
export { type OpenVolumeOptions, ThinVolume } from './engine/thin-volume.js';
export { dataBlockAt, MAX_DATA_BLOCKS, MAX_TIME, timeAt } from './format/block-time.js';
export { DEVICE_DETAILS_SIZE, type DeviceDetails, deviceDetailsType } from './format/device-details.js';
export {
  MAX_DATA_BLOCK_SIZE,
  MAX_THIN_ID,
  MIN_DATA_BLOCK_SIZE,
  MIN_METADATA_BLOCKS,
  metadataReserve,
} from './format/limits.js';
export {
  NEEDS_CHECK,
  readThinSuperblock,
  type ThinSuperblock,
  thinSuperblockValidator,
  writeThinSuperblock,
} from './format/superblock.js';
export type { CheckFinding, CheckNotice } from './maintenance/check/findings.js';
export { type RepairOptions, type RepairSummary, repairThin } from './maintenance/check/repair.js';
export { type CheckOptions, type CheckSummary, checkThin } from './maintenance/check/thin-check.js';
export { dumpThin } from './maintenance/dump/dump.js';
export type { DumpOptions, DumpSummary } from './maintenance/dump/dump-options.js';
export { DataBlockSizeNeededError } from './maintenance/dump/lost-roots.js';
export { type ThinDamage, ThinDamageError } from './maintenance/dump/thin-damage.js';
export {
  type ListedThin,
  type ListOptions,
  type ListSummary,
  listThin,
  type ThinMappings,
} from './maintenance/list/list.js';
export { estimateMetadataBlocks, type PoolShape } from './maintenance/metadata-size.js';
export { NoMetadataSnapshotError } from './maintenance/no-metadata-snapshot-error.js';
export { restoreThin, ThinRestorer } from './maintenance/restore/restore.js';
export type { RestoreOptions, RestoreSummary } from './maintenance/restore/restore-options.js';
export { ThinXmlError } from './maintenance/restore/thin-xml-error.js';
export type { ChangedRange } from './metadata/changed-ranges.js';
export {
  CommitError,
  CommitRunningError,
  DeviceExistsError,
  MetadataSnapshotError,
  NoSuchDeviceError,
  NotFormattedError,
  PoolTimeError,
  ResizeError,
  TransactionIdError,
  UnsupportedMetadataError,
} from './metadata/errors.js';
export type { MappedRange, Mapping } from './metadata/mappings.js';
export {
  type FormatThinMetadataOptions,
  type OpenThinMetadataOptions,
  ThinMetadata,
  type ThinMetadataOptions,
} from './metadata/thin-metadata.js';
