/**
 * From what a server says of its bytes (`base:allocation`) to what a device says of its sectors.
 *
 *   HOLE and ZERO   hole      takes no space, reads as zeros
 *   ZERO            zero      has its space, reads as zeros
 *   HOLE            data      takes no space, but nobody knows what is read there
 *   neither         data
 *
 * A server's extents may begin and end in the middle of a sector. A sector that is not all of one kind is data.
 * Format: docs/format/nbd.md, section 7.
 */
import { type AllocationExtent, appendExtent, SECTOR_SIZE } from '@pdata/device';
import { STATE_HOLE, STATE_ZERO } from '../protocol/constants.js';
import type { StatusDescriptor } from './pending-request.js';

type State = AllocationExtent['state'];

const stateOf = (flags: number): State =>
  (flags & STATE_ZERO) === 0 ? 'data' : (flags & STATE_HOLE) === 0 ? 'zero' : 'hole';

/**
 * @param offset of the first descriptor, a multiple of a sector
 * @param end where the answer ends at the latest, a multiple of a sector
 * @returns extents of whole sectors from `offset` on; none when the descriptors do not fill a sector
 */
export function allocationOf(offset: number, end: number, descriptors: Iterable<StatusDescriptor>): AllocationExtent[] {
  const extents: AllocationExtent[] = [];
  let at = offset;
  let partState: State = 'data'; // of the sector that `at` is inside of
  for (const { length, flags } of descriptors) {
    const state = stateOf(flags);
    const to = Math.min(at + length, end);
    const inside = at % SECTOR_SIZE;
    if (inside !== 0) {
      if (partState !== state) partState = 'data';
      const sectorEnd = at - inside + SECTOR_SIZE;
      at = Math.min(sectorEnd, to);
      if (at === sectorEnd) appendExtent(extents, at - SECTOR_SIZE, SECTOR_SIZE, partState);
    }
    const whole = to - (to % SECTOR_SIZE);
    if (whole > at) {
      appendExtent(extents, at, whole - at, state);
      at = whole;
    }
    if (to > at) {
      if (at % SECTOR_SIZE === 0) partState = state;
      at = to;
    }
  }
  return extents;
}
