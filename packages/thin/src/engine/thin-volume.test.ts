/** What requests do to blocks: the table of docs/format/thin.md, section 9, row by row; and the contract of data devices. */
import { ClosedError, MemoryDataDevice, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { dataDeviceConformance, FaultyDataDevice, RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  BLOCK,
  bytesOf,
  closeSound,
  type EnginePool,
  KIB,
  MIB,
  newEnginePool,
  readFrom,
  rejection,
  shown,
} from '../../test/engine-pools.js';
import type { ThinPoolOptions } from './options.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

describe('a thin volume keeps the contract of data devices', () => {
  const open = async (all: EnginePool, readOnly = false): Promise<ThinVolume> =>
    all.pool.openVolume(0, { size: MIB, readOnly });
  const create = async (): Promise<ThinVolume> => {
    const all = await newEnginePool({ fill: 0xff });
    await all.pool.createThin(0);
    return open(all);
  };
  const createShared = async (): Promise<ThinVolume> => {
    const all = await newEnginePool({ fill: 0xff });
    await all.pool.createThin(0);
    const volume = await open(all);
    await volume.write(0, bytesOf(7, MIB));
    await all.pool.createSnapshot(1, 0);
    return volume;
  };
  const createReadOnly = async (): Promise<ThinVolume> => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    return open(all, true);
  };
  describe('empty', () => {
    for (const { name, run } of dataDeviceConformance({ create, createReadOnly })) it(name, run);
  });
  describe('shared with a snapshot', () => {
    for (const { name, run } of dataDeviceConformance({ create: createShared })) it(name, run);
  });
});

/** A memory device that gives another hint. */
function withFastZeroes(memory: MemoryDataDevice, fastZeroes: boolean): MemoryDataDevice {
  return new Proxy(memory, {
    get(_, key) {
      if (key === 'hints') return { ...memory.hints, fastZeroes };
      const member = memory[key as keyof MemoryDataDevice];
      return typeof member === 'function' ? member.bind(memory) : member;
    },
  });
}

/** A pool over a data device that tells what it was asked, prefilled with 0xff, with an empty volume of 4 blocks. */
async function recorded({
  fastZeroes = false,
  ...options
}: Partial<ThinPoolOptions> & { fastZeroes?: boolean } = {}): Promise<{
  volume: ThinVolume;
  pool: ThinPool;
  data: RecordingDataDevice;
  requests: () => string[];
}> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
  const memory = new MemoryDataDevice({ bytes: bytesOf(0xff, 64 * BLOCK) });
  const data = new RecordingDataDevice(withFastZeroes(memory, fastZeroes), { reads: true });
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0, ...options });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: 4 * BLOCK });
  data.clear();
  const requests = (): string[] => {
    const summary = data.summary;
    data.clear();
    return summary;
  };
  return { volume, pool, data, requests };
}

describe('an unmapped block', () => {
  it('reads as zeros, without asking the data device (can_read_unprovisioned_regions)', async () => {
    const { volume, requests } = await recorded();
    expect(await shown(volume)).toEqual([[0, 4 * BLOCK]]);
    expect(requests()).toEqual([]);
  });

  it('is zeroed around a write to a part of it, in one write', async () => {
    const { volume, requests } = await recorded();
    await volume.write(4 * KIB, bytesOf(1, 4 * KIB));
    expect(requests()).toEqual([`write ${BLOCK} bytes at 0`]);
    expect(await shown(volume, 0, BLOCK)).toEqual([
      [0, 4 * KIB],
      [1, 4 * KIB],
      [0, BLOCK - 8 * KIB],
    ]);
  });

  it('does not show what was written to another', async () => {
    const { volume } = await recorded();
    for (let block = 0; block < 3; block++) await volume.write(block * BLOCK + 512 * block, bytesOf(1, 512));
    expect(await shown(volume, 0, 3 * BLOCK)).toEqual([
      [1, 512],
      [0, BLOCK],
      [1, 512],
      [0, BLOCK],
      [1, 512],
      [0, BLOCK - 1536],
    ]);
  });

  it('is zeroed, then written to, where zeroing is cheap', async () => {
    const { volume, requests } = await recorded({ fastZeroes: true });
    await volume.write(4 * KIB, bytesOf(1, 4 * KIB));
    expect(requests()).toEqual([`writeZeroes ${BLOCK} bytes at 0`, `write ${4 * KIB} bytes at ${4 * KIB}`]);
    expect(await shown(volume, 0, BLOCK)).toEqual([
      [0, 4 * KIB],
      [1, 4 * KIB],
      [0, BLOCK - 8 * KIB],
    ]);
  });

  it('shows what the data device held around a write to a part of it, with skipBlockZeroing', async () => {
    const { volume, requests } = await recorded({ skipBlockZeroing: true });
    await volume.write(4 * KIB, bytesOf(1, 4 * KIB));
    expect(requests()).toEqual([`write 4096 bytes at ${4 * KIB}`]);
    expect(await shown(volume, 0, BLOCK)).toEqual([
      [0xff, 4 * KIB],
      [1, 4 * KIB],
      [0xff, BLOCK - 8 * KIB],
    ]);
  });

  it('is not zeroed when all of it is written', async () => {
    const { volume, requests } = await recorded();
    await volume.write(BLOCK, bytesOf(1, BLOCK));
    expect(requests()).toEqual([`write ${BLOCK} bytes at 0`]);
  });

  it('stays unmapped when it is zeroed, or discarded', async () => {
    const { volume, requests } = await recorded();
    await volume.writeZeroes(512, 3 * BLOCK);
    await volume.discard(0, 4 * BLOCK);
    expect(requests()).toEqual([]);
    expect(volume.statusLine()).toBe('0 -');
  });

  it('gets its space when it is zeroed with keepAllocated', async () => {
    const { volume } = await recorded();
    await volume.writeZeroes(BLOCK + 512, BLOCK, { keepAllocated: true });
    expect(volume.statusLine()).toBe('256 383');
    expect(await shown(volume)).toEqual([[0, 4 * BLOCK]]);
  });
});

describe('a block that the volume has for itself', () => {
  it('is read and written where it is', async () => {
    const { volume, requests } = await recorded();
    await volume.write(BLOCK, bytesOf(1, BLOCK));
    requests();
    await volume.write(BLOCK + 512, bytesOf(2, 1024));
    await volume.read(BLOCK, new Uint8Array(2048));
    expect(requests()).toEqual(['write 1024 bytes at 512', 'read 2048 bytes at 0']);
  });

  it('is unmapped when all of it is zeroed, and zeroed in place where a part is', async () => {
    const { volume, pool, requests } = await recorded();
    await volume.write(0, bytesOf(1, 2 * BLOCK));
    requests();
    await volume.writeZeroes(BLOCK / 2, BLOCK + BLOCK / 2);
    expect(requests()).toEqual([`writeZeroes ${BLOCK / 2} bytes at ${BLOCK / 2}`]);
    expect(volume.statusLine()).toBe('128 127');
    expect(await shown(volume, 0, 2 * BLOCK)).toEqual([
      [1, BLOCK / 2],
      [0, BLOCK + BLOCK / 2],
    ]);
    await pool.close();
  });

  it('stays mapped when it is zeroed with keepAllocated', async () => {
    const { volume, requests } = await recorded();
    await volume.write(0, bytesOf(1, BLOCK));
    requests();
    await volume.writeZeroes(0, BLOCK, { keepAllocated: true });
    expect(requests()).toEqual([`writeZeroes ${BLOCK} bytes at 0`]);
    expect(volume.statusLine()).toBe('128 127');
  });

  it('is zeroed in place with skipBlockZeroing, for a hole would not stay zeros', async () => {
    const { volume } = await recorded({ skipBlockZeroing: true });
    await volume.write(0, bytesOf(1, BLOCK));
    await volume.writeZeroes(0, 2 * BLOCK);
    await volume.write(BLOCK, bytesOf(2, 512));
    expect(await shown(volume, 0, 2 * BLOCK)).toEqual([
      [0, BLOCK],
      [2, 512],
      [0, BLOCK - 512],
    ]);
  });
});

describe('a block shared with a snapshot (break-sharing)', () => {
  const shared = async (): ReturnType<typeof recorded> => {
    const all = await recorded();
    await all.volume.write(0, bytesOf(1, 2 * BLOCK));
    await all.pool.createSnapshot(1, 0);
    all.requests();
    return all;
  };

  it('is copied before a part of it is written', async () => {
    const { volume, requests } = await shared();
    await volume.write(512, bytesOf(2, 512));
    expect(requests()).toEqual([`read ${BLOCK} bytes at 0`, `write ${BLOCK} bytes at ${2 * BLOCK}`]);
    await volume.write(1024, bytesOf(3, 512));
    expect(requests(), 'its own now').toEqual([`write 512 bytes at ${2 * BLOCK + 1024}`]);
  });

  it('is not copied when all of it is written', async () => {
    const { volume, requests } = await shared();
    await volume.write(0, bytesOf(2, BLOCK));
    expect(requests()).toEqual([`write ${BLOCK} bytes at ${2 * BLOCK}`]);
  });

  it('is copied when a part of it is zeroed', async () => {
    const { volume, pool } = await shared();
    await volume.writeZeroes(512, 512);
    const snapshot = await pool.openVolume(1, { size: BLOCK });
    expect(await shown(volume, 0, BLOCK)).toEqual([
      [1, 512],
      [0, 512],
      [1, BLOCK - 1024],
    ]);
    expect(await shown(snapshot)).toEqual([[1, BLOCK]]);
  });

  it('is read where it is', async () => {
    const { volume, requests } = await shared();
    await volume.read(BLOCK, new Uint8Array(512));
    expect(requests()).toEqual([`read 512 bytes at ${BLOCK}`]);
  });
});

describe('an external origin', () => {
  /** 300 sectors of 5, over blocks of 128: it ends in the third. */
  const origin = (nrSectors = 300): MemoryDataDevice =>
    new MemoryDataDevice({ bytes: bytesOf(5, nrSectors * 512), readOnly: true });
  const over = async (externalOrigin: MemoryDataDevice, nrBlocks = 4): Promise<EnginePool & { volume: ThinVolume }> => {
    const all = await newEnginePool({ fill: 0xff });
    await all.pool.createThin(0);
    return { ...all, volume: await all.pool.openVolume(0, { size: nrBlocks * BLOCK, externalOrigin }) };
  };

  it('shows through unmapped blocks, zeros past its end (snap-bigger-than-origin)', async () => {
    const { volume } = await over(origin());
    expect(await shown(volume)).toEqual([
      [5, 300 * 512],
      [0, 4 * BLOCK - 300 * 512],
    ]);
    expect(await volume.allocation(0, 4 * BLOCK)).toEqual([
      { offset: 0, length: 300 * 512, state: 'data' },
      { offset: 300 * 512, length: 4 * BLOCK - 300 * 512, state: 'hole' },
    ]);
  });

  it('is copied around a write to a part of a block (snap-equal-size)', async () => {
    const { volume, data } = await over(origin(256), 2);
    await volume.write(512, bytesOf(1, 512));
    expect(await shown(volume)).toEqual([
      [5, 512],
      [1, 512],
      [5, 2 * BLOCK - 1024],
    ]);
    expect(data.bytes?.[BLOCK], 'a block further on the data device').toBe(0xff);
  });

  it('is copied as far as it goes, and zeros after that (snap-fractional-tail-block)', async () => {
    const { volume } = await over(origin());
    await volume.write(2 * BLOCK + 50 * 512, bytesOf(1, 512));
    expect(await shown(volume, 2 * BLOCK, BLOCK)).toEqual([
      [5, 44 * 512],
      [0, 6 * 512],
      [1, 512],
      [0, 77 * 512],
    ]);
    await volume.write(3 * BLOCK + 512, bytesOf(1, 512));
    expect(await shown(volume, 3 * BLOCK, BLOCK), 'wholly past its end').toEqual([
      [0, 512],
      [1, 512],
      [0, BLOCK - 1024],
    ]);
  });

  it('shows zeros past its end in a block that is copied, whatever was copied before', async () => {
    const { volume } = await over(origin());
    await volume.write(512, bytesOf(1, 512)); // a whole block of the origin
    await volume.write(2 * BLOCK, bytesOf(1, 512));
    expect(await shown(volume, 2 * BLOCK, BLOCK)).toEqual([
      [1, 512],
      [5, 43 * 512],
      [0, 84 * 512],
    ]);
  });

  it('may be larger than the volume (snap-smaller-than-origin)', async () => {
    const { volume } = await over(origin(), 1);
    await volume.write(512, bytesOf(1, 512));
    expect(await shown(volume)).toEqual([
      [5, 512],
      [1, 512],
      [5, BLOCK - 1024],
    ]);
  });

  it('shows again where the volume is discarded, and not where it is zeroed', async () => {
    const all = await over(origin(256), 2);
    await all.volume.write(0, bytesOf(1, 2 * BLOCK));
    await all.volume.discard(0, BLOCK);
    await all.volume.writeZeroes(BLOCK, BLOCK);
    expect(await shown(all.volume)).toEqual([
      [5, BLOCK],
      [0, BLOCK],
    ]);
    await all.volume.writeZeroes(0, 512);
    expect(await shown(all.volume, 0, BLOCK)).toEqual([
      [0, 512],
      [5, BLOCK - 512],
    ]);
    await closeSound(all);
  });

  it('is needed by snapshots, too, and never written', async () => {
    const all = await over(origin(256), 2);
    const before = await readFrom(all.volume, 0, 2 * BLOCK);
    await all.pool.createSnapshot(1, 0);
    const snapshot = await all.pool.openVolume(1, { size: 2 * BLOCK, externalOrigin: origin(256) });
    await snapshot.write(0, bytesOf(1, 512));
    expect(await readFrom(all.volume, 0, 2 * BLOCK)).toEqual(before);
  });
});

describe('requests in flight', () => {
  /** A volume over a device that holds back what it is told to. */
  async function held(): Promise<EnginePool & { volume: ThinVolume; faulty: FaultyDataDevice }> {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
    const data = new MemoryDataDevice({ bytes: new Uint8Array(64 * BLOCK) });
    const faulty = new FaultyDataDevice(data);
    const pool = await ThinPool.format(metadata, faulty, { dataBlockSize: 128, commitPeriod: 0 });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 4 * BLOCK });
    return { metadata, data, pool, volume, faulty };
  }

  it('to a block that is being provisioned wait; others do not', async () => {
    const { volume, faulty } = await held();
    await volume.write(BLOCK, bytesOf(9, BLOCK));
    const first = faulty.hold('writeZeroes');
    const done: string[] = [];
    const writes = [
      volume.write(0, bytesOf(1, 512)).then(() => done.push('first')),
      volume.write(512, bytesOf(2, 512)).then(() => done.push('same block')),
      volume.read(512, new Uint8Array(512)).then(() => done.push('read of it')),
    ];
    await first.untilHeld();
    await volume.write(BLOCK, bytesOf(3, 512));
    await volume.read(BLOCK, new Uint8Array(512));
    expect(done).toEqual([]);
    first.release();
    await Promise.all(writes);
    expect(done[0]).toBe('first');
    expect(await shown(volume, 0, 2048)).toEqual([
      [1, 512],
      [2, 512],
      [0, 1024],
    ]);
  });

  it('that overlap are done in order, and one block is provisioned once', async () => {
    const all = await held();
    const writes = Array.from({ length: 20 }, (_, nr) => all.volume.write(512 * (nr % 3), bytesOf(nr + 1, 1024)));
    await Promise.all(writes);
    // 18 at 1024, then 19 at 0, then 20 at 512, 1 KiB each.
    expect(await shown(all.volume, 0, 2048)).toEqual([
      [19, 512],
      [20, 1024],
      [18, 512],
    ]);
    expect(all.volume.statusLine()).toBe('128 127');
    await closeSound(all);
  });

  it('that read a shared block are waited for before it is replaced', async () => {
    const { volume, faulty, pool } = await held();
    await volume.write(0, bytesOf(1, BLOCK));
    await pool.createSnapshot(1, 0);
    const reading = faulty.hold('read', { which: (_, length) => length === 512 });
    const into = new Uint8Array(512);
    const read = volume.read(0, into);
    await reading.untilHeld();
    let written = false;
    const write = volume.write(0, bytesOf(2, BLOCK)).then(() => {
      written = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(false);
    reading.release();
    await Promise.all([read, write]);
    expect(into).toEqual(bytesOf(1, 512));
  });

  it('fail with the first error, when all parts of the request have ended', async () => {
    const { volume, faulty } = await held();
    faulty.inject({ operation: 'write', badByte: BLOCK });
    const error = await rejection(volume.write(0, bytesOf(1, 3 * BLOCK)));
    expect(error.message).toContain('injected fault');
    expect(volume.statusLine(), 'two of three blocks').toMatch(/^256 /);
    faulty.heal();
    await volume.write(0, bytesOf(2, 4 * BLOCK));
    expect(await shown(volume)).toEqual([[2, 4 * BLOCK]]);
  });

  it('give their data block back when the data device refuses it', async () => {
    const all = await held();
    all.faulty.inject({ operation: 'write', nth: 1 });
    expect((await rejection(all.volume.write(0, bytesOf(1, 512)))).code).toBe('ERR_DEVICE');
    expect(all.pool.status().nrUsedDataBlocks).toBe(0);
    await closeSound(all);
  });
});

describe('a volume', () => {
  it('has the size it is opened with, whole blocks or not, and any other later', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: BLOCK + 1024 });
    await volume.write(BLOCK, bytesOf(1, 1024));
    expect((await rejection(volume.write(BLOCK + 512, bytesOf(1, 1024)))).message).toContain('outside the device');
    await volume.discard(0, BLOCK + 1024); // the partial last block is never unmapped
    expect(await shown(volume, BLOCK)).toEqual([[1, 1024]]);
    await volume.resize(BLOCK);
    expect(await rejection(volume.read(BLOCK, new Uint8Array(512)))).toBeInstanceOf(RangeError);
    await volume.resize(4 * BLOCK);
    expect(await shown(volume, BLOCK)).toEqual([
      [1, 1024],
      [0, 3 * BLOCK - 1024],
    ]);
    expect(await rejection(volume.resize(100))).toBeInstanceOf(RangeError);
    await closeSound(all);
  });

  it('may be larger than the pool', async () => {
    const { pool } = await newEnginePool();
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 2 ** 50 });
    await volume.write(2 ** 50 - 512, bytesOf(1, 512));
    expect(volume.statusLine()).toBe(`128 ${2 ** 41 - 1}`);
    expect(await volume.allocation(0, 2 ** 50)).toEqual([
      { offset: 0, length: 2 ** 50 - BLOCK, state: 'hole' },
      { offset: 2 ** 50 - BLOCK, length: BLOCK, state: 'data' },
    ]);
    await volume.discard(0, 2 ** 50);
    expect(volume.statusLine()).toBe('0 -');
  });

  it('may be opened several times, and all see and order the same', async () => {
    const { pool } = await newEnginePool();
    await pool.createThin(0);
    const [a, b] = [await pool.openVolume(0, { size: BLOCK }), await pool.openVolume(0, { size: BLOCK })];
    await Promise.all([a.write(0, bytesOf(1, 512)), b.write(512, bytesOf(2, 512)), a.write(512, bytesOf(3, 512))]);
    expect(await shown(b, 0, 2048)).toEqual([
      [1, 512],
      [3, 512],
      [0, 1024],
    ]);
    await a.close();
    expect(await rejection(a.read(0, new Uint8Array(512)))).toBeInstanceOf(ClosedError);
    await b.write(0, bytesOf(4, 512));
    expect(await rejection(pool.deleteThin(0))).toMatchObject({ code: 'ERR_THIN_IN_USE' });
    await b.close();
    await pool.deleteThin(0);
  });

  it('refuses writes when it is read-only', async () => {
    const { pool } = await newEnginePool();
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: BLOCK, readOnly: true });
    for (const request of [volume.write(0, bytesOf(1, 512)), volume.writeZeroes(0, 512), volume.discard(0, BLOCK)]) {
      expect(await rejection(request)).toBeInstanceOf(ReadOnlyError);
    }
    await volume.flush();
  });

  it('makes what is written with fua durable at once, and what makes it reachable', async () => {
    const { volume, requests } = await recorded();
    await volume.write(0, bytesOf(1, 512), { fua: true });
    expect(requests()).toEqual([`write ${BLOCK} bytes at 0`, 'flush']);
    await volume.write(0, bytesOf(2, 512), { fua: true });
    expect(requests(), 'nothing else has changed').toEqual(['write 512 bytes at 0, fua']);
  });
});

describe('a flush', () => {
  it('commits when the volume has changed, and only then (commit_if_changed)', async () => {
    const { volume, pool, requests } = await recorded();
    const commits: boolean[] = [];
    pool.on('commit', ({ changed }) => commits.push(changed));
    await volume.write(0, bytesOf(1, 512));
    await volume.flush();
    expect([requests(), commits]).toEqual([[`write ${BLOCK} bytes at 0`, 'flush'], [true]]);
    await volume.write(0, bytesOf(2, 512));
    await volume.flush();
    expect([requests(), commits]).toEqual([['write 512 bytes at 0', 'flush'], [true]]);
  });

  it('of a volume does not commit for the sake of others', async () => {
    const { volume, pool } = await recorded();
    await pool.createThin(1);
    const other = await pool.openVolume(1, { size: BLOCK });
    let nrCommits = 0;
    pool.on('commit', () => nrCommits++);
    await other.write(0, bytesOf(1, 512));
    await volume.flush();
    expect(nrCommits).toBe(0);
  });

  it('shares a commit with all that are called while one is running', async () => {
    const { volume, pool, data } = await recorded();
    let nrCommits = 0;
    pool.on('commit', () => nrCommits++);
    await volume.write(0, bytesOf(1, 512));
    const flushes = Array.from({ length: 10 }, () => volume.flush());
    await volume.write(BLOCK, bytesOf(1, 512));
    flushes.push(volume.flush());
    await Promise.all(flushes);
    expect(nrCommits).toBeLessThanOrEqual(3);
    expect(data.nrInDoubt).toBe(0);
  });
});
