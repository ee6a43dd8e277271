/**
 * The core operations beside lmdb: 1 M random keys of 8 bytes with values of 8 bytes.
 *
 * Each contender runs in a process of its own, by turns, each time on an empty store in the same directory. Both end every
 * transaction with its data on the disk.
 *
 * Non-goals: what lmdb does besides (several processes, values of any size), what we do besides (snapshots, sharing).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { faster, limited, NO_VERDICT, table, type Verdict } from '../report.js';
import { duration, median } from '../statistics.js';
import type { CoreResult, CoreWorkload } from './workload.js';

export interface CoreSuiteOptions {
  readonly nrKeys: number;
  readonly nrCommits: number;
  readonly runs: number;
  readonly seed: number;
  /** A directory on the disk to be measured. */
  readonly directory: string;
  readonly progress: (text: string) => void;
}

const CONTENDERS = ['pdata', 'lmdb'] as const;

export function benchmarkCore(options: CoreSuiteOptions): string {
  const results = { pdata: [] as CoreResult[], lmdb: [] as CoreResult[] };
  const failures: string[] = [];
  for (let run = 0; run < options.runs; run++) {
    for (const contender of CONTENDERS) {
      options.progress(`core: ${contender}, run ${run + 1} of ${options.runs}`);
      const result = runContender(contender, options);
      if (typeof result === 'string') failures.push(`${contender}: ${result}`);
      else results[contender].push(result);
    }
  }
  return [
    `Core operations: ${options.nrKeys} random keys, seed ${options.seed}`,
    '',
    table(rowsOf(results, options)),
    '',
    hashLine(results),
    ...new Set(failures),
  ].join('\n');
}

function runContender(contender: (typeof CONTENDERS)[number], options: CoreSuiteOptions): CoreResult | string {
  const directory = mkdtempSync(join(options.directory, 'core-'));
  try {
    const workload: CoreWorkload = {
      nrKeys: options.nrKeys,
      nrCommits: options.nrCommits,
      seed: options.seed,
      directory,
    };
    const program = join(import.meta.dirname, `${contender}-core.js`);
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, JSON.stringify(workload)], {
      encoding: 'utf8',
    });
    if (status !== 0) return `not measured: ${stderr.trim().split('\n').slice(-12).join('\n')}`;
    return JSON.parse(stdout) as CoreResult;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function rowsOf(results: Record<'pdata' | 'lmdb', CoreResult[]>, { nrKeys, nrCommits }: CoreSuiteOptions): string[][] {
  type Figure = 'insert' | 'insertCommit' | 'lookup' | 'walk';
  const each = (work: string, figure: Figure, atLeast?: number): string[] => {
    const [ours, theirs] = [results.pdata.map((r) => r[figure]), results.lmdb.map((r) => r[figure])];
    return row(work, duration(ours), duration(theirs), faster(median(theirs) / median(ours), atLeast));
  };
  const [ours, theirs] = [results.pdata.flatMap((r) => r.commits), results.lmdb.flatMap((r) => r.commits)];
  const written = results.pdata.flatMap((r) => r.written ?? []);
  const most = (of: (counts: NonNullable<CoreResult['written']>) => number): number => Math.max(...written.map(of));
  const inMillions = nrKeys >= 1e6 ? `${nrKeys / 1e6} M` : `${nrKeys}`;
  return [
    ['work', 'pdata', 'lmdb', 'lmdb / pdata', 'to reach', 'reached'],
    each(`lookup, ${inMillions}, cached`, 'lookup', 2),
    each(`insert, ${inMillions} in one transaction`, 'insert', 1.2),
    each('  of that, its commit', 'insertCommit'),
    each(`walk of ${inMillions}`, 'walk', 3),
    row(
      `commit of one key (${nrCommits} a run)`,
      duration(ours),
      duration(theirs),
      faster(median(theirs) / median(ours)),
    ),
    ...(written.length === 0
      ? []
      : [
          row(
            '  blocks written by it',
            `${median(written.map(({ medianBlocks }) => medianBlocks))}, at most ${most((c) => c.maxBlocks)}`,
            '',
            limited(
              most((c) => c.maxBlocks),
              12,
              '',
            ),
          ),
          row(
            '  writes of the superblock',
            `${most((c) => c.maxSuperblocks)}`,
            '',
            limited(
              most((c) => c.maxSuperblocks),
              1,
              '',
            ),
          ),
          row(
            '  flushes',
            `${most((c) => c.maxFlushes)}`,
            '',
            limited(
              most((c) => c.maxFlushes),
              2,
              '',
            ),
          ),
        ]),
  ];
}

const row = (work: string, ours: string, theirs: string, { ratio, target, met }: Verdict = NO_VERDICT): string[] => [
  work,
  ours,
  theirs,
  ratio,
  target,
  met,
];

function hashLine(results: Record<'pdata' | 'lmdb', CoreResult[]>): string {
  const hashes = (of: CoreResult[]): string => [...new Set(of.map(({ hash }) => hash))].join(', ') || 'none';
  const [ours, theirs] = [hashes(results.pdata), hashes(results.lmdb)];
  const agree = ours === theirs ? 'both found the same' : 'THEY FOUND DIFFERENT THINGS: these figures mean nothing';
  return results.lmdb.length === 0 ? `result ${ours}` : `result ${ours} (pdata), ${theirs} (lmdb): ${agree}`;
}
