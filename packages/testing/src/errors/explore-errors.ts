/**
 * The error explorer: for each operation, each kind of request, each place, once and for ever: what is left.
 *
 *   the operation threw      an expected error; the devices hold the old state or the new one, and so does what the object shows,
 *                            if it shows anything (the new one only if the devices hold it, or will when it is closed: `mayKeep`); tried again on healed devices it
 *                            succeeds, or refuses with an expected error
 *   it did not throw         the new state, everywhere
 *   in any case              what is reopened is audited: nothing has leaked
 */
import type { CrashMedia } from '../crash/crash-subject.js';
import { ErrorBench, type FaultMode } from './error-bench.js';
import type { ErrorSubject } from './error-subject.js';

export interface ErrorExploration<Session, Media extends CrashMedia> {
  readonly subject: ErrorSubject<Session, Media>;
  /** Only these operations. Default: all. */
  readonly operations?: readonly string[];
  /** Of a kind of request so many places are tried, spread evenly, the last among them. Default: every one. */
  readonly mostPlaces?: number;
}

export interface ErrorReport {
  readonly subject: string;
  /** Of each operation how often it was run with a fault. */
  readonly runs: Readonly<Record<string, number>>;
  readonly nrRuns: number;
  /** What was wrong; each names operation, fault, and what it found. */
  readonly violations: readonly string[];
  readonly summary: string;
}

const MODES: readonly FaultMode[] = [
  { name: 'once', andLater: false, landsPartly: false },
  { name: 'and all later ones', andLater: true, landsPartly: false },
  { name: 'half of it lands', andLater: false, landsPartly: true },
];

/** Explores errors of every operation of a subject. What is wrong is reported, not thrown. */
export async function exploreErrors<Session, Media extends CrashMedia>(
  exploration: ErrorExploration<Session, Media>,
): Promise<ErrorReport> {
  const { subject, operations = Object.keys(subject.operations), mostPlaces = Number.POSITIVE_INFINITY } = exploration;
  const bench = await ErrorBench.make(subject);
  const runs: Record<string, number> = {};
  const violations: string[] = [];
  for (const operation of operations) {
    const unharmed = await bench.unharmed(operation);
    runs[operation] = 0;
    for (const [kind, nr] of unharmed.counts) {
      for (const mode of MODES) {
        if (mode.landsPartly && !kind.endsWith(' write')) continue;
        for (const nth of places(nr, mostPlaces)) {
          runs[operation]++;
          const problem = await bench.harmed(operation, unharmed, kind, nth, mode);
          if (problem !== undefined)
            violations.push(`${subject.name}: ${operation}, ${kind} ${nth} of ${nr} fails, ${mode.name}: ${problem}`);
        }
      }
    }
    if (runs[operation] === 0) violations.push(`${subject.name}: ${operation} makes no request that could fail`);
  }
  const nrRuns = Object.values(runs).reduce((sum, nr) => sum + nr, 0);
  const found = violations.length === 0 ? 'no violation' : `${violations.length} violations:\n${violations.join('\n')}`;
  const summary = `${subject.name}: ${nrRuns} runs of ${operations.length} operations with a fault each: ${found}`;
  return { subject: subject.name, runs, nrRuns, violations, summary };
}

function places(nr: number, most: number): number[] {
  if (nr <= most) return Array.from({ length: nr }, (_, i) => i + 1);
  return [...new Set(Array.from({ length: most }, (_, i) => 1 + Math.floor((i * (nr - 1)) / (most - 1))))];
}
