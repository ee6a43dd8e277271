/**
 * Linux's mirror target in user space: writes to several legs, and a log of the regions in which they may differ.
 * @packageDocumentation
 */
export { HeldWriteError, LegError, MirrorTableError } from './engine/errors.js';
export type { MirrorEvents } from './engine/events.js';
export type { LegErrorKind, LegLetter } from './engine/legs.js';
export {
  type AttachOptions,
  MirrorDevice,
  type SetDefaultLegOptions,
  type SuspendOptions,
} from './engine/mirror-device.js';
export type { MirrorLeg, MirrorOptions } from './engine/options.js';
export type { LegStatus, MirrorStatus } from './engine/status.js';
export { type MirrorTable, type MirrorTableLog, parseMirrorTable, printMirrorTable } from './engine/table.js';
export { MAX_LEGS, MIN_LEGS, nrRegionsOf } from './format/limits.js';
export { logSize as mirrorLogSize } from './format/log-layout.js';
export { RegionBits, type RegionRun } from './format/region-bits.js';
export { BitmapLog, type BitmapLogOptions } from './log/bitmap-log.js';
export { ClusterLog, type ClusterLogOptions } from './log/cluster/cluster-log.js';
export { ClusterState, type ClusterStateOptions } from './log/cluster/cluster-state.js';
export type { CoordinationSession, CoordinationStore, RegionChange } from './log/cluster/coordination-store.js';
export {
  MemoryCoordinationStore,
  type MemoryCoordinationStoreOptions,
  type MessageTransport,
} from './log/cluster/memory-coordination-store.js';
export { SessionLostError } from './log/cluster/session-lost-error.js';
export { CoreLog } from './log/core-log.js';
export type { DirtyLog, FlushLegs, LogHealth, LogStatus, MarkOutcome } from './log/dirty-log.js';
export { DiskLog, type DiskLogOptions } from './log/disk-log.js';
export { LogFailedError, LogTooSmallError, NotALogError, UnsupportedLogError } from './log/errors.js';
export {
  checkMirrorLog,
  type LogCheckOptions,
  type LogCheckSummary,
  type LogFinding,
  type LogNotice,
} from './maintenance/check-mirror-log.js';
export { dumpMirrorLog, type LogDumpOptions, type LogDumpSummary } from './maintenance/dump-mirror-log.js';
export { LogDamageError } from './maintenance/log-damage-error.js';
export type { MirrorGeometry, WorkOptions } from './maintenance/mirror-geometry.js';
export {
  type RegionDifference,
  type VerifyMirrorOptions,
  type VerifySummary,
  verifyMirror,
} from './maintenance/verify-mirror.js';
export {
  type AdmittedWrites,
  RegionHash,
  type RegionHashOptions,
  type RegionState,
  type UpdateOptions,
  type UpdateOutcome,
} from './region-hash/region-hash.js';
