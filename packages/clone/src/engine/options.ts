/**
 * How a clone is to behave: the kernel's table arguments, and what is ours.
 *
 * Format: docs/format/clone.md, section 8.
 */
import type { DataDevice } from '@pdata/device';
import { LONGEST_TIMER, systemTimers, type Timers } from '@pdata/device/engine';

/** What is copied, and whereto. Both are the caller's, and stay open when the clone is closed. */
export interface CloneDevices {
  /** Only read, and must not change. What it has behind the end of the clone is not used. */
  readonly source: DataDevice;
  readonly destination: DataDevice;
}

export interface CloneOptions {
  /** Bytes, a multiple of 512, at most what either device has. Default: all of the source. The metadata stores it. */
  readonly size?: number;
  /** For messages; "clone of SOURCE" when left out. */
  readonly name?: string;
  /** Nothing is written to any device: what the clone holds now can be read. Default false. */
  readonly readOnly?: boolean;
  /** Begin with background hydration disabled. Default false. */
  readonly noHydration?: boolean;
  /** Discards mark regions hydrated, but are not passed down to the destination. Default false. */
  readonly noDiscardPassdown?: boolean;
  /** Regions that background hydration copies at the same time; 0 stops it. Default 1, the kernel's. */
  readonly hydrationThreshold?: number;
  /** Adjacent regions that background hydration copies as one. 0 is taken for 1. Default 1, the kernel's. */
  readonly hydrationBatchSize?: number;
  /**
   * Milliseconds from a change to the commit that makes it durable, if nobody asks for one earlier; longer where commits take
   * long, so that they take at most a tenth of the time. Default 1000; 0: never.
   */
  readonly commitPeriod?: number;
  /** For tests: who wakes the clone up. Default: `setTimeout` and `clearTimeout`. */
  readonly timers?: Timers;
}

export interface CloneSettings {
  readonly noDiscardPassdown: boolean;
  readonly commitPeriod: number;
  readonly timers: Timers;
  /** What messages change. */
  hydrates: boolean;
  hydrationThreshold: number;
  hydrationBatchSize: number;
}

export function settingsOf(options: CloneOptions): CloneSettings {
  const commitPeriod = options.commitPeriod ?? 1000;
  if (!Number.isSafeInteger(commitPeriod) || commitPeriod < 0 || commitPeriod > LONGEST_TIMER)
    throw new RangeError(`commitPeriod is a whole number of milliseconds, 0 to ${LONGEST_TIMER}, not ${commitPeriod}`);
  return {
    noDiscardPassdown: options.noDiscardPassdown ?? false,
    commitPeriod,
    timers: options.timers ?? systemTimers,
    hydrates: !(options.noHydration ?? false),
    hydrationThreshold: requireU32('hydrationThreshold', options.hydrationThreshold ?? 1),
    hydrationBatchSize: requireU32('hydrationBatchSize', options.hydrationBatchSize ?? 1),
  };
}

/** @throws {RangeError} */
export function requireU32(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw new RangeError(`${name} is a whole number from 0 to ${2 ** 32 - 1}, not ${value}`);
}
