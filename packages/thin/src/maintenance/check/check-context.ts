/** What the parts of one check of a pool share, besides what every check has. */
import { type CheckContext, type CheckWords, FIRST_TARGET_ROLE, type Role } from '@pdata/persistent-data/maintenance';
import type { CheckFinding } from './findings.js';

export type ThinCheckContext = CheckContext<CheckFinding>;

/** What a metadata block of a pool is used as, besides what every target has. */
export const ThinRole = {
  metadataSnapshot: { id: FIRST_TARGET_ROLE, name: 'metadata snapshot' },
  detailsNode: { id: FIRST_TARGET_ROLE + 1, name: 'node of the device details tree' },
  topNode: { id: FIRST_TARGET_ROLE + 2, name: 'node of the top-level mapping tree' },
  mappingNode: { id: FIRST_TARGET_ROLE + 3, name: 'node of a mapping tree' },
} as const satisfies Record<string, Role>;

export const POOL_WORDS: CheckWords = {
  subject: 'pool',
  countsNextStep:
    'Do not activate the pool. Dump the metadata and restore it to another device: restoring counts everything anew.',
  leaksNextStep: 'Free it with thin_check --auto-repair.',
};
