/**
 * Runs a piece of work to its end, handing on what it yields, and steps aside now and then so that an interrupt can arrive.
 */
import type { Io } from './io.js';

/** How long work goes on without stepping aside. */
const SLICE_MS = 50;

/** @returns what the work returns. Ends with the signal's reason at the first step after an interrupt. */
export async function drive<T, R>(
  work: Generator<T, R> | AsyncGenerator<T, R>,
  io: Io,
  take: (item: T) => void,
): Promise<R> {
  let sliceEnd = io.now() + SLICE_MS;
  try {
    for (;;) {
      const step = await work.next();
      if (step.done) return step.value;
      take(step.value);
      if (io.now() < sliceEnd) continue;
      await io.breathe();
      io.signal.throwIfAborted();
      sliceEnd = io.now() + SLICE_MS;
    }
  } finally {
    await work.return(undefined as R);
  }
}
