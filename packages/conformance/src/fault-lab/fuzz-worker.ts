/** A thread of `faultlab fuzz`: the images made from one good one at a time. */
import { parentPort } from 'node:worker_threads';
import type { FuzzReport } from '@pdata/testing';
import { FUZZ_TARGETS } from './fuzz-registry.js';
import { type FuzzTarget, fuzzTarget } from './fuzz-targets.js';

export interface FuzzJob {
  readonly target: string;
  readonly seed: number;
}

export interface FuzzResult extends FuzzReport {
  /** Bytes outside the heap, which no limit of the thread covers. */
  readonly arrayBuffers: number;
}

parentPort?.on('message', async ({ target: name, seed }: FuzzJob) => {
  const target = FUZZ_TARGETS.find((known) => known.name === name) as FuzzTarget;
  const report = await fuzzTarget(target, seed);
  parentPort?.postMessage({
    ...report,
    arrayBuffers: process.memoryUsage().arrayBuffers,
  } satisfies FuzzResult);
});
