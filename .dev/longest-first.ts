/**
 * The order of the test files: those that take long begin first, so that at the end no core waits for one of them. vitest knows
 * the times of the last run, but a fresh clone (and so every CI run) has none; there what a file does tells how long it takes.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const LONGEST_FIRST = [
  /[/-]kernel[^/]*\.test\.ts$/, // boots virtual machines
  /[/-]kill\.test\.ts$/, // for a given time
  /[/-]browser\.test\.ts$/,
  /\/(conformance|benchmarks)\//, // runs the real tools, and fio
  /\/examples\//, // runs programs
];

const rankOf = ({ moduleId }: TestSpecification): number => {
  const rank = LONGEST_FIRST.findIndex((pattern) => pattern.test(moduleId));
  return rank < 0 ? LONGEST_FIRST.length : rank;
};

export class LongestFirst extends BaseSequencer {
  /** The base class puts the longest of the last run first, or the largest files; within a rank that stays. */
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
