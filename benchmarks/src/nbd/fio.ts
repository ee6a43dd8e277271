/** One fio job against an NBD export, with fio's own nbd engine, and what it measured. */
import { spawnSync } from 'node:child_process';

export interface FioJob {
  readonly rw: 'randread' | 'randwrite' | 'read' | 'write';
  /** Bytes of a request. */
  readonly blockSize: number;
  /** Bytes of the volume that the job touches. */
  readonly size: number;
  /** Requests in flight. */
  readonly depth: number;
  /** Either so long, in seconds, over and over; */
  readonly seconds?: number;
  /** or so many bytes, each place once. */
  readonly bytes?: number;
  readonly seed: number;
}

export interface FioResult {
  readonly iops: number;
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Microseconds from submission to completion. */
  readonly latency: { readonly median: number; readonly p99: number };
}

/** @throws Error with fio's own words when it fails, or when any request did */
export function runFio(uri: string, job: FioJob): FioResult {
  const how =
    job.seconds === undefined ? [`--io_size=${job.bytes ?? job.size}`] : ['--time_based', `--runtime=${job.seconds}`];
  const { status, stdout, stderr, error } = spawnSync(
    'fio',
    [
      '--name=job',
      '--ioengine=nbd',
      `--uri=${uri}`,
      `--rw=${job.rw}`,
      `--bs=${job.blockSize}`,
      `--size=${job.size}`,
      `--iodepth=${job.depth}`,
      `--randseed=${job.seed}`,
      ...how,
      '--output-format=json',
    ],
    { encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`fio ended with exit code ${status}: ${(stderr || stdout).trim()}`);
  const [found] = (JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: FioJson[] }).jobs;
  if (found === undefined || found.error !== 0) throw new Error(`fio reports error ${found?.error}: ${stderr.trim()}`);
  const side = job.rw.endsWith('read') ? found.read : found.write;
  const percentiles = side.clat_ns.percentile ?? {};
  return {
    iops: side.iops,
    bandwidth: side.bw_bytes,
    latency: {
      median: (percentiles['50.000000'] ?? Number.NaN) / 1000,
      p99: (percentiles['99.000000'] ?? Number.NaN) / 1000,
    },
  };
}

interface FioSide {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Record<string, number> };
}
interface FioJson {
  readonly error: number;
  readonly read: FioSide;
  readonly write: FioSide;
}
