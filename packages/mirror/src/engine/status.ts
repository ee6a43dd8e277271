/**
 * What a mirror tells of itself, as an object and in the kernel's words.
 *
 * Format: docs/format/mirror-log.md, section 10.
 */
import { SECTOR_SIZE } from '@pdata/device';
import type { LogStatus } from '../log/dirty-log.js';
import type { LegErrorKind, LegLetter } from './legs.js';
import type { MirrorCore } from './mirror-core.js';

export interface LegStatus {
  readonly name: string;
  /** Sectors. */
  readonly offset: number;
  readonly letter: LegLetter;
  /** Taken out of the mirror. */
  readonly isAway: boolean;
  readonly nrErrors: number;
  /** The worst first. */
  readonly errors: readonly LegErrorKind[];
}

export interface MirrorStatus {
  /** Sectors of a region. */
  readonly regionSize: number;
  readonly nrRegions: number;
  /** Regions in sync. */
  readonly syncCount: number;
  readonly isInSync: boolean;
  /** The leg that is right where they may differ: the `goodLeg` of the next time. */
  readonly defaultLeg: number;
  readonly legs: readonly LegStatus[];
  readonly log: LogStatus;
  /** Parts of writes that are held back. */
  readonly nrHeldWrites: number;
  readonly isSuspended: boolean;
}

export function mirrorStatus(
  { legs, log, isInSync }: MirrorCore,
  { nrHeldWrites, isSuspended }: Pick<MirrorStatus, 'nrHeldWrites' | 'isSuspended'>,
): MirrorStatus {
  const { regionSize, nrRegions, syncCount } = log;
  return {
    regionSize,
    nrRegions,
    syncCount,
    isInSync,
    defaultLeg: legs.defaultNr,
    legs: legs.all.map(({ device, offset, letter, isAway, nrErrors, kinds }) => ({
      name: device.name,
      offset: offset / SECTOR_SIZE,
      letter,
      isAway,
      nrErrors,
      errors: kinds,
    })),
    log: log.status(),
    nrHeldWrites,
    isSuspended,
  };
}

/** `2 LEG0.img LEG1.img 512/512 1 AA 3 disk LOG.img A` */
export function mirrorStatusLine({ legs, log }: MirrorCore): string {
  const names = legs.all.map(({ device }) => device.name);
  return [names.length, ...names, `${log.syncCount}/${log.nrRegions}`, 1, legs.letters, log.statusText()].join(' ');
}
