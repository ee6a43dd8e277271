/** The pool's engine under the error explorer: its messages, and what volumes are asked to do, each until it is durable. */
import { type DataDevice, DeviceError, type MetadataDevice } from '@pdata/device';
import { type ErrorSubject, sectorsOf } from '@pdata/testing';
import { checkThin, ThinPool, type ThinVolume } from '@pdata/thin';
import { allocationFaults } from './allocation-faults.js';
import { BLOCK_SECTORS, GARBAGE, OPTIONS, offsetOf, VOLUME_SIZE, volumesOf } from './thin-pool-subject.js';

const NR_DATA_BLOCKS = 24;
const BLOCK = BLOCK_SECTORS * 512;
const MEDIA = { metadata: { nrBlocks: 64 }, data: { size: NR_DATA_BLOCKS * BLOCK } } as const;

/** A volume of thin device `thinId`, for one operation. */
const on = (thinId: number, work: (volume: ThinVolume) => Promise<void>) => async (pool: ThinPool) => {
  const volume = await pool.openVolume(thinId, { size: VOLUME_SIZE });
  try {
    await work(volume);
    await volume.flush();
  } finally {
    await volume.close();
  }
};

export const subject: ErrorSubject<ThinPool, typeof MEDIA> = {
  name: 'thin-pool',
  media: MEDIA,
  async prepare({ metadata, data }) {
    await data.write(0, new Uint8Array(new Uint32Array(data.size / 4).fill(GARBAGE).buffer));
    const pool = await ThinPool.format(metadata, data, { ...OPTIONS, dataBlockSize: BLOCK_SECTORS });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: VOLUME_SIZE });
    for (const place of [0, 4]) await volume.write(offsetOf(place), sectorsOf(place + 1, 1));
    await volume.close();
    await pool.createSnapshot(1, 0);
    await pool.createThin(2);
    await pool.reserveMetadataSnapshot();
    await pool.close();
  },
  open: ({ metadata, data }) => ThinPool.open(metadata, data, OPTIONS),
  operations: {
    createThin: (pool) => pool.createThin(7),
    createSnapshot: (pool) => pool.createSnapshot(7, 1),
    deleteThin: (pool) => pool.deleteThin(0),
    setTransactionId: (pool) => pool.setTransactionId(0n, 3n),
    releaseMetadataSnapshot: (pool) => pool.releaseMetadataSnapshot(),
    // As in the kernel a message succeeds when its commit fails; the mode tells.
    message: async (pool) => {
      await pool.message('create_thin 7');
      if (pool.mode !== 'write') throw new DeviceError(`the pool is in ${pool.mode} mode`);
    },
    'write, then commit': async (pool) => {
      const volume = await pool.openVolume(0, { size: VOLUME_SIZE });
      try {
        await volume.write(offsetOf(8), sectorsOf(102, 1));
        await pool.commit();
      } finally {
        await volume.close();
      }
    },
    'write with force unit access': async (pool) => {
      const volume = await pool.openVolume(0, { size: VOLUME_SIZE });
      try {
        await volume.write(offsetOf(8), sectorsOf(103, 1), { fua: true });
      } finally {
        await volume.close();
      }
    },
    'write to a fresh block': on(0, (volume) => volume.write(offsetOf(8), sectorsOf(100, 1))),
    'write of a whole fresh block': on(2, (volume) => volume.write(BLOCK, new Uint8Array(BLOCK).fill(1))),
    'write to a shared block': on(1, (volume) => volume.write(offsetOf(5), sectorsOf(101, 1))),
    'zeroes over a shared block': on(1, (volume) => volume.writeZeroes(0, BLOCK)),
    // A discard is a hint: a pool that may not change any more takes it for done. So something follows that refuses.
    'discard, then setTransactionId': async (pool) => {
      const volume = await pool.openVolume(0, { size: VOLUME_SIZE });
      try {
        await volume.discard(0, BLOCK);
        await pool.setTransactionId(0n, 1n);
      } finally {
        await volume.close();
      }
    },
  },
  inspect: inWords,
  close: (pool) => pool.close(),
  async recover({ metadata, data }) {
    return recovered(metadata, data);
  },
  sources: allocationFaults,
  // What was freed is offered to the data device after the commit; it may decline. Without a free data block the pool commits, and looks again.
  mayFail: ['data discard', 'allocation of a data block'],
};

/** The same without a metadata snapshot: for the operation that takes one. */
export const unheld: typeof subject = {
  ...subject,
  name: 'thin-pool without a snapshot',
  async prepare(devices) {
    await subject.prepare(devices);
    const pool = await ThinPool.open(devices.metadata, devices.data, OPTIONS);
    await pool.releaseMetadataSnapshot();
    await pool.close();
  },
  operations: { reserveMetadataSnapshot: (pool) => pool.reserveMetadataSnapshot() },
};

async function recovered(metadata: MetadataDevice, data: DataDevice): Promise<string> {
  for (const { message } of checkThin(metadata)) throw new Error(`the check says: ${message}`);
  const pool = await ThinPool.open(metadata, data, OPTIONS);
  const state = await inWords(pool);
  await pool.close();
  return state;
}

async function inWords(pool: ThinPool): Promise<string> {
  const volumes = [...(await volumesOf(pool))].map(([thinId, values]) => `${thinId}: ${values.join(' ')}`);
  const { transactionId, heldRoot } = pool.status();
  return `${transactionId} ${heldRoot === undefined ? 'no' : 'a'} metadata snapshot; ${volumes.join('; ')}`;
}
