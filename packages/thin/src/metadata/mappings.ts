/**
 * A device's mappings: finding, inserting, removing.
 *
 * A mapping is *taken for shared* when it is older than its device's last snapshot. The test is one-sided: after the origin
 * has got a block of its own, the snapshot still takes its mapping for shared, and copies once too often; never too rarely.
 *
 * Format: docs/format/thin.md, sections 2 and 9.
 */
import { markChanged, openDetails } from './devices.js';
import type { PoolState } from './pool-state.js';

export interface Mapping {
  /** Its number on the data device, in data blocks. */
  readonly dataBlock: number;
  /** Pool time at which the mapping was made. */
  readonly time: number;
  /** Whether a write has to copy the data block first. */
  readonly shared: boolean;
}

/** Neighbouring virtual blocks whose data blocks are neighbours too, all shared or none. */
export interface MappedRange {
  /** First virtual block, */
  readonly begin: number;
  /** and the one behind the last. */
  readonly end: number;
  /** Data block of `begin`. */
  readonly dataBegin: number;
  readonly shared: boolean;
}

export function find(state: PoolState, thinId: number, virtualBlock: number): Mapping | undefined {
  const { snapshottedTime } = openDetails(state, thinId);
  const value = state.mappings.lookup([thinId, virtualBlock]);
  return value === undefined ? undefined : { ...value, shared: snapshottedTime > value.time };
}

export function findRange(
  state: PoolState,
  thinId: number,
  begin: number,
  end: number,
  mostBlocks: number,
): MappedRange | undefined {
  const { snapshottedTime } = openDetails(state, thinId);
  const cursor = state.mappings.subtree([thinId])?.cursor(begin);
  if (cursor === undefined || cursor.done || cursor.key >= end) return undefined;
  const first = cursor.key;
  const { dataBlock, time } = cursor.value;
  const shared = snapshottedTime > time;
  const most = Math.min(mostBlocks, end - first);
  let length = 1;
  for (cursor.next(); !cursor.done && length < most && cursor.key === first + length; cursor.next()) {
    const next = cursor.value;
    if (next.dataBlock !== dataBlock + length || snapshottedTime > next.time !== shared) break;
    length++;
  }
  return { begin: first, end: first + length, dataBegin: dataBlock, shared };
}

/** True when `virtualBlock` had no mapping. The reference to `dataBlock` is taken over; one to a replaced block is given up. */
export function insert(state: PoolState, thinId: number, virtualBlock: number, dataBlock: number): boolean {
  const details = openDetails(state, thinId);
  const isNew = state.mappings.insert([thinId, virtualBlock], { dataBlock, time: state.superblock.time });
  if (isNew) {
    details.mappedBlocks++;
    markChanged(state, thinId, details);
  }
  return isNew;
}

/** Removes the mappings of `begin`..`end` (exclusive); returns how many there were. */
export function removeRange(state: PoolState, thinId: number, begin: number, end: number): number {
  const details = openDetails(state, thinId);
  if (state.mappings.ceiling([thinId, begin]) === undefined) return 0;
  const nr = state.mappings.removeRange([thinId], begin, end);
  if (nr > 0) {
    details.mappedBlocks -= nr;
    markChanged(state, thinId, details);
  }
  return nr;
}
