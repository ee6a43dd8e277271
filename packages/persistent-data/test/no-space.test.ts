/**
 * A metadata device that is full at the worst moment: with each number of free blocks in turn, a transaction either succeeds
 * whole or fails with a NoSpaceError and can be aborted, and what is on the device is the one or the other (3ab91828).
 */
import { AbortRequiredError, NoSpaceError } from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import { SmallTarget } from './small-target.js';
import { committedBase, describeState, fillUp, WORKLOADS } from './workloads.js';

const NR_BLOCKS = 700;
const base = committedBase(NR_BLOCKS);

describe.each(Object.entries(WORKLOADS))('%s', (name, workload) => {
  const before = describeState(base.copy());
  const unharmed = base.copy();
  workload(SmallTarget.open(unharmed));
  const after = describeState(unharmed);

  it('leaves the state before or after, however few blocks are free', () => {
    expect(after).not.toBe('');
    const outcomes = { succeeded: 0, failed: 0 };
    for (let nrLeft = 2; nrLeft < 170; nrLeft += nrLeft < 30 ? 3 : 14) {
      const device = base.copy();
      fillUp(device, nrLeft);
      const target = SmallTarget.open(device, { cacheBlocks: 32 });
      let failed = false;
      try {
        workload(target);
        outcomes.succeeded++;
      } catch (error) {
        expect(error, `${nrLeft} left`).toBeInstanceOf(NoSpaceError);
        failed = true;
        outcomes.failed++;
      }
      if (!failed) {
        expect(describeState(device) === after, `after success, ${nrLeft} left`).toBe(true);
        continue;
      }
      // A caller that overlooked the failure does no harm.
      expect(() => target.commit()).toThrow(AbortRequiredError);
      // What a crash now, or an abort, leaves: the state before.
      expect(describeState(device.copy()) === before, `after failure, ${nrLeft} left`).toBe(true);
      target.abort();
      expect(describeState(device) === before, `after the abort, ${nrLeft} left`).toBe(true);
    }
    expect(outcomes.succeeded).toBeGreaterThan(0);
    // Deleting takes fewer blocks than the filler's last commit leaves.
    if (name !== 'deleting trees') expect(outcomes.failed).toBeGreaterThan(0);
  });
});
