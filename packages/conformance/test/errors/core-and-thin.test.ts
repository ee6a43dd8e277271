import { it } from 'vitest';
import { subject as core } from '../../src/fault-lab/core-errors.js';
import { subject as made } from '../../src/fault-lab/new-errors.js';
import * as thinMetadata from '../../src/fault-lab/thin-metadata-errors.js';
import * as thinPool from '../../src/fault-lab/thin-pool-errors.js';
import { expectSurvived } from './survived.js';

it('the core survives an error at any request and any allocation', () => expectSurvived(core));
it('a device that something is made on survives an error at any request and any allocation', () =>
  expectSurvived(made));
it('the metadata of a pool survives an error at any request and any allocation', () =>
  expectSurvived(thinMetadata.subject, thinMetadata.unheld));
it('a pool in use survives an error at any request and any allocation', () =>
  expectSurvived(thinPool.subject, thinPool.unheld));
