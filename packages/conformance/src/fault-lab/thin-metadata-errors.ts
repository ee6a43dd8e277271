/** A pool's metadata under the error explorer: every operation of its interface that changes something, with its commit. */
import type { ErrorSubject } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { allocationFaults } from './allocation-faults.js';
import { inWords, shownBy } from './thin-metadata-subject.js';

const NR_BLOCKS = 128;
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;

const write = (metadata: ThinMetadata, thinId: number, block: number): void => {
  metadata.insert(thinId, block, metadata.allocateDataBlock());
};

/** Does it, and commits; aborts what failed half-way, as users have to. */
const doing = (work: (metadata: ThinMetadata) => unknown) => (metadata: ThinMetadata) => {
  try {
    work(metadata);
    metadata.commit();
  } catch (error) {
    metadata.abort();
    throw error;
  }
};

export const subject: ErrorSubject<ThinMetadata, typeof MEDIA> = {
  name: 'thin-metadata',
  media: MEDIA,
  prepare({ metadata: device }) {
    const metadata = ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks: 3000 });
    metadata.createThin(0);
    for (let block = 0; block < 300; block++) write(metadata, 0, block);
    metadata.createSnapshot(1, 0);
    for (let block = 0; block < 300; block += 40) write(metadata, 1, block);
    metadata.commit();
    metadata.reserveMetadataSnapshot();
    metadata.commit();
    write(metadata, 0, 3);
    metadata.createThin(2);
    metadata.commit();
    metadata.close();
  },
  open: ({ metadata }) => ThinMetadata.open(metadata, { cacheBlocks: 32 }),
  operations: {
    createThin: doing((metadata) => metadata.createThin(7)),
    createSnapshot: doing((metadata) => metadata.createSnapshot(7, 1)),
    deleteDevice: doing((metadata) => metadata.deleteDevice(0)),
    'allocateDataBlock and insert': doing((metadata) => write(metadata, 1, 301)),
    'insert into a shared leaf': doing((metadata) => write(metadata, 0, 100)),
    remove: doing((metadata) => metadata.remove(1, 41)),
    'incDataBlocks, for a second mapping': doing((metadata) => {
      const { dataBlock } = metadata.find(1, 40) as { readonly dataBlock: number };
      metadata.incDataBlocks(dataBlock, dataBlock + 1);
      metadata.insert(2, 7, dataBlock);
    }),
    'decDataBlocks, of what was not mapped after all': doing((metadata) => {
      const begin = metadata.allocateDataBlock();
      write(metadata, 1, 301);
      metadata.decDataBlocks(begin, begin + 1);
    }),
    removeRange: doing((metadata) => metadata.removeRange(1, 50, 250)),
    setTransactionId: doing((metadata) => metadata.setTransactionId(0n, 5n)),
    releaseMetadataSnapshot: doing((metadata) => metadata.releaseMetadataSnapshot()),
    resizeData: doing((metadata) => metadata.resizeData(40_000)),
    resizeMetadata: doing((metadata) => metadata.resizeMetadata(NR_BLOCKS + 64)),
    setNeedsCheck: doing((metadata) => metadata.setNeedsCheck()),
    commitAsync: async (metadata) => {
      try {
        metadata.createThin(7);
        await metadata.commitAsync();
      } catch (error) {
        metadata.abort();
        throw error;
      }
    },
    'many changes at once': doing((metadata) => {
      metadata.createSnapshot(8, 0);
      for (let block = 0; block < 200; block += 7) write(metadata, 8, block);
      metadata.deleteDevice(1);
      metadata.removeRange(0, 0, 100);
    }),
  },
  inspect: (metadata) => `${inWords(shownBy(metadata))} ${metadata.needsCheck}`,
  close: (metadata) => metadata.close(),
  recover({ metadata: device }) {
    for (const { message } of checkThin(device)) throw new Error(`the check says: ${message}`);
    const metadata = ThinMetadata.open(device);
    const state = `${inWords(shownBy(metadata))} ${metadata.needsCheck}`;
    metadata.close();
    return state;
  },
  sources: allocationFaults,
};

/** The same without a metadata snapshot: for the operation that takes one, which commits by itself. */
export const unheld: typeof subject = {
  ...subject,
  name: 'thin-metadata without a snapshot',
  async prepare(devices) {
    await subject.prepare(devices);
    const metadata = ThinMetadata.open(devices.metadata);
    metadata.releaseMetadataSnapshot();
    metadata.commit();
    metadata.close();
  },
  operations: { reserveMetadataSnapshot: doing((metadata) => metadata.reserveMetadataSnapshot()) },
};
