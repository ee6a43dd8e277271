/**
 * Taking mappings away: discards, and zeroing of whole blocks, for an unmapped block reads as zeros.
 *
 * Worked in windows of at most 1024 blocks, so that nobody else waits long; what is not mapped is skipped. A window's blocks
 * are held like those of any request that writes.
 *
 * What nobody else uses is passed down to the data device, in runs; but only when the commit that contains the discard is
 * durable, and of what was not used anew meanwhile. (The kernel does so at once. But then a crash may bring back a mapping of somebody else's, a snapshot that had just
 * broken sharing, whose data is gone.)
 *
 * Format: docs/format/thin.md, section 9.1.
 */
import { othersTurn, type QueueEntry } from '@pdata/device/engine';
import { NoSpaceError } from '@pdata/persistent-data';
import type { ThinMetadata } from '../metadata/thin-metadata.js';
import { runsOf, unused } from './data-runs.js';
import type { OpenThin } from './open-thin.js';
import type { PoolCore } from './pool-core.js';

/** Blocks worked on at once: 64 MiB of the smallest. */
const WINDOW = 1024;
/** Nothing of it waits for a device, so the program's other work would wait: this many windows take some 10 ms. */
const WINDOWS_AT_ONCE = 4;
/** Data blocks to be passed down by one commit, about. */
const MOST_FREED = 65_536;

/**
 * Unmaps virtual blocks `begin`..`end` (exclusive). The caller is behind `thin.writers`.
 * @throws {@link PoolModeError} when the pool's mode does not allow it
 */
export async function unmapBlocks(core: PoolCore, thin: OpenThin, begin: number, end: number): Promise<void> {
  let nrWindows = 0;
  for (let at = nextMapped(core.metadata, thin.thinId, begin, end); at < end; ) {
    if (++nrWindows % WINDOWS_AT_ONCE === 0) await othersTurn();
    const windowEnd = Math.min(end, at + WINDOW);
    await unmapWindow(core, thin, at, windowEnd);
    if (core.freed.nr >= MOST_FREED) await core.commit();
    at = nextMapped(core.metadata, thin.thinId, windowEnd, end);
  }
}

/** The first mapped block of `begin`..`end`; `end` when there is none. */
export function nextMapped(metadata: ThinMetadata, thinId: number, begin: number, end: number): number {
  if (begin >= end) return end;
  return metadata.findRange(thinId, begin, end, 1)?.begin ?? end;
}

async function unmapWindow(core: PoolCore, thin: OpenThin, begin: number, end: number): Promise<void> {
  const { queue } = thin;
  const { blockSize } = core;
  const entries: QueueEntry[] = [];
  try {
    // In ascending order, as everybody does who holds several: so none waits for another in a circle.
    for (let block = begin; block < end; block++) {
      const entry = queue.enter(block, block * blockSize, (block + 1) * blockSize, true);
      entries.push(entry);
      if (!entry.granted) await queue.granting(entry);
    }
    for (let nrTries = 0; ; nrTries++) {
      try {
        await core.changing(() => remove(core, thin, begin, end));
        return;
      } catch (error) {
        if (!(error instanceof NoSpaceError) || nrTries > 0) throw error;
      }
      await core.commit(); // gives back metadata blocks
    }
  } finally {
    for (const entry of entries) queue.leave(entry);
  }
}

function remove(core: PoolCore, thin: OpenThin, begin: number, end: number): void {
  core.refuseUnchangeable();
  const runs = core.passesDiscards ? runsOf(core.metadata, thin.thinId, begin, end) : [];
  const nr = core.change('unmap blocks', thin, (metadata) => metadata.removeRange(thin.thinId, begin, end));
  if (nr > 0) core.freed.add(unused(core.metadata, runs));
}
