/** A clone's metadata under the error explorer: marks, and the two steps of their commit. */
import { CloneMetadata, checkClone } from '@pdata/clone';
import type { ErrorSubject } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';

const NR_REGIONS = 5000;
const MEDIA = { metadata: { nrBlocks: 64 } } as const;
const OPTIONS = { regionSize: 8, targetSize: 8 * NR_REGIONS } as const;

const doing = (work: (metadata: CloneMetadata) => void) => (metadata: CloneMetadata) => {
  work(metadata);
  metadata.preCommit();
  metadata.commit();
};

export const subject: ErrorSubject<CloneMetadata, typeof MEDIA> = {
  name: 'clone-metadata',
  media: MEDIA,
  prepare({ metadata: device }) {
    const metadata = CloneMetadata.format(device, OPTIONS);
    metadata.setRangeHydrated(100, 900);
    metadata.preCommit();
    metadata.commit();
    metadata.close();
  },
  open: ({ metadata }) => CloneMetadata.open(metadata, { cacheBlocks: 32 }),
  operations: {
    setHydrated: doing((metadata) => metadata.setHydrated(3)),
    setRangeHydrated: doing((metadata) => metadata.setRangeHydrated(800, 4000)),
    'setRangeHydrated of all': doing((metadata) => metadata.setRangeHydrated(0, NR_REGIONS)),
    commitAsync: async (metadata) => {
      metadata.setHydrated(7);
      metadata.preCommit();
      await metadata.commitAsync();
    },
    'abort, then other marks': doing((metadata) => {
      metadata.setRangeHydrated(2000, 3000);
      metadata.abort();
      metadata.setHydrated(4);
    }),
  },
  /** What is committed: marks are in memory until then. */
  inspect(metadata) {
    metadata.abort();
    return inWords(metadata);
  },
  close: (metadata) => metadata.close(),
  recover({ metadata: device }) {
    for (const { message } of checkClone(device)) throw new Error(`the check says: ${message}`);
    const metadata = CloneMetadata.open(device);
    const state = inWords(metadata);
    metadata.close();
    return state;
  },
  sources: allocationFaults,
};

function inWords(metadata: CloneMetadata): string {
  return Array.from({ length: NR_REGIONS }, (_, region) => (metadata.isHydrated(region) ? 1 : 0)).join('');
}
