import { ManualTimers } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CommitTimer } from './commit-timer.js';

function timer(commitPeriod: number): { timers: ManualTimers; timer: CommitTimer; nrDue: () => number } {
  const timers = new ManualTimers();
  let nr = 0;
  const made = new CommitTimer({ timers, commitPeriod }, () => nr++);
  return { timers, timer: made, nrDue: () => nr };
}

describe('the time of a commit', () => {
  it('comes a period after the first change', () => {
    const { timers, timer: commits, nrDue } = timer(1000);
    commits.begin();
    timers.pass(600);
    commits.begin();
    timers.pass(399);
    expect(nrDue()).toBe(0);
    timers.pass(1);
    expect(nrDue()).toBe(1);
  });

  it('does not come when somebody committed earlier, nor after the end', () => {
    const { timers, timer: commits, nrDue } = timer(1000);
    commits.begin();
    commits.clear();
    timers.pass(5000);
    commits.stop();
    commits.begin();
    timers.pass(5000);
    expect(nrDue()).toBe(0);
  });

  it('comes later where a commit takes long, but does come', () => {
    const { timers, timer: commits, nrDue } = timer(1000);
    commits.took(500);
    commits.begin();
    timers.pass(4999);
    expect(nrDue()).toBe(0);
    timers.pass(1);
    expect(nrDue()).toBe(1);
    commits.clear();
    commits.took(100_000);
    commits.begin();
    timers.pass(30_000);
    expect(nrDue()).toBe(2);
  });
});
