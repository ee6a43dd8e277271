/** The fuzzer for as many images as one likes, on all processors. A thread that hangs, or takes too much memory, is a failure. */
import { FUZZ_TARGETS } from './fuzz-registry.js';
import type { FuzzJob, FuzzResult } from './fuzz-worker.js';
import { workInThreads } from './workers.js';

/** Of the images made from one good one. */
const TIMEOUT = 300_000;
/** MiB of heap. */
const MEMORY = 1024;
const MOST_ARRAY_BUFFERS = 2 * 2 ** 30;
const SLOW_ONES_TOLD = 10;
/** More of them would say the same. */
const MOST_FAILURES = 50;
const SECONDS_BETWEEN_LINES = 30;

export interface FuzzRunOptions {
  readonly images: number;
  readonly seed: number;
  readonly workers: number | undefined;
  /** Aborted when no more is to be begun. */
  readonly signal: AbortSignal;
}

/** @returns an exit code: 1 when there was a failure */
export async function fuzzInWorkers({ images, seed, workers, signal }: FuzzRunOptions): Promise<number> {
  const outcomes = new Map<string, { done: number; refused: number }>();
  const slow: { milliseconds: number; what: string }[] = [];
  let [nrImages, nrFailures, slowest, mostArrayBuffers, nextJob] = [0, 0, 0, 0, 0];
  const began = performance.now();
  let told = began;
  const fail = (what: string): void => {
    nrFailures++;
    console.log(`FAILURE ${what}`);
  };
  await workInThreads<FuzzJob, FuzzResult>({
    module: new URL('./fuzz-worker.js', import.meta.url),
    workers,
    timeout: TIMEOUT,
    memory: MEMORY,
    next() {
      if (signal.aborted) return undefined;
      if (nrImages >= images || nrFailures >= MOST_FAILURES) return undefined;
      const nr = nextJob++;
      const target = FUZZ_TARGETS[nr % FUZZ_TARGETS.length]?.name as string;
      return { target, seed: seed + Math.floor(nr / FUZZ_TARGETS.length) };
    },
    done(result, job) {
      nrImages += result.nrImages;
      slowest = Math.max(slowest, result.slowest);
      mostArrayBuffers = Math.max(mostArrayBuffers, result.arrayBuffers);
      slow.push(...result.slow);
      for (const failure of result.failures) fail(`${job.target}: ${failure}`);
      if (result.arrayBuffers > MOST_ARRAY_BUFFERS)
        fail(`${job.target}, images of seed ${job.seed}: ${result.arrayBuffers} bytes in use`);
      for (const [name, { done, refused }] of Object.entries(result.outcomes)) {
        const reader = `${job.target}: ${name}`;
        const sum = outcomes.get(reader) ?? { done: 0, refused: 0 };
        outcomes.set(reader, { done: sum.done + done, refused: sum.refused + refused });
      }
      if (performance.now() - told < SECONDS_BETWEEN_LINES * 1000) return;
      told = performance.now();
      console.log(`${nrImages} images after ${secondsSince(began)} s`);
    },
    failed: (reason, job) => fail(`${job.target}, images of seed ${job.seed}: ${reason}`),
  });
  for (const [reader, { done, refused }] of outcomes) console.log(`${reader}: ${done} done, ${refused} refused`);
  slow.sort((a, b) => b.milliseconds - a.milliseconds);
  for (const { milliseconds, what } of slow.slice(0, SLOW_ONES_TOLD))
    console.log(`slow: ${Math.round(milliseconds)} ms, ${what}`);
  console.log(
    `${nrImages} images of ${FUZZ_TARGETS.length} targets, ${outcomes.size} readers, seeds from ${seed} on, in ${secondsSince(began)} s: ` +
      `${nrFailures === 0 ? 'no failure' : `${nrFailures} failures`}; ${slow.length} slow runs, the slowest ${Math.round(slowest)} ms; ` +
      `at most ${Math.round(mostArrayBuffers / 2 ** 20)} MiB of buffers`,
  );
  return nrFailures === 0 ? 0 : 1;
}

function secondsSince(began: number): number {
  return Math.round((performance.now() - began) / 1000);
}
