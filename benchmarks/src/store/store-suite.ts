/**
 * The embedded store beside lmdb, better-sqlite3 and classic-level: 1 M records of two whole numbers under random keys.
 *
 * Each contender runs in a process of its own, by turns, each time on an empty directory. What is called durable has reached the disk
 * when it returns or resolves, with all of them.
 *
 * Non-goals: stores larger than memory, several processes, what only one of them does (queries; snapshots and differences are ours).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { faster, limited, NO_VERDICT, table, type Verdict } from '../report.js';
import { duration, median } from '../statistics.js';
import { whyNoSqlite } from './sqlite-store.js';
import type { StoreResult, StoreWorkload } from './store-workload.js';

export interface StoreSuiteOptions {
  readonly nrKeys: number;
  readonly runs: number;
  readonly seed: number;
  /** A directory on the disk to be measured. */
  readonly directory: string;
  readonly progress: (text: string) => void;
}

const PEERS = ['lmdb', 'sqlite', 'level'] as const;
const CONTENDERS = ['pdata', ...PEERS] as const;
type Contender = (typeof CONTENDERS)[number];
const NAMES: Record<Contender, string> = {
  pdata: 'pdata',
  lmdb: 'lmdb',
  sqlite: 'better-sqlite3',
  level: 'classic-level',
};
const SIZES = { nrBatches: 50, batchSize: 1000, nrSingles: 8000, nrAwaiting: 16 };

export async function benchmarkStore(options: StoreSuiteOptions): Promise<string> {
  const results: Record<Contender, StoreResult[]> = { pdata: [], lmdb: [], sqlite: [], level: [] };
  const failures = new Set<string>();
  const noSqlite = await whyNoSqlite();
  if (noSqlite !== undefined) failures.add(`better-sqlite3: n/a: ${noSqlite}`);
  for (let run = 0; run < options.runs; run++) {
    for (const contender of CONTENDERS) {
      if (contender === 'sqlite' && noSqlite !== undefined) continue;
      options.progress(`store: ${NAMES[contender]}, run ${run + 1} of ${options.runs}`);
      const result = runContender(contender, options);
      if (typeof result === 'string') failures.add(`${NAMES[contender]}: ${result}`);
      else results[contender].push(result);
    }
  }
  return [
    `The embedded store: ${options.nrKeys} records, seed ${options.seed}`,
    '',
    table(rowsOf(results, options)),
    '',
    hashLine(results),
    ...failures,
  ].join('\n');
}

function runContender(contender: Contender, { nrKeys, seed, directory }: StoreSuiteOptions): StoreResult | string {
  const own = mkdtempSync(join(directory, 'store-'));
  try {
    const workload: StoreWorkload = { nrKeys, ...SIZES, seed, directory: own };
    const program = join(import.meta.dirname, `${contender}-store.js`);
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, JSON.stringify(workload)], {
      encoding: 'utf8',
    });
    if (status !== 0) return `not measured: ${stderr.trim().split('\n').slice(-12).join('\n')}`;
    return JSON.parse(stdout) as StoreResult;
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

function rowsOf(results: Record<Contender, StoreResult[]>, { nrKeys }: StoreSuiteOptions): string[][] {
  type Figure = 'fill' | 'get' | 'scan' | 'scanDown' | 'batches' | 'singles';
  const each = (work: string, figure: Figure, atLeast?: number): string[] => {
    const of = (contender: Contender): number[] => results[contender].map((result) => result[figure]);
    return row(
      work,
      CONTENDERS.map((contender) => duration(of(contender))),
      faster(median(of('lmdb')) / median(of('pdata')), atLeast),
    );
  };
  const ours = (work: string, figure: 'snapshots' | 'diffs', atMostMs: number): string[] => {
    const seconds = results.pdata.flatMap((result) => result[figure] ?? []);
    return row(work, [duration(seconds), '', '', ''], limited(median(seconds) * 1000, atMostMs, ' ms'));
  };
  const inMillions = nrKeys >= 1e6 ? `${nrKeys / 1e6} M` : `${nrKeys}`;
  return [
    ['work', ...CONTENDERS.map((contender) => NAMES[contender]), 'lmdb / pdata', 'to reach', 'reached'],
    each(`fill, ${inMillions} in one transaction`, 'fill'),
    each(`get, ${inMillions} in random order, cached`, 'get', 2),
    each(`scan of ${inMillions}`, 'scan', 2),
    each('  downwards', 'scanDown', 2),
    each(`${SIZES.nrBatches} durable commits of ${SIZES.batchSize} random puts`, 'batches', 1),
    each(`${SIZES.nrSingles} durable commits of one record, ${SIZES.nrAwaiting} awaited at once`, 'singles', 1),
    ours('snapshot', 'snapshots', 1),
    ours(`diff of two snapshots, ${results.pdata[0]?.nrDifferences ?? 1000} keys changed`, 'diffs', 20),
  ];
}

const row = (work: string, figures: readonly string[], { ratio, target, met }: Verdict = NO_VERDICT): string[] => [
  work,
  ...figures,
  ratio,
  target,
  met,
];

function hashLine(results: Record<Contender, StoreResult[]>): string {
  const hashes = new Map<string, string[]>();
  for (const contender of CONTENDERS) {
    for (const { hash } of results[contender]) {
      const names = hashes.get(hash) ?? [];
      if (!names.includes(NAMES[contender])) names.push(NAMES[contender]);
      hashes.set(hash, names);
    }
  }
  const found = [...hashes].map(([hash, names]) => `${hash} (${names.join(', ')})`).join(', ');
  return `result ${found}: ${hashes.size === 1 ? 'all found the same' : 'THEY FOUND DIFFERENT THINGS: these figures mean nothing'}`;
}
