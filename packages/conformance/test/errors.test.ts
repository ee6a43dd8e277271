/** Every operation, every place where something can fail, once and for ever: the old state or the new, and nothing leaks. */
import { type CrashMedia, type ErrorSubject, exploreErrors } from '@pdata/testing';
import { expect, it } from 'vitest';
import * as clone from '../src/fault-lab/clone-errors.js';
import { subject as cloneMetadata } from '../src/fault-lab/clone-metadata-errors.js';
import { subject as core } from '../src/fault-lab/core-errors.js';
import * as mirror from '../src/fault-lab/mirror-errors.js';
import { subject as made } from '../src/fault-lab/new-errors.js';
import * as store from '../src/fault-lab/store-errors.js';
import * as thinMetadata from '../src/fault-lab/thin-metadata-errors.js';
import * as thinPool from '../src/fault-lab/thin-pool-errors.js';

async function expectSurvived<Session, Media extends CrashMedia>(
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

it('the core survives an error at any request and any allocation', () => expectSurvived(core));
it('a device that something is made on survives an error at any request and any allocation', () =>
  expectSurvived(made));
it('the metadata of a pool survives an error at any request and any allocation', () =>
  expectSurvived(thinMetadata.subject, thinMetadata.unheld));
it('a pool in use survives an error at any request and any allocation', () =>
  expectSurvived(thinPool.subject, thinPool.unheld));
it('the metadata of a clone survives an error at any request and any allocation', () => expectSurvived(cloneMetadata));
it('a clone in use survives an error at any request and any allocation', () =>
  expectSurvived(clone.subject, clone.keepingDiscarded, clone.copying));
it('a mirror in use survives an error at any request', () => expectSurvived(mirror.subject, mirror.handlingErrors));
it('a store survives an error at any request and any allocation', () => expectSurvived(store.subject));
it('a store survives an error at any request and any allocation of its upgrade', () => expectSurvived(store.upgrading));
