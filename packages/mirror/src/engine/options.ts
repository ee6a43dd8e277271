/**
 * How a mirror is to behave: the kernel's table arguments, and what is ours.
 *
 * Format: docs/format/mirror-log.md, sections 9 and 10.
 */
import type { DataDevice } from '@pdata/device';
import { LONGEST_TIMER, systemTimers, type Timers } from '@pdata/device/engine';
import type { DirtyLog } from '../log/dirty-log.js';

export interface MirrorLeg {
  /** Stays the caller's: it is not closed with the mirror. */
  readonly device: DataDevice;
  /** Sectors; where the mirror begins on the device. Default 0. */
  readonly offset?: number;
}

export interface MirrorOptions {
  /** Which regions are in sync. Made for the length of this mirror, and closed with it. */
  readonly log: DirtyLog;
  /** 2 to 9. */
  readonly legs: readonly MirrorLeg[];
  /**
   * Number of the leg, from 0, that is right wherever the log does not call the legs equal: what differs on the others is overwritten.
   * The kernel always takes leg 0. No log records it; so after a leg has failed it is for the caller to know (`status().defaultLeg`,
   * the event `defaultLeg`) and to say here.
   */
  readonly goodLeg: number;
  /** Sectors. Default: what every leg has room for. */
  readonly length?: number;
  /** For messages. Default "mirror". */
  readonly name?: string;
  /** The kernel's `handle_errors`: a write that a leg did not take is held back until a suspend, or a change of the legs. Default false: it goes on without. */
  readonly handleErrors?: boolean;
  /** The kernel's `keep_log`, only with `handleErrors`: writes go on with the legs that are good, and fail when the log does. Default false. */
  readonly keepLog?: boolean;
  /** Spread reads of regions at rest over all legs that are good. Default false, as in the kernel: the default leg reads all. */
  readonly balanceReads?: boolean;
  /** Bytes a second that the resync copies at most. Default: as fast as it can. */
  readonly resyncRate?: number;
  /** Regions that are copied at once. Default 1. */
  readonly resyncRegions?: number;
  /**
   * Milliseconds that a region stays marked after its last write, so that the next one costs no write of the log. Longer where that
   * takes long, so that it takes at most a tenth of the time. Default 1000; 0: none, as in the kernel.
   */
  readonly clearPeriod?: number;
  /** Bytes of memory for what is being written. Default 16 MiB, at least 1 MiB. */
  readonly copyMemory?: number;
  /** For tests: who wakes the mirror up. Default: `setTimeout` and `clearTimeout`. */
  readonly timers?: Timers;
}

export type MirrorSettings = Required<
  Omit<MirrorOptions, 'log' | 'legs' | 'goodLeg' | 'length' | 'name' | 'resyncRate'>
> & { readonly name: string };

/** Bytes that are copied, written and ordered as one piece, at most. */
export const LARGEST_PIECE = 2 ** 20;

export function settingsOf(options: MirrorOptions): MirrorSettings {
  const settings: MirrorSettings = {
    name: options.name ?? 'mirror',
    handleErrors: options.handleErrors ?? false,
    keepLog: options.keepLog ?? false,
    balanceReads: options.balanceReads ?? false,
    resyncRegions: options.resyncRegions ?? 1,
    clearPeriod: options.clearPeriod ?? 1000,
    copyMemory: options.copyMemory ?? 16 * 2 ** 20,
    timers: options.timers ?? systemTimers,
  };
  if (settings.keepLog && !settings.handleErrors) throw new RangeError('keepLog is only possible with handleErrors');
  requireWhole('resyncRegions', settings.resyncRegions, 1, 1024);
  requireWhole('clearPeriod', settings.clearPeriod, 0, LONGEST_TIMER);
  requireWhole('copyMemory', settings.copyMemory, LARGEST_PIECE, Number.MAX_SAFE_INTEGER);
  return settings;
}

/** @throws {RangeError} */
export function requireRate(rate: number | undefined): number {
  if (rate === undefined || rate > 0) return rate ?? Number.POSITIVE_INFINITY;
  throw new RangeError(`resyncRate is a number of bytes a second, above 0, not ${rate}`);
}

function requireWhole(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new RangeError(`${name} is a whole number from ${least} to ${most}, not ${value}`);
}
