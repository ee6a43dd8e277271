/** Every operation, every place where something can fail, once and for ever: the old state or the new, and nothing leaks. */
import { type CrashMedia, type ErrorSubject, exploreErrors } from '@pdata/testing';
import { expect } from 'vitest';

/** Of a subject, and of variants that have other operations. */
export async function expectSurvived<Session, Media extends CrashMedia>(
  ...subjects: readonly ErrorSubject<Session, Media>[]
): Promise<void> {
  let nrRuns = 0;
  for (const subject of subjects) {
    const report = await exploreErrors({ subject });
    console.log(report.summary);
    expect(report.violations).toEqual([]);
    nrRuns += report.nrRuns;
  }
  expect(nrRuns).toBeGreaterThan(50);
}
