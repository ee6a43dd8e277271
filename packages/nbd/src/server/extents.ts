/**
 * The extents that answer BLOCK_STATUS: cut to the request, merged, checked, and bounded in number.
 *
 * A client trusts them: an extent that is too long makes a copy of zeros (docs/format/nbd.md, section 10), one of length 0 a client that
 * never ends. So whatever a context says is cut off at the end of the request, and a context that makes no progress is an error.
 * Lengths are added as numbers, never in 32 bits; no extent is longer than its request, so none outgrows its field.
 *
 * Format: docs/format/nbd.md, section 7.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { BASE_ALLOCATION, STATE_HOLE, STATE_ZERO } from '../protocol/constants.js';
import type { MetaContext, MetaExtent } from './export.js';

/** Extents in one answer: 64 KiB of them. A client asks again from where they end. */
export const MAX_EXTENTS = 8192;
/** Questions to a context for one answer, so that a map in crumbs holds nobody up. */
const MAX_QUESTIONS = 16;

/** What every export has: its device's allocation. */
export const allocationContext = (device: DataDevice): MetaContext => ({
  name: BASE_ALLOCATION,
  extents: async (offset, length) => {
    const extents = await device.allocation(offset, length);
    return extents.map((extent) => ({ length: extent.length, flags: FLAGS_OF_STATE[extent.state] }));
  },
});
const FLAGS_OF_STATE = { data: 0, zero: STATE_ZERO, hole: STATE_HOLE | STATE_ZERO } as const;

/**
 * Extents from `offset` on, at least one, together at most `length` bytes (above 0), neighbours different.
 * @throws Error when the context answers nothing, or an extent without length
 */
export async function collectExtents(
  context: MetaContext,
  offset: number,
  length: number,
  maxExtents: number,
): Promise<MetaExtent[]> {
  const end = offset + length;
  const collected: { length: number; flags: number }[] = [];
  let at = offset;
  for (let question = 0; question < MAX_QUESTIONS && at < end; question++) {
    if (question > 0) await new Promise(setImmediate); // a map that is worked out as it is asked for takes its time
    const begin = at - (at % SECTOR_SIZE);
    const askedEnd = Math.ceil(end / SECTOR_SIZE) * SECTOR_SIZE;
    let extentAt = begin;
    const answer = await context.extents(begin, askedEnd - begin);
    for (const extent of answer) {
      if (!(extent.length > 0)) throw new Error(`${context.name} at ${extentAt}: an extent of ${extent.length} bytes`);
      extentAt += extent.length;
      const covered = Math.min(extentAt, end) - at;
      if (covered <= 0) continue;
      const last = collected.at(-1);
      if (last !== undefined && last.flags === extent.flags) last.length += covered;
      else if (collected.length === maxExtents) return collected;
      else collected.push({ length: covered, flags: extent.flags });
      at += covered;
      if (at >= end) break;
    }
    if (extentAt === begin) throw new Error(`${context.name} has no answer at ${begin}`);
  }
  return collected;
}
