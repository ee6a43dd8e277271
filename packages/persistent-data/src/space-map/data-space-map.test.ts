import { describe } from 'vitest';
import { itBehavesLikeASpaceMap } from '../../test/space-map-contract.js';
import { DataMapUnderTest } from '../../test/space-maps-under-test.js';

describe('a data space map', () => {
  itBehavesLikeASpaceMap((nrBlocks) => new DataMapUnderTest(nrBlocks));
});
