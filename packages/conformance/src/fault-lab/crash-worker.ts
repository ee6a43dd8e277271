/** A thread of `faultlab crashes`: some workloads of one subject at a time. */
import { parentPort } from 'node:worker_threads';
import { SUBJECTS } from './subjects.js';

export interface CrashJob {
  readonly subject: string;
  readonly seed: number;
  readonly workloads: number;
}

export interface CrashResult {
  readonly nrWorkloads: number;
  readonly nrStates: number;
  readonly nrDistinct: number;
  readonly violation: string | undefined;
}

parentPort?.on('message', async ({ subject: name, seed, workloads }: CrashJob) => {
  const subject = SUBJECTS.find((known) => known.name === name);
  if (subject === undefined) throw new Error(`there is no subject ${name}`);
  const replayCommand = (token: string): string => `npm run faultlab -- replay ${token}`;
  const report = await subject.explore({ seed, workloads, states: Number.POSITIVE_INFINITY, replayCommand });
  const { nrWorkloads, nrStates, nrDistinct, violation } = report;
  parentPort?.postMessage({ nrWorkloads, nrStates, nrDistinct, violation: violation?.message } satisfies CrashResult);
});
