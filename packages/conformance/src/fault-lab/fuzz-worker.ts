/** A thread of `faultlab fuzz`: the images of one pool at a time. */
import { parentPort, threadId } from 'node:worker_threads';
import type { FuzzReport } from '@pdata/testing';
import { fuzzPool } from './fuzz-images.js';

export interface FuzzJob {
  readonly seed: number;
}

export interface FuzzResult extends FuzzReport {
  readonly threadId: number;
  /** Bytes outside the heap, which no limit of the thread covers. */
  readonly arrayBuffers: number;
}

parentPort?.on('message', ({ seed }: FuzzJob) => {
  const report = fuzzPool(seed);
  parentPort?.postMessage({
    ...report,
    threadId,
    arrayBuffers: process.memoryUsage().arrayBuffers,
  } satisfies FuzzResult);
});
