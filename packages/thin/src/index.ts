export {};
export { type DumpOptions, type DumpSummary, dumpThin } from './maintenance/dump/dump.js';
export { NoMetadataSnapshotError } from './maintenance/dump/outline.js';
export { type ThinDamage, ThinDamageError } from './maintenance/dump/thin-damage.js';
