/**
 * How a pool is to behave: the kernel's table arguments and module parameter, and what is ours.
 *
 * Format: docs/format/thin.md, sections 7 to 10.
 */
import { LONGEST_TIMER, systemTimers, type Timers } from '@pdata/device/engine';

export interface ThinPoolOptions {
  /** Sectors; when given to `open`, the metadata must have been formatted with the same. */
  readonly dataBlockSize?: number;
  /** No change of the metadata: volumes can be read, and written to where they have blocks of their own. Default false. */
  readonly readOnly?: boolean;
  /** The rest of a fresh block that is written to in part shows what the data device held before. Default false: zeros. */
  readonly skipBlockZeroing?: boolean;
  /** Volumes do not support discards. Default false. */
  readonly ignoreDiscard?: boolean;
  /** Discards take mappings away, but are not passed on to the data device. Default false. */
  readonly noDiscardPassdown?: boolean;
  /** A write that finds no free data block fails at once, instead of waiting for one. Default false. */
  readonly errorIfNoSpace?: boolean;
  /** Milliseconds that writes wait for a free data block before they fail; 0: for ever. Default 60 000. */
  readonly noSpaceTimeout?: number;
  /** Data blocks; an allocation that finds no more than so many free is told to listeners of `dataLow`. Default 0. */
  readonly lowWaterMark?: number;
  /**
   * Milliseconds from a change to the commit that makes it durable, if nobody asks for one earlier; longer where commits take
   * long, so that they take at most a tenth of the time. Default 1000; 0: never.
   */
  readonly commitPeriod?: number;
  /** Metadata blocks kept in memory; see `BlockManagerOptions`. */
  readonly cacheBlocks?: number;
  /** For tests: who wakes the pool up. Default: `setTimeout` and `clearTimeout`. */
  readonly timers?: Timers;
}

export type PoolSettings = Required<Omit<ThinPoolOptions, 'dataBlockSize' | 'cacheBlocks'>>;

export function settingsOf(options: ThinPoolOptions): PoolSettings {
  const settings: PoolSettings = {
    readOnly: options.readOnly ?? false,
    skipBlockZeroing: options.skipBlockZeroing ?? false,
    ignoreDiscard: options.ignoreDiscard ?? false,
    noDiscardPassdown: options.noDiscardPassdown ?? false,
    errorIfNoSpace: options.errorIfNoSpace ?? false,
    noSpaceTimeout: options.noSpaceTimeout ?? 60_000,
    lowWaterMark: options.lowWaterMark ?? 0,
    commitPeriod: options.commitPeriod ?? 1000,
    timers: options.timers ?? systemTimers,
  };
  for (const name of ['noSpaceTimeout', 'lowWaterMark', 'commitPeriod'] as const) {
    const value = settings[name];
    if (!Number.isSafeInteger(value) || value < 0)
      throw new RangeError(`${name} is a whole number, at least 0, not ${value}`);
  }
  for (const name of ['noSpaceTimeout', 'commitPeriod'] as const) {
    if (settings[name] > LONGEST_TIMER)
      throw new RangeError(`${name} is at most ${LONGEST_TIMER} ms, not ${settings[name]}`);
  }
  return settings;
}
