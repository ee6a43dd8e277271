/**
 * A mapping's value: one u64, the data block in its upper 40 bits, the pool's time of the mapping in its lower 24.
 *
 * Format: docs/format/conventions.md, section 3; docs/format/thin.md, section 2.
 */

/** Data blocks a mapping can name: 2^40. */
export const MAX_DATA_BLOCKS = 2 ** 40;
/** Pool times a mapping can carry: 2^24. The kernel lets the time run past it and corrupts mappings; pdata refuses. */
export const MAX_TIME = 2 ** 24;

export const dataBlockAt = (view: DataView, at: number): number =>
  view.getUint32(at + 4, true) * 256 + (view.getUint32(at, true) >>> 24);

export const timeAt = (view: DataView, at: number): number => view.getUint32(at, true) & 0xffffff;

export function setBlockTimeAt(view: DataView, at: number, dataBlock: number, time: number): void {
  view.setUint32(at, ((dataBlock & 0xff) << 24) | time, true);
  view.setUint32(at + 4, Math.floor(dataBlock / 256), true);
}
