/**
 * thin_check, thin_dump and thin_restore beside the real ones: whole processes, from start to exit, on pools whose mappings
 * are in random order (make-random-pool.ts says why), in files that the system has cached.
 *
 * Each contender runs each work once unmeasured, then by turns. What it did is compared: exit codes, the dump's hash, and
 * the hash of our dump of what it restored. Peak memory is looked up in runs of its own.
 *
 * Non-goals: disks (the files are cached), pools in order (they are easier for everyone), damaged pools, options.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeEmptyImage } from '../make-random-pool.js';
import { limited, NO_VERDICT, table, type Verdict, within } from '../report.js';
import { duration, median } from '../statistics.js';
import type { RandomPoolFiles } from './random-pools.js';
import type { Contender, ThinTool } from './thin-tools.js';

export interface PoolsSuiteOptions {
  /** The first one is us. */
  readonly contenders: readonly Contender[];
  readonly runs: number;
  /** For what the programs write; on the same disk as the pools. */
  readonly directory: string;
  readonly progress: (text: string) => void;
}

/** At most this many times as long as 1.1.0. */
const TARGETS = { thin_check: 1, thin_dump: 1, thin_restore: 1.25 } as const;
const TOOLS = ['thin_check', 'thin_dump', 'thin_restore'] as const;
/** Bytes. */
const MEMORY_TARGET = 300e6;

export interface ToolResult {
  readonly seconds: number[];
  /** Equal for contenders that did the same. */
  hash: string;
  /** Why there are no figures. */
  failure?: string;
}

/** What each contender took, and what came of it. */
export type PoolTimes = ReadonlyMap<ThinTool, ReadonlyMap<string, ToolResult>>;

export async function measureTimes(pool: RandomPoolFiles, options: PoolsSuiteOptions): Promise<PoolTimes> {
  const times = new Map<ThinTool, Map<string, ToolResult>>();
  for (const tool of TOOLS) {
    const results = new Map<string, ToolResult>();
    times.set(tool, results);
    for (let run = 0; run <= options.runs; run++) {
      for (const contender of present(options)) {
        const result = results.get(contender.name) ?? { seconds: [], hash: '' };
        results.set(contender.name, result);
        if (result.failure !== undefined) continue;
        options.progress(`${tool}: ${contender.name}, ${run === 0 ? 'warming up' : `run ${run} of ${options.runs}`}`);
        try {
          const work = prepare(tool, pool, options.directory);
          const seconds = await mustRun(contender, tool, work.args);
          if (run > 0) result.seconds.push(seconds);
          else result.hash = await hashOf(tool, work.output, options);
        } catch (error) {
          result.failure = `${tool} of ${contender.name} could not be measured: ${(error as Error).message}`;
          result.seconds.length = 0;
        }
      }
    }
  }
  return times;
}

export function timesTable(pool: RandomPoolFiles, times: PoolTimes, { contenders }: PoolsSuiteOptions): string {
  const rows = [['work', ...contenders.map(({ name }) => name), 'pdata / 1.1.0', 'to reach', 'reached', 'result']];
  for (const [tool, results] of times) {
    const [ours, theirs] = [results.get('pdata')?.seconds ?? [], results.get('1.1.0')?.seconds ?? []];
    const { ratio, target, met } = within(median(ours) / median(theirs), TARGETS[tool]);
    const cells = contenders.map(({ name }) => duration(results.get(name)?.seconds ?? []));
    rows.push([tool, ...cells, ratio, target, met, hashesOf(results)]);
  }
  return [
    `Whole programs: ${inMillions(pool.nrMappings)} mappings in random order, wall clock`,
    '',
    table(rows),
    ...missing(contenders),
    ...[...times.values()].flatMap((results) => [...results.values()].flatMap(({ failure }) => failure ?? [])),
  ].join('\n');
}

/** Peak memory in bytes, by tool, contender and size of the pool. */
export type PoolMemory = ReadonlyMap<ThinTool, ReadonlyMap<string, ReadonlyMap<number, number>>>;

export async function measureMemory(
  pools: readonly RandomPoolFiles[],
  options: PoolsSuiteOptions,
): Promise<PoolMemory> {
  const memory = new Map<ThinTool, Map<string, Map<number, number>>>();
  for (const tool of TOOLS) {
    const byContender = new Map<string, Map<number, number>>();
    memory.set(tool, byContender);
    for (const contender of present(options)) {
      const bySize = new Map<number, number>();
      byContender.set(contender.name, bySize);
      for (const pool of pools) {
        const peaks: number[] = [];
        for (let run = 0; run < options.runs; run++) {
          options.progress(`memory: ${tool}, ${contender.name}, ${inMillions(pool.nrMappings)} mappings`);
          const { args } = prepare(tool, pool, options.directory);
          // What cannot be measured is n/a; the times say why.
          peaks.push(await contender.peakMemory(tool, args).catch(() => Number.NaN));
        }
        bySize.set(pool.nrMappings, median(peaks));
      }
    }
  }
  return memory;
}

export function memoryTable(memory: PoolMemory, { contenders, runs }: PoolsSuiteOptions): string {
  const rows = [['peak memory', ...contenders.map(({ name }) => name), 'to reach', 'reached']];
  const growth: string[] = [];
  for (const [tool, byContender] of memory) {
    const ours = byContender.get('pdata') ?? new Map<number, number>();
    for (const [nrMappings, bytes] of ours) {
      const { target, met }: Verdict = Number.isNaN(bytes)
        ? NO_VERDICT
        : limited(bytes / 1e6, MEMORY_TARGET / 1e6, ' MB');
      const cells = contenders.map(({ name }) => megabytes(byContender.get(name)?.get(nrMappings)));
      rows.push([`${tool}, ${inMillions(nrMappings)}`, ...cells, target, met]);
    }
    const sizes = [...ours.keys()];
    const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
    const more = (ours.get(most) ?? Number.NaN) - (ours.get(least) ?? Number.NaN);
    if (sizes.length > 1 && Number.isFinite(more)) {
      const each = (more / (most - least)).toFixed(1);
      growth.push(
        `${tool} of pdata: ${(more / 1e6).toFixed(0)} MB more for ${inMillions(most)} than for ${inMillions(least)}, ${each} bytes a mapping`,
      );
    }
  }
  return [
    `Whole programs: largest resident memory, median of ${runs} ${runs === 1 ? 'run' : 'runs'}`,
    '',
    table(rows),
    '',
    ...growth,
    ...missing(contenders),
  ].join('\n');
}

function prepare(
  tool: ThinTool,
  { xml, image, nrMappings }: RandomPoolFiles,
  directory: string,
): { args: string[]; output: string } {
  const output = join(directory, tool === 'thin_restore' ? 'restored.img' : 'dumped.xml');
  if (existsSync(output)) rmSync(output);
  if (tool === 'thin_check') return { args: [image], output: '' };
  if (tool === 'thin_dump') return { args: [image, '-o', output], output };
  makeEmptyImage(output, nrMappings);
  return { args: ['-i', xml, '-o', output], output };
}

/** What the work came to: for a check that it ended well, for the others what they wrote. */
async function hashOf(tool: ThinTool, output: string, { contenders, directory }: PoolsSuiteOptions): Promise<string> {
  if (tool === 'thin_check') return 'clean';
  if (tool === 'thin_dump') return hashOfFile(output);
  const dump = join(directory, 'dumped.xml');
  if (existsSync(dump)) rmSync(dump);
  await mustRun(contenders[0] as Contender, 'thin_dump', [output, '-o', dump]);
  return hashOfFile(dump);
}

async function mustRun(contender: Contender, tool: ThinTool, args: readonly string[]): Promise<number> {
  const { seconds, exitCode, stderr } = await contender.run(tool, args);
  if (exitCode !== 0)
    throw new Error(`${tool} of ${contender.name} ended with exit code ${exitCode}: ${stderr.trim()}`);
  return seconds;
}

/** The first digits of a file's sha256. The superblock line of 0.9.0 says flags="0" too, so its dumps get another hash. */
function hashOfFile(path: string): string {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(1 << 20);
  const file = openSync(path, 'r');
  try {
    for (let nr = readSync(file, chunk); nr > 0; nr = readSync(file, chunk)) hash.update(chunk.subarray(0, nr));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex').slice(0, 16);
}

function hashesOf(results: ReadonlyMap<string, ToolResult>): string {
  const ours = results.get('pdata')?.hash;
  const others = [...results].filter(([, { hash }]) => hash !== ours).map(([name, { hash }]) => `${name}: ${hash}`);
  return [ours ?? '', ...others].join('; ');
}

const present = ({ contenders }: PoolsSuiteOptions): Contender[] => contenders.filter((c) => c.missing === undefined);
const missing = (contenders: readonly Contender[]): string[] =>
  contenders.flatMap((contender) => (contender.missing === undefined ? [] : [`n/a: ${contender.missing}`]));
const inMillions = (nr: number): string => (nr >= 1e6 ? `${nr / 1e6} M` : `${nr}`);
const megabytes = (bytes: number | undefined): string =>
  bytes === undefined || Number.isNaN(bytes) ? 'n/a' : `${(bytes / 1e6).toFixed(0)} MB`;
