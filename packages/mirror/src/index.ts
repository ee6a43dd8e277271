/**
 * Linux's mirror target in user space: writes to several legs, and a log of the regions in which they may differ.
 * @packageDocumentation
 */
export { MAX_LEGS, MIN_LEGS } from './format/limits.js';
export type { BitmapLogOptions } from './log/bitmap-log.js';
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
  type AdmittedWrites,
  RegionHash,
  type RegionHashOptions,
  type RegionState,
  type UpdateOptions,
  type UpdateOutcome,
} from './region-hash/region-hash.js';
