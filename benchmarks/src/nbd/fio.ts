/** One fio job against an NBD export, with fio's own nbd engine, and what it measured. */
import { spawn } from 'node:child_process';

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
  readonly nrRequests: number;
  readonly iops: number;
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Microseconds from submission to completion. */
  readonly latency: { readonly median: number; readonly p99: number };
}

/** @throws Error with fio's own words when it fails, or when any request did */
export async function runFio(uri: string, job: FioJob): Promise<FioResult> {
  const how =
    job.seconds === undefined ? [`--io_size=${job.bytes ?? job.size}`] : ['--time_based', `--runtime=${job.seconds}`];
  const { exitCode, stdout, stderr } = await outputOf('fio', [
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
  ]);
  if (exitCode !== 0) throw new Error(`fio ended with exit code ${exitCode}: ${(stderr || stdout).trim()}`);
  // Its nbd engine announces the connection before the JSON begins.
  const [found] = (JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: FioJson[] }).jobs;
  if (found === undefined || found.error !== 0) throw new Error(`fio reports error ${found?.error}: ${stderr.trim()}`);
  const side = job.rw.endsWith('read') ? found.read : found.write;
  const percentiles = side.clat_ns.percentile ?? {};
  return {
    nrRequests: side.total_ios,
    iops: side.iops,
    bandwidth: side.bw_bytes,
    latency: {
      median: (percentiles['50.000000'] ?? Number.NaN) / 1000,
      p99: (percentiles['99.000000'] ?? Number.NaN) / 1000,
    },
  };
}

function outputOf(
  command: string,
  args: readonly string[],
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode: exitCode ?? 128, stdout, stderr }));
  });
}

interface FioSide {
  readonly total_ios: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Record<string, number> };
}
interface FioJson {
  readonly error: number;
  readonly read: FioSide;
  readonly write: FioSide;
}
