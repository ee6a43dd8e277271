/**
 * Puts the answer of `DataDevice.allocation` together as its contract wants it: in order, no gaps, none empty, neighbours
 * different.
 */
import type { AllocationExtent } from './data-device.js';

/**
 * Appends `length` bytes of `state` to `extents`, at their end; the first extent starts at `offset`. A length of 0 appends
 * nothing, and what continues the last extent's state lengthens it.
 */
export function appendExtent(
  extents: AllocationExtent[],
  offset: number,
  length: number,
  state: AllocationExtent['state'],
): void {
  if (length === 0) return;
  const last = extents.at(-1);
  if (last?.state === state) extents[extents.length - 1] = { ...last, length: last.length + length };
  else extents.push({ offset, length, state });
}
