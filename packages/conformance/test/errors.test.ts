/** Every operation, every place where something can fail, once and for ever: the old state or the new, and nothing leaks. */
import { type CrashMedia, type ErrorSubject, exploreErrors } from '@pdata/testing';
import { expect, it } from 'vitest';
import { subject as clone } from '../src/fault-lab/clone-errors.js';
import { subject as core } from '../src/fault-lab/core-errors.js';
import { subject as mirror, handlingErrors as mirrorHandlingErrors } from '../src/fault-lab/mirror-errors.js';
import { subject as store } from '../src/fault-lab/store-errors.js';
import { subject as thinMetadata } from '../src/fault-lab/thin-metadata-errors.js';
import { subject as thinPool } from '../src/fault-lab/thin-pool-errors.js';

async function expectSurvived<Session, Media extends CrashMedia>(subject: ErrorSubject<Session, Media>): Promise<void> {
  const { summary, violations, nrRuns } = await exploreErrors({ subject });
  console.log(summary);
  expect(violations).toEqual([]);
  expect(nrRuns).toBeGreaterThan(50);
}

it('the core survives an error at any request and any allocation', () => expectSurvived(core));
it('the metadata of a pool survives an error at any request and any allocation', () => expectSurvived(thinMetadata));
it('a pool in use survives an error at any request and any allocation', () => expectSurvived(thinPool));
it('a clone in use survives an error at any request and any allocation', () => expectSurvived(clone));
it('a mirror in use survives an error at any request', () => expectSurvived(mirror));
it('a mirror that handles errors survives an error at any request', () => expectSurvived(mirrorHandlingErrors));
it('a store survives an error at any request and any allocation', () => expectSurvived(store));
