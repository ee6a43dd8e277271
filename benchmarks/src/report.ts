/**
 * What a benchmark prints: a heading with everything that is needed to repeat it, and tables of text whose columns line up.
 */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem, type } from 'node:os';

/** The first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] as number))
      .join('   ')
      .trimEnd();
  const [heading, ...others] = rows;
  if (heading === undefined) return '';
  return [line(heading), widths.map((width) => '-'.repeat(width)).join('   '), ...others.map(line)].join('\n');
}

/** How often `ours` fits into `theirs`, or, for a limit, how it compares: `2.31x` and whether `target` was reached. */
export interface Verdict {
  readonly ratio: string;
  readonly target: string;
  readonly met: string;
}

/** For work where a higher ratio is better. `atLeast` undefined: nothing was promised. */
export function faster(ratio: number, atLeast?: number): Verdict {
  return verdict(`${ratio.toFixed(2)}x`, atLeast === undefined ? '' : `≥ ${atLeast}x`, ratio, (value) =>
    atLeast === undefined ? undefined : value >= atLeast,
  );
}

/** For what takes time or room in terms of a peer's: a lower ratio is better. */
export function within(ratio: number, atMost?: number): Verdict {
  return verdict(`${ratio.toFixed(2)}x`, atMost === undefined ? '' : `≤ ${atMost}x`, ratio, (value) =>
    atMost === undefined ? undefined : value <= atMost,
  );
}

/** For a figure with a limit of its own. */
export function limited(value: number, atMost: number, unit: string): Verdict {
  return verdict('', `≤ ${atMost}${unit}`, value, (found) => found <= atMost);
}

export const NO_VERDICT: Verdict = { ratio: '', target: '', met: '' };

function verdict(ratio: string, target: string, value: number, judge: (value: number) => boolean | undefined): Verdict {
  if (!Number.isFinite(value)) return { ratio: 'n/a', target, met: target === '' ? '' : 'not measured' };
  const met = judge(value);
  return { ratio, target, met: met === undefined ? '' : met ? 'yes' : 'NO' };
}

/** Where and when this was measured, and how to do it again. */
export function heading(command: string, runs: number, seed: number): string {
  const [cpu] = cpus();
  const facts = [
    ['date', new Date().toISOString()],
    ['command', command],
    ['revision', revision()],
    ['machine', `${cpu?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores, ${gib(totalmem())}`],
    ['system', `${type()} ${release()}, Node ${process.versions.node}`],
    [
      'load',
      `${loadavg()
        .map((load) => load.toFixed(2))
        .join(', ')} before: more than a few tenths spoils the figures`,
    ],
    ['measured', `medians of ${runs} runs (lowest–highest), the contenders taking turns; seed ${seed}`],
  ];
  return facts.map(([name, value]) => `${`${name}`.padEnd(9)} ${value}`).join('\n');
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function revision(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const changed = git('status', '--porcelain', '--untracked-files=no').trim() !== '';
    return git('rev-parse', '--short', 'HEAD').trim() + (changed ? ', with changes' : '');
  } catch {
    return 'unknown (no git)';
  }
}
