import { it } from 'vitest';
import * as clone from '../../src/fault-lab/clone-errors.js';
import { subject as cloneMetadata } from '../../src/fault-lab/clone-metadata-errors.js';
import * as mirror from '../../src/fault-lab/mirror-errors.js';
import { expectSurvived } from './survived.js';

it('the metadata of a clone survives an error at any request and any allocation', () => expectSurvived(cloneMetadata));
it('a clone in use survives an error at any request and any allocation', () =>
  expectSurvived(clone.subject, clone.keepingDiscarded, clone.copying));
it('a mirror in use survives an error at any request', () => expectSurvived(mirror.subject, mirror.handlingErrors));
