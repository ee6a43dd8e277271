/**
 * Jobs done by threads of the same program, as many at once as there are processors.
 *
 * A job that takes too long is taken for one that hangs: its thread is ended, and the job told of; another thread goes on.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

export interface WorkOptions<Job, Result> {
  /** The worker's module: answers each message (a job) with a message (its result). */
  readonly module: URL;
  /** The next job; undefined when there is none left. */
  next(): Job | undefined;
  done(result: Result, job: Job): void;
  /** The thread has died, or did not answer in time. */
  failed(reason: string, job: Job): void;
  readonly workers?: number | undefined;
  /** Milliseconds a job may take. */
  readonly timeout: number;
  /** MiB of heap a thread may use. */
  readonly memory: number;
}

/** Resolves when there are no jobs left and all have ended. */
export async function workInThreads<Job, Result>(options: WorkOptions<Job, Result>): Promise<void> {
  const nr = options.workers ?? availableParallelism();
  await Promise.all(Array.from({ length: nr }, () => workInOne(options)));
}

async function workInOne<Job, Result>(options: WorkOptions<Job, Result>): Promise<void> {
  let worker = start(options);
  for (let job = options.next(); job !== undefined; job = options.next()) {
    try {
      options.done(await answer<Job, Result>(worker, job, options.timeout), job);
    } catch (error) {
      await worker.terminate();
      worker = start(options);
      options.failed(error instanceof Error ? error.message : String(error), job);
    }
  }
  await worker.terminate();
}

function start({ module, memory }: { readonly module: URL; readonly memory: number }): Worker {
  return new Worker(module, { resourceLimits: { maxOldGenerationSizeMb: memory } });
}

function answer<Job, Result>(worker: Worker, job: Job, timeout: number): Promise<Result> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void): void => {
      clearTimeout(timer);
      worker.off('message', done).off('error', failed).off('exit', ended);
      how();
    };
    const done = (result: Result): void => settle(() => resolve(result));
    const failed = (error: Error): void => settle(() => reject(error));
    const ended = (code: number): void => failed(new Error(`the thread ended with ${code}`));
    const timer = setTimeout(() => failed(new Error(`no answer within ${timeout / 1000} s: it hangs`)), timeout);
    worker.on('message', done).on('error', failed).on('exit', ended);
    worker.postMessage(job);
  });
}
