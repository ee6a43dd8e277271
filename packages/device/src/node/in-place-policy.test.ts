import { describe, expect, it } from 'vitest';
import { InPlacePolicy, LARGEST_IN_PLACE, READ_LIMITS, WRITE_LIMITS } from './in-place-policy.js';

const LIMITS = { slowMicros: 50, microsPerKib: 1, verySlowMicros: 2000 };
const quick = 0.001; // milliseconds
const slow = 0.1;
const verySlow = 5;

/** What a run of 4 KiB requests does that take so long in place: i for in place, t for handed to a thread. */
function run(policy: InPlacePolicy, nr: number, millis: (nr: number) => number): string {
  let did = '';
  for (let request = 0; request < nr; request++) {
    if (policy.admits(4096)) {
      did += 'i';
      policy.took(millis(request), 4096);
    } else did += 't';
  }
  return did;
}

describe('the policy', () => {
  it('does everything in place while the medium is quick, and nothing large ever', () => {
    const policy = new InPlacePolicy(LIMITS);
    expect(run(policy, 999, () => quick)).toBe('i'.repeat(999));
    expect([policy.admits(LARGEST_IN_PLACE), policy.admits(LARGEST_IN_PLACE + 512)]).toEqual([true, false]);
  });

  it('hands one over for each millisecond spent in place, so that the event loop can turn', () => {
    const policy = new InPlacePolicy(LIMITS);
    const thirtySecond = 2 ** -5; // of a millisecond: adds up exactly
    expect(run(policy, 99, () => thirtySecond)).toBe(`${'i'.repeat(32)}t`.repeat(3));
  });

  it('lets a slow request pass now and then', () => {
    const policy = new InPlacePolicy(LIMITS);
    expect(run(policy, 160, (nr) => (nr % 20 === 0 ? slow : quick))).toBe('i'.repeat(160));
  });

  it('hands 32 requests over after two slow ones among 16, and then tries again', () => {
    const policy = new InPlacePolicy(LIMITS);
    const times = new Map([
      [3, slow],
      [9, slow],
    ]);
    expect(run(policy, 100, (nr) => times.get(nr) ?? quick)).toBe(
      `${'i'.repeat(10)}${'t'.repeat(32)}${'i'.repeat(58)}`,
    );
  });

  it('hands over at once after a very slow request', () => {
    const policy = new InPlacePolicy(LIMITS);
    expect(run(policy, 34, (nr) => (nr === 0 ? verySlow : quick))).toBe(`i${'t'.repeat(32)}i`);
  });

  it('tries a medium that stays slow ever more seldom, down to one request in 1025', () => {
    const policy = new InPlacePolicy(LIMITS);
    const did = run(policy, 10_000, () => slow);
    const gaps = did.split('i').map((gap) => gap.length);
    expect(gaps.slice(0, 10)).toEqual([0, 0, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    expect(did.split('i').length - 1, 'requests in place of 10 000').toBeLessThan(20);
  });

  it('trusts a medium that has become quick as it did at first', () => {
    const policy = new InPlacePolicy(LIMITS);
    run(policy, 5000, () => slow);
    expect(run(policy, 1200, () => quick)).toMatch(/^t+i{100,}ti+$/);
    expect(run(policy, 34, () => verySlow)).toBe(`i${'t'.repeat(32)}i`);
  });

  it('allows large requests more time', () => {
    const policy = new InPlacePolicy(LIMITS);
    for (let nr = 0; nr < 9; nr++) {
      expect(policy.admits(65536)).toBe(true);
      policy.took(0.11, 65536); // 50 µs and 64 of them
    }
  });

  it('does not count large requests among those to hand over', () => {
    const policy = new InPlacePolicy(LIMITS);
    run(policy, 1, () => verySlow);
    for (let nr = 0; nr < 100; nr++) policy.admits(2 ** 20);
    expect(run(policy, 33, () => quick)).toBe(`${'t'.repeat(32)}i`);
  });
});

it('takes 64 KiB from the page cache for quick, a read from a good disk for slow, and a write to the cache for quick', () => {
  const staysInPlace = (limits: typeof LIMITS, micros: number, length: number): boolean => {
    const policy = new InPlacePolicy(limits);
    let nrInPlace = 0;
    for (let nr = 0; nr < 100; nr++) {
      if (!policy.admits(length)) continue;
      nrInPlace++;
      policy.took(micros / 1000, length);
    }
    return nrInPlace > 90;
  };
  expect(staysInPlace(READ_LIMITS, 1.3, 4096)).toBe(true);
  expect(staysInPlace(READ_LIMITS, 9, 65536)).toBe(true);
  expect(staysInPlace(READ_LIMITS, 60, 4096)).toBe(false);
  expect(staysInPlace(READ_LIMITS, 100, 65536)).toBe(false);
  expect(staysInPlace(WRITE_LIMITS, 25, 4096)).toBe(true);
  expect(staysInPlace(WRITE_LIMITS, 2000, 4096)).toBe(false);
});
