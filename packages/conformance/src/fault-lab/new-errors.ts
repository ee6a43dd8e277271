/** What is made on empty devices, under the error explorer: it is there, or its device is taken for an empty one still. */
import { CloneMetadata, checkClone } from '@pdata/clone';
import { BLOCK_SIZE, type DataDevice, type MetadataDevice } from '@pdata/device';
import { checkMirrorLog, DiskLog } from '@pdata/mirror';
import { isUnformatted } from '@pdata/persistent-data';
import { MetadataStore } from '@pdata/persistent-data/store';
import type { ErrorSubject } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { allocationFaults } from './allocation-faults.js';
import { shape } from './rich-store.js';

const MEDIA = { metadata: { nrBlocks: 160 }, log: { size: 4096 } } as const;
const GEOMETRY = { length: 800, regionSize: 8 } as const;

interface Devices {
  readonly metadata: MetadataDevice;
  readonly log: DataDevice;
}

export const subject: ErrorSubject<Devices, typeof MEDIA> = {
  name: 'new',
  media: MEDIA,
  prepare() {},
  open: (devices) => devices,
  operations: {
    pool: ({ metadata }) => ThinMetadata.format(metadata, { dataBlockSize: 128, nrDataBlocks: 30_000 }).close(),
    clone: ({ metadata }) => CloneMetadata.format(metadata, { regionSize: 8, targetSize: 80_000 }).close(),
    store: ({ metadata }) => MetadataStore.open(metadata, shape, { maxBlocks: 160 }).close(),
    'log of a mirror': async ({ log: device }) => {
      const log = new DiskLog(device, GEOMETRY);
      await log.resume(async () => []);
      log.mark(3); // of a log that could not be written the first flush says so
      await log.flush();
      await log.close();
    },
  },
  inspect: inWords,
  close() {},
  recover: inWords,
  sources: allocationFaults,
  // What the first block held nobody needs to know; and what a log could not write it writes with the next flush.
  mayFail: ['metadata read', 'log write'],
};

async function inWords({ metadata, log }: Devices): Promise<string> {
  return `${await metadataInWords(metadata)}, ${await logInWords(log)}`;
}

async function metadataInWords(device: MetadataDevice): Promise<string> {
  if (isUnformatted(device) || isBeginningOfStore(device)) return 'nothing';
  const checks = { pool: [...checkThin(device)], clone: [...checkClone(device)] };
  for (const [what, findings] of Object.entries(checks)) if (findings.length === 0) return `a ${what}`;
  const store = MetadataStore.open(device, shape);
  const { findings } = await store.check();
  if (findings.length > 0) throw new Error(`the check says: ${findings.join('; ')}`);
  await store.close();
  return 'a store';
}

/** Block 0 of a store whose making ended early: format version 0, and nothing else but the magic. Whoever opens it makes the store anew. */
function isBeginningOfStore(device: MetadataDevice): boolean {
  const found = new Uint8Array(BLOCK_SIZE);
  device.read(0, found);
  const expected = new Uint8Array(BLOCK_SIZE);
  expected.set(new TextEncoder().encode('pdataSTO'), 16);
  return found.every((byte, at) => byte === expected[at]);
}

async function logInWords(device: DataDevice): Promise<string> {
  const bytes = new Uint8Array(device.size);
  await device.read(0, bytes);
  if (bytes.every((byte) => byte === 0)) return 'nothing';
  for await (const { message } of checkMirrorLog(device, GEOMETRY)) throw new Error(`the check says: ${message}`);
  return 'a log';
}
