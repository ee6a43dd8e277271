import { expect, it } from 'vitest';
import { itFindsPlantedBugs } from './found.js';
import { requirePlaces } from './planted-source.js';

itFindsPlantedBugs(({ subject }) => subject === 'core');

it('says when a place to plant a bug at is not there any more', () => {
  const edit = { file: 'packages/thin/src/index.ts', replace: 'what is not there', by: '' };
  expect(() => requirePlaces([edit])).toThrow('packages/thin/src/index.ts has 0 times, not once: what is not there');
});
