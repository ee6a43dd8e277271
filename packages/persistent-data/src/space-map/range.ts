/** Block numbers a caller gives are whole and inside the map. */
export function refuseRange(begin: number, end: number, nrBlocks: number): void {
  if (begin >= 0 && end <= nrBlocks && begin <= end && Number.isInteger(begin) && Number.isInteger(end)) return;
  throw new RangeError(`blocks ${begin} to ${end} (exclusive) are not all among the ${nrBlocks} of the space map`);
}
