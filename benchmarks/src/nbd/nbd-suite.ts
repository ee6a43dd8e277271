/**
 * Block I/O over a Unix socket, by fio's nbd engine: `pdata serve thin` beside `qemu-nbd` on qcow2, in one run.
 *
 * Each work begins with a disk in the state that it names (made once, before the clock runs), is done once a run, by
 * turns, and counts the requests that were answered in a second. What was written is not flushed: both leave that to the
 * system, as administrators run them (cache=writeback).
 *
 * Non-goals: disks (the images lie in the system's cache, or on `--work`), several clients, other cluster sizes.
 */
import { spawnSync } from 'node:child_process';
import { faster, limited, table } from '../report.js';
import { median } from '../statistics.js';
import type { DiskServer, ServedDisk } from './disk-servers.js';
import { type FioJob, runFio } from './fio.js';

export interface NbdSuiteOptions {
  /** The first one is us. */
  readonly contenders: readonly DiskServer[];
  readonly runs: number;
  readonly seed: number;
  /** Bytes of the disk. */
  readonly size: number;
  /** Of those works that go on for a time; 0: once over the disk instead. */
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

const [KIB, MIB] = [1024, 1024 ** 2];
/** Bytes: what a server may take, its metadata cache of 64 MiB included. */
export const MEMORY_TARGET = 200e6;

type DiskState = 'fresh' | 'filled' | 'snapshotted';
interface Work {
  readonly name: string;
  readonly state: DiskState;
  readonly job: Pick<FioJob, 'rw' | 'blockSize'>;
  /** Goes over each place once at most, because a second time finds it in another state. */
  readonly once?: boolean;
}

const WORKS: readonly Work[] = [
  { name: '4 KiB random write, provisioned', state: 'filled', job: { rw: 'randwrite', blockSize: 4 * KIB } },
  { name: '4 KiB random read', state: 'filled', job: { rw: 'randread', blockSize: 4 * KIB } },
  { name: '64 KiB sequential write', state: 'filled', job: { rw: 'write', blockSize: 64 * KIB } },
  { name: '64 KiB sequential read', state: 'filled', job: { rw: 'read', blockSize: 64 * KIB } },
  { name: '4 KiB random write, fresh', state: 'fresh', job: { rw: 'randwrite', blockSize: 4 * KIB }, once: true },
  {
    name: '4 KiB random write after a snapshot',
    state: 'snapshotted',
    job: { rw: 'randwrite', blockSize: 4 * KIB },
    once: true,
  },
];

interface Measured {
  readonly iops: number[];
  readonly p99: number[];
  /** Microseconds of the server's processor time for one request: what is left of a ratio on a machine that others use, too. */
  readonly processor: number[];
  failure?: string;
}
export interface NbdFigures {
  /** By work, then by contender. */
  readonly works: ReadonlyMap<string, ReadonlyMap<string, Measured>>;
  /** Bytes, by contender. */
  readonly peakMemory: ReadonlyMap<string, number>;
}

/** Why nothing can be measured; undefined when it can. */
export function missingForNbd(): string | undefined {
  const { stdout } = spawnSync('fio', ['--enghelp'], { encoding: 'utf8' });
  return stdout?.includes('nbd') ? undefined : 'fio with its nbd engine is not here: the Debian package fio brings it';
}

export async function measureNbd(options: NbdSuiteOptions): Promise<NbdFigures> {
  const works = new Map<string, Map<string, Measured>>();
  const peakMemory = new Map<string, number>();
  for (const work of WORKS) {
    const results = new Map<string, Measured>();
    works.set(work.name, results);
    for (let run = 1; run <= options.runs; run++) {
      for (const server of options.contenders) {
        if (server.missing !== undefined) continue;
        const result = results.get(server.name) ?? { iops: [], p99: [], processor: [] };
        results.set(server.name, result);
        if (result.failure !== undefined) continue;
        options.progress(`${work.name}: ${server.name}, run ${run} of ${options.runs}`);
        try {
          const peak = await once(server, work, options, result);
          peakMemory.set(server.name, Math.max(peak, peakMemory.get(server.name) ?? 0));
        } catch (error) {
          result.failure = `${work.name} of ${server.name} could not be measured: ${(error as Error).message}`;
          result.iops.length = 0;
        }
      }
    }
  }
  return { works, peakMemory };
}

/** Returns the largest memory of the server, in bytes. */
async function once(server: DiskServer, work: Work, options: NbdSuiteOptions, result: Measured): Promise<number> {
  const { size, seed, seconds } = options;
  server.create(size);
  let disk = await server.start();
  try {
    if (work.state !== 'fresh') await runFio(disk.uri, { rw: 'write', blockSize: MIB, size, depth: 4, seed });
    if (work.state === 'snapshotted') disk = await snapshotted(server, disk);
    const length = work.once ? { bytes: size / 16 } : seconds === 0 ? { bytes: size } : { seconds };
    const before = disk.processorTime();
    const { iops, latency, nrRequests } = await runFio(disk.uri, { ...work.job, size, depth: 16, seed, ...length });
    result.processor.push(((disk.processorTime() - before) / nrRequests) * 1e6);
    result.iops.push(iops);
    result.p99.push(latency.p99);
    return disk.peakMemory();
  } finally {
    await disk.stop();
  }
}

async function snapshotted(server: DiskServer, disk: ServedDisk): Promise<ServedDisk> {
  await disk.stop();
  server.snapshot();
  return server.start();
}

export function nbdTable({ works, peakMemory }: NbdFigures, { contenders, size, runs }: NbdSuiteOptions): string {
  const [ours, theirs] = contenders as [DiskServer, DiskServer];
  const rows = [
    ['requests a second, depth 16', ...contenders.map(({ name }) => name), 'pdata / qemu-nbd', 'to reach', 'reached'],
  ];
  const failures: string[] = [];
  for (const [name, results] of works) {
    const iops = (contender: DiskServer): number[] => results.get(contender.name)?.iops ?? [];
    const { ratio, target, met } = faster(median(iops(ours)) / median(iops(theirs)), 1);
    const cells = contenders.map((contender) => {
      const found = iops(contender);
      if (found.length === 0) return 'n/a';
      const { p99 = [], processor = [] } = results.get(contender.name) ?? {};
      const times = `p99 ${median(p99).toFixed(0)} µs, CPU ${median(processor).toFixed(0)} µs`;
      return `${thousands(median(found))} (${thousands(Math.min(...found))}–${thousands(Math.max(...found))}), ${times}`;
    });
    rows.push([name, ...cells, ratio, target, met]);
    failures.push(...[...results.values()].flatMap(({ failure }) => failure ?? []));
  }
  const bytes = contenders.map(({ name }) => peakMemory.get(name) ?? Number.NaN);
  const memory = limited((bytes[0] ?? Number.NaN) / 1e6, MEMORY_TARGET / 1e6, ' MB');
  rows.push([
    'largest memory of the server',
    ...bytes.map((value) => `${(value / 1e6).toFixed(0)} MB`),
    '',
    memory.target,
    memory.met,
  ]);
  return [
    `Thin volume over NBD, Unix socket: ${size / MIB} MiB, blocks of 64 KiB; median of ${runs} runs`,
    'p99: latency of 99 % of the requests; CPU: processor time of the server for each',
    '',
    table(rows),
    ...contenders.flatMap(({ missing }) => (missing === undefined ? [] : [`n/a: ${missing}`])),
    ...failures,
  ].join('\n');
}

const thousands = (value: number): string => (value >= 1000 ? `${(value / 1000).toFixed(1)}k` : value.toFixed(0));
