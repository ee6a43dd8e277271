/**
 * A device that fails at every read, write and flush of a transaction in turn, writes whole or torn: the failure is passed on
 * as it is, the device then holds the state before or after, whole, and the target can be aborted and used on.
 */
import { DeviceError } from '@pdata/device';
import { AbortRequiredError } from '@pdata/persistent-data';
import type { SparseMetadataDevice } from '@pdata/testing';
import { type Fault, FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { SmallTarget } from './small-target.js';
import { committedBase, describeState, WORKLOADS } from './workloads.js';

const NR_BLOCKS = 1500;
const base = committedBase(NR_BLOCKS);
const CACHE = { cacheBlocks: 32 }; // so that blocks are written early, and read again

/** At most so many places of each kind, spread evenly, the last ones among them. */
const MOST_PLACES = 24;

function places(nr: number): number[] {
  if (nr <= MOST_PLACES) return Array.from({ length: nr }, (_, i) => i + 1);
  const spread = Array.from({ length: MOST_PLACES - 4 }, (_, i) => 1 + Math.floor((i * nr) / (MOST_PLACES - 4)));
  return [...new Set([...spread, nr - 3, nr - 2, nr - 1, nr])];
}

describe.each(Object.entries(WORKLOADS))('%s', (_, workload) => {
  const before = describeState(base.copy());
  const unharmed = base.copy();
  const counting = new FaultyMetadataDevice(unharmed);
  const opened = SmallTarget.open(counting, CACHE);
  const nrToOpen = counting.nrDone('read');
  workload(opened);
  const after = describeState(unharmed);

  /** One run with one fault; says which state was found afterwards. */
  function runWith(fault: Fault): { state: 'before' | 'after'; device: SparseMetadataDevice } {
    const device = base.copy();
    const faulty = new FaultyMetadataDevice(device);
    const target = SmallTarget.open(faulty, CACHE);
    faulty.inject(fault);
    let caught: unknown;
    try {
      workload(target);
    } catch (error) {
      caught = error;
    }
    expect(caught, JSON.stringify(fault)).toBeInstanceOf(DeviceError);
    // A commit that failed cannot be tried again: nobody knows what a failed flush has lost.
    if (fault.operation === 'flush') expect(() => target.commit()).toThrow(AbortRequiredError);
    const crashed = describeState(device.copy());
    expect(crashed === before || crashed === after, `neither before nor after: ${JSON.stringify(fault)}`).toBe(true);
    faulty.heal();
    target.abort(); // what is on the device decides
    workload(crashed === before ? target : SmallTarget.open(base.copy(), CACHE));
    if (crashed === before) expect(describeState(device) === after, 'done again after the abort').toBe(true);
    return { state: crashed === before ? 'before' : 'after', device };
  }

  it('survives an error of any read', () => {
    const nr = counting.nrDone('read');
    expect(nr).toBeGreaterThan(nrToOpen);
    for (const nth of places(nr - nrToOpen)) {
      expect(runWith({ operation: 'read', nth: nrToOpen + nth }).state).toBe('before');
    }
  });

  it('survives an error of any write, whole or torn', () => {
    const nr = counting.nrDone('write');
    const states = new Set<string>();
    for (const nth of places(nr)) {
      for (const landsPartly of [false, true]) {
        const { state } = runWith({ operation: 'write', nth, landsPartly });
        // Only the last write, of the superblock, can bring the new state, and it does when its first sector lands.
        expect(state).toBe(nth === nr && landsPartly ? 'after' : 'before');
        states.add(state);
      }
    }
    expect([...states].sort()).toEqual(['after', 'before']);
  });

  it('survives an error of either flush', () => {
    expect(counting.nrDone('flush')).toBe(2);
    expect(runWith({ operation: 'flush', nth: 1 }).state).toBe('before');
    // The superblock has been written, and is found unless the power fails: before or after, here after.
    expect(runWith({ operation: 'flush', nth: 2 }).state).toBe('after');
  });
});
