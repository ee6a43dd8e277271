/**
 * Linux's clone target in user space: a read-only source copied region by region into a destination that is in use already.
 * @packageDocumentation
 */
export { AbortedChangesError, type MessageErrno, type Timers } from '@pdata/device/engine';
export {
  CommitError,
  CommitRunningError,
  NotFormattedError,
  UnsupportedMetadataError,
} from '@pdata/persistent-data';
export type {
  CheckFinding,
  CheckNotice,
  CheckSeverity,
  Progress,
  TextPosition,
  WorkOptions,
} from '@pdata/persistent-data/maintenance';
export { CloneDevice } from './engine/clone-device.js';
export type { CloneMode } from './engine/clone-mode.js';
export { CloneMessageError, CloneModeError, CloneTableError, HydrationError } from './engine/errors.js';
export type { CloneEvents, CloneListener } from './engine/events.js';
export type { CloneDevices, CloneOptions } from './engine/options.js';
export type { CloneStatus } from './engine/status.js';
export { type CloneTable, parseCloneTable, printCloneTable } from './engine/table.js';
export {
  checkRegionSize,
  checkTargetSize,
  MAX_REGION_SIZE,
  MAX_REGIONS,
  MIN_REGION_SIZE,
  nrRegionsFor,
} from './format/limits.js';
export {
  CLONE_MAGIC,
  CLONE_VERSION,
  type CloneSuperblock,
  cloneSuperblockValidator,
  readCloneSuperblock,
  writeCloneSuperblock,
} from './format/superblock.js';
export { type CheckOptions, type CheckSummary, checkClone } from './maintenance/check/clone-check.js';
export { type FreeLeaksOptions, type FreeLeaksSummary, freeCloneLeaks } from './maintenance/check/free-leaks.js';
export { type DumpOptions, dumpClone, type RegionsSummary } from './maintenance/dump/dump.js';
export { CloneDamageError, GeometryNeededError } from './maintenance/regions/damage.js';
export type { OutlineOptions } from './maintenance/regions/outline.js';
export { type RepairOptions, type RepairSummary, repairClone } from './maintenance/repair.js';
export { CloneXmlError } from './maintenance/restore/clone-xml.js';
export {
  CloneRestorer,
  type RestoreOptions,
  type RestoreSummary,
  restoreClone,
} from './maintenance/restore/restore.js';
export {
  CloneMetadata,
  type FormatCloneMetadataOptions,
  type OpenCloneMetadataOptions,
} from './metadata/clone-metadata.js';
export { GeometryError } from './metadata/errors.js';
