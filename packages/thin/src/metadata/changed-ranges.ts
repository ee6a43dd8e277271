/**
 * Where two devices of one pool may differ: what has to be read to bring a copy of the one up to date with the other.
 *
 * The time of a mapping does not matter, its data block does. A data block that both devices map has a reference from each,
 * and what has more than one is never written in place (whoever writes gets a block of his own): so one data block is one
 * content, in whichever transactions the two mappings were made. The reverse does not hold: two data blocks may have been
 * given the same bytes, and a mapped one may hold zeros.
 *
 * Devices that come from one snapshot share the nodes of their trees which neither has changed since; those are not read.
 *
 * Format: docs/format/thin.md, section 2.
 */
import { diffTrees } from '@pdata/persistent-data';
import { openDetails } from './devices.js';
import type { PoolState } from './pool-state.js';

/** Neighbouring virtual blocks in which one device may differ from another. */
export interface ChangedRange {
  /** First virtual block, */
  readonly begin: number;
  /** and the one behind the last. */
  readonly end: number;
  /**
   * Whether the device has data there: its own, of a data block that the other does not map in that place. False when only
   * the other has: the device reads as zeros there (or as its external origin).
   */
  readonly mapped: boolean;
}

/** The first range in `begin`..`end` (exclusive) in which `thinId` may differ from `baseId`; undefined when there is none. */
export function nextChangedRange(
  state: PoolState,
  thinId: number,
  baseId: number,
  begin: number,
  end: number,
): ChangedRange | undefined {
  openDetails(state, thinId);
  openDetails(state, baseId);
  const [base, thin] = [state.mappings.subtree([baseId]), state.mappings.subtree([thinId])];
  let first: number | undefined;
  let length = 0;
  let mapped = false;
  for (const { key, before, after } of diffTrees(base, thin, begin, end)) {
    if (before !== undefined && before.dataBlock === after?.dataBlock) continue;
    if (first === undefined) {
      first = key;
      mapped = after !== undefined;
    } else if (key !== first + length || (after !== undefined) !== mapped) break;
    length++;
  }
  return first === undefined ? undefined : { begin: first, end: first + length, mapped };
}
