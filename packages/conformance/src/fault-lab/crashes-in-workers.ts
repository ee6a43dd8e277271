/** Crash exploration for as many states as one likes, on all processors; goes on behind a violation, and tells of some more. */
import type { CrashJob, CrashResult } from './crash-worker.js';
import { workInThreads } from './workers.js';

const WORKLOADS_PER_JOB = 8;
/** Far more than a job of a busy machine takes. */
const TIMEOUT = 600_000;
const MEMORY = 2048;
const SECONDS_BETWEEN_LINES = 30;
/** Of one subject; more of them would say the same. */
const MOST_VIOLATIONS = 3;

export interface CrashRunOptions {
  readonly subjects: readonly string[];
  /** In all. */
  readonly states: number;
  readonly seed: number;
  readonly workers: number | undefined;
  /** Aborted when no more is to be begun. */
  readonly signal: AbortSignal;
}

interface Tally {
  readonly name: string;
  nextSeed: number;
  nrWorkloads: number;
  nrStates: number;
  nrDistinct: number;
  nrViolations: number;
}

/** @returns an exit code: 1 when there was a violation */
export async function crashesInWorkers({ subjects, states, seed, workers, signal }: CrashRunOptions): Promise<number> {
  const share = Math.ceil(states / subjects.length);
  const tallies = subjects.map(
    (name): Tally => ({ name, nextSeed: seed, nrWorkloads: 0, nrStates: 0, nrDistinct: 0, nrViolations: 0 }),
  );
  const violations: string[] = [];
  const began = performance.now();
  let told = began;
  await workInThreads<CrashJob, CrashResult>({
    module: new URL('./crash-worker.js', import.meta.url),
    workers,
    timeout: TIMEOUT,
    memory: MEMORY,
    next() {
      if (signal.aborted) return undefined;
      const [most] = tallies
        .filter(({ nrStates, nrViolations }) => nrStates < share && nrViolations < MOST_VIOLATIONS)
        .sort((a, b) => a.nrStates - b.nrStates);
      if (most === undefined) return undefined;
      const job = { subject: most.name, seed: most.nextSeed, workloads: WORKLOADS_PER_JOB };
      most.nextSeed += WORKLOADS_PER_JOB;
      return job;
    },
    done(result, { subject }) {
      const tally = tallies.find(({ name }) => name === subject) as Tally;
      tally.nrWorkloads += result.nrWorkloads;
      tally.nrStates += result.nrStates;
      tally.nrDistinct += result.nrDistinct;
      if (result.violation !== undefined) violate(tally, result.violation);
      if (performance.now() - told < SECONDS_BETWEEN_LINES * 1000) return;
      told = performance.now();
      console.log(`${sum(tallies, 'nrStates')} states after ${secondsSince(began)} s`);
    },
    failed(reason, { subject, seed: first }) {
      violate(
        tallies.find(({ name }) => name === subject) as Tally,
        `${subject}, workloads from ${first} on: ${reason}`,
      );
    },
  });
  function violate(tally: Tally, what: string): void {
    tally.nrViolations++;
    violations.push(what);
    console.log(`VIOLATION ${what}`);
  }
  for (const { name, nrWorkloads, nrStates, nrDistinct } of tallies) {
    console.log(`${name}: ${nrStates} crash states (${nrDistinct} distinct images) of ${nrWorkloads} workloads`);
  }
  console.log(
    `${sum(tallies, 'nrStates')} crash states (${sum(tallies, 'nrDistinct')} distinct images), seeds from ${seed} on, ` +
      `in ${secondsSince(began)} s: ${violations.length === 0 ? 'no violation' : `${violations.length} violations`}`,
  );
  return violations.length === 0 ? 0 : 1;
}

function sum(tallies: readonly Tally[], what: 'nrStates' | 'nrDistinct'): number {
  return tallies.reduce((total, tally) => total + tally[what], 0);
}

function secondsSince(began: number): number {
  return Math.round((performance.now() - began) / 1000);
}
