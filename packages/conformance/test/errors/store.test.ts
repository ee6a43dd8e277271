import { it } from 'vitest';
import * as store from '../../src/fault-lab/store-errors.js';
import { expectSurvived } from './survived.js';

it('a store survives an error at any request and any allocation', () => expectSurvived(store.subject));
it('a store survives an error at any request and any allocation of its upgrade', () => expectSurvived(store.upgrading));
