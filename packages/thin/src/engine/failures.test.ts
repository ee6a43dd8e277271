/** What is left when devices fail: docs/format/thin.md, section 8. */
import { ClosedError, MemoryDataDevice, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { FaultyDataDevice, FaultyMetadataDevice, ManualTimers } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, newEnginePool, quiet, rejection, shown } from '../../test/engine-pools.js';
import { expectSound } from '../../test/pool.js';
import type { ThinPoolEvents } from './events.js';
import type { ThinPoolOptions } from './options.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

interface Faulty {
  readonly memory: MemoryMetadataDevice;
  readonly metadata: FaultyMetadataDevice;
  readonly data: FaultyDataDevice;
  readonly pool: ThinPool;
  readonly volume: ThinVolume;
  readonly told: (keyof ThinPoolEvents)[];
}

/** A pool with volume 0 of 4 blocks, the first two written and flushed, then the second written anew and a third: not flushed. */
async function faulty(options: Partial<ThinPoolOptions> = {}): Promise<Faulty> {
  const memory = new MemoryMetadataDevice({ nrBlocks: 256 });
  const metadata = new FaultyMetadataDevice(memory);
  const data = new FaultyDataDevice(new MemoryDataDevice({ bytes: new Uint8Array(64 * BLOCK) }));
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0, ...options });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: 4 * BLOCK });
  await volume.write(0, bytesOf(1, 2 * BLOCK));
  await volume.flush();
  await volume.write(BLOCK, bytesOf(2, BLOCK));
  await volume.write(2 * BLOCK, bytesOf(3, BLOCK));
  const told: (keyof ThinPoolEvents)[] = [];
  for (const event of ['mode', 'abort', 'error', 'commit'] as const) pool.on(event, () => told.push(event));
  return { memory, metadata, data, pool, volume, told };
}

const fromNowOn = (device: FaultyMetadataDevice, operation: 'read' | 'write' | 'flush') =>
  ({ operation, nth: device.nrDone(operation) + 1, andLater: true }) as const;

/** What is shown after the transaction was thrown away, and what still works. */
async function expectReadOnly({ pool, volume }: Faulty): Promise<void> {
  expect(pool.mode).toBe('read_only');
  expect(pool.statusLine()).toMatch(/ 2\/64 - ro discard_passdown queue_if_no_space needs_check 64 $/);
  expect(await shown(volume)).toEqual([
    [1, BLOCK],
    [2, BLOCK],
    [0, 2 * BLOCK],
  ]);
  await volume.write(0, bytesOf(4, 512)); // mapped and not shared
  expect(await rejection(volume.write(3 * BLOCK, bytesOf(4, 512)))).toMatchObject({ code: 'ERR_POOL_MODE' });
  await volume.discard(0, 4 * BLOCK);
  expect(volume.statusLine()).toBe('256 255');
  expect(await rejection(volume.flush()), 'it has lost something').toMatchObject({ code: 'ERR_ABORTED' });
  expect(await rejection(volume.write(0, bytesOf(4, 512), { fua: true }))).toMatchObject({ code: 'ERR_ABORTED' });
  expect(await rejection(pool.createThin(9))).toMatchObject({ code: 'ERR_POOL_MODE' });
}

/** Opened again: read-only, for needs_check was stored. */
async function expectNeedsCheck(memory: MemoryMetadataDevice, data: FaultyDataDevice, stored: boolean): Promise<void> {
  data.heal();
  const again = await ThinPool.open(memory, data);
  expect([again.mode, again.status().needsCheck]).toEqual(stored ? ['read_only', true] : ['write', false]);
  await again.close();
}

describe('a commit that fails', () => {
  it('because the metadata takes no writes leaves the last one, to be read, and needs_check (commit_failure_causes_fallback)', async () => {
    const all = await faulty();
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    const error = await rejection(all.volume.flush());
    expect(error).toMatchObject({ code: 'ERR_COMMIT' });
    await expectReadOnly(all);
    expect(all.told.slice(0, 2)).toEqual(['error', 'abort']);
    await all.pool.close();
    await expectNeedsCheck(all.memory, all.data, false); // nothing could be written
    expectSound(all.memory);
  });

  it('stores needs_check when the metadata takes writes again, at the latest when the pool is closed (commit_failure_sets_needs_check)', async () => {
    const all = await faulty();
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    await rejection(all.volume.flush());
    all.metadata.heal();
    await all.pool.close();
    await expectNeedsCheck(all.memory, all.data, true);
  });

  it('at any of its writes or flushes leaves the state before it or the one after it, whole', async () => {
    for (const operation of ['write', 'flush'] as const) {
      let nrTried = 0;
      for (let nth = 1; ; nth++) {
        const all = await faulty();
        const before = all.metadata.nrDone(operation);
        all.metadata.inject({ operation, nth: before + nth });
        const failed = await all.volume.flush().then(
          () => false,
          () => true,
        );
        if (!failed) break;
        nrTried++;
        expect(all.pool.mode).toBe('read_only');
        const seen = await shown(all.volume, 2 * BLOCK, BLOCK);
        expect([[[0, BLOCK]], [[3, BLOCK]]]).toContainEqual(seen);
        await all.volume.close();
        await all.pool.close();
        expectSound(all.memory, `${operation} ${nth}`);
      }
      expect(nrTried, operation).toBeGreaterThan(1);
    }
  });

  it('because data could not be made durable aborts, and needs_check is stored', async () => {
    const all = await faulty();
    all.data.inject({ operation: 'flush', nth: all.data.nrDone('flush') + 1 });
    expect(await rejection(all.volume.flush())).toMatchObject({ code: 'ERR_DEVICE' });
    await expectReadOnly(all);
    // It has been written to in place meanwhile, and that is not durable either.
    expect(await rejection(all.pool.close())).toMatchObject({ code: 'ERR_DEVICE' });
    await expectNeedsCheck(all.memory, all.data, true);
  });

  it('fails every flush it covers', async () => {
    const all = await faulty();
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    const flushes = await Promise.allSettled([all.volume.flush(), all.volume.flush(), all.pool.commit()]);
    expect(flushes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  });

  it('fails the changes that it throws away, whoever asked for it', async () => {
    const all = await faulty();
    const held = all.data.hold('flush');
    const creates = [all.pool.createThin(1), all.pool.createThin(2)];
    await held.untilHeld();
    creates.push(all.pool.createThin(3)); // after the commit that fails
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    held.release();
    const outcomes = await Promise.allSettled(creates);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect([...all.pool.thins()].map(({ thinId }) => thinId)).toEqual([0]);
    await all.pool.close();
  });

  it('is not the matter of the message before it, which succeeds as in the kernel', async () => {
    for (const device of ['metadata', 'data'] as const) {
      const all = await faulty();
      if (device === 'metadata') all.metadata.inject(fromNowOn(all.metadata, 'write'));
      else all.data.inject({ operation: 'flush', nth: all.data.nrDone('flush') + 1 });
      await all.pool.message('create_thin 7');
      expect(all.pool.mode).toBe('read_only');
      expect([...all.pool.thins()].map(({ thinId }) => thinId)).toEqual([0]);
      all.data.heal();
      await all.pool.close();
    }
  });

  it('on time is told to who listens', async () => {
    const timers = new ManualTimers();
    const all = await faulty({ commitPeriod: 1000, timers });
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    timers.pass(1000);
    await quiet();
    expect(all.told).toContain('error');
    expect(all.pool.mode).toBe('read_only');
    await all.pool.close();
  });

  it('leaves a pool that fails when the metadata cannot be read any more, either', async () => {
    const all = await faulty({ cacheBlocks: 16 });
    all.metadata.inject(fromNowOn(all.metadata, 'write'));
    all.metadata.inject(fromNowOn(all.metadata, 'read'));
    await rejection(all.volume.flush());
    expect([all.pool.mode, all.pool.statusLine(), all.volume.statusLine()]).toEqual(['fail', 'Fail', 'Fail']);
    for (const request of [
      all.volume.read(0, new Uint8Array(512)),
      all.volume.write(0, bytesOf(1, 512)),
      all.volume.discard(0, BLOCK),
      all.volume.writeZeroes(0, 512),
      all.volume.allocation(0, 512),
      all.pool.createThin(1),
      all.pool.openVolume(0, { size: BLOCK }),
      all.pool.resume(),
      all.pool.commit(),
    ]) {
      expect(await rejection(request)).toMatchObject({ code: 'ERR_POOL_MODE' });
    }
    expect(() => all.pool.status()).toThrow('has failed');
    await all.pool.close();
    all.metadata.heal();
    expectSound(all.memory);
  });
});

describe('a flush of the data device that fails', () => {
  it('with nothing to commit is the matter of who asked', async () => {
    const all = await faulty();
    await all.volume.flush();
    all.data.inject({ operation: 'flush', nth: all.data.nrDone('flush') + 1 });
    await all.volume.write(0, bytesOf(5, 512));
    expect(await rejection(all.volume.flush())).toMatchObject({ code: 'ERR_DEVICE' });
    expect(all.pool.mode).toBe('write');
    await all.pool.close().catch(() => {}); // the device has lost a flush
  });
});

describe('a metadata operation that fails half-way', () => {
  /** Opened again with a cold cache, and a bad place at the first block of which `pick` says so. */
  async function withBadBlock(): Promise<Faulty> {
    const all = await faulty();
    await all.pool.close();
    const pool = await ThinPool.open(all.metadata, all.data, { commitPeriod: 0, cacheBlocks: 16 });
    const volume = await pool.openVolume(0, { size: 4 * BLOCK });
    expect(await shown(volume, 0, 512)).toEqual([[1, 512]]); // the trees are in memory now
    for (let blockNr = 1; blockNr < 256; blockNr++) all.metadata.inject({ operation: 'read', blockNr });
    return { ...all, pool, volume };
  }

  it('is no matter of a status line, which says that it cannot read a number', async () => {
    const all = await faulty();
    await all.pool.close();
    const pool = await ThinPool.open(all.metadata, all.data, { commitPeriod: 0 });
    const volume = await pool.openVolume(0, { size: BLOCK });
    for (let blockNr = 1; blockNr < 256; blockNr++) all.metadata.inject({ operation: 'read', blockNr });
    expect([volume.statusLine(), pool.mode]).toEqual(['Error', 'write']);
    all.metadata.heal();
    expect(volume.statusLine()).toBe('384 383');
    await pool.close();
  });

  it('throws the transaction away, and leaves a failed pool when the last commit cannot be read', async () => {
    const all = await withBadBlock();
    const error = await rejection(all.volume.write(3 * BLOCK, bytesOf(4, 512)));
    expect(error).toMatchObject({ code: 'ERR_ABORTED' });
    expect(all.pool.mode).toBe('fail');
    await all.pool.close();
  });

  it('fails writes that had their data block when it happened, and never maps it', async () => {
    const all = await faulty();
    const held = all.data.hold('write', { which: (_, length) => length === BLOCK / 2 });
    const write = all.volume.write(3 * BLOCK, bytesOf(4, BLOCK / 2)); // has allocated its data block
    await held.untilHeld();
    for (let blockNr = 1; blockNr < 256; blockNr++) all.metadata.inject({ operation: 'write', blockNr });
    const commit = rejection(all.volume.flush());
    held.release();
    await write; // it was before the commit, which waited for it
    expect(await commit).toMatchObject({ code: 'ERR_COMMIT' });
    await expectReadOnly(all);
    await all.pool.close();
    expectSound(all.memory);
  });
});

describe('needs_check', () => {
  it('makes a pool read-only when it is opened, and keeps it from growing', async () => {
    const { metadata, pool, data } = await newEnginePool({ nrDataBlocks: 4 });
    await pool.createThin(0);
    await pool.close();
    const { ThinMetadata } = await import('../metadata/thin-metadata.js');
    const opened = ThinMetadata.open(metadata);
    opened.setNeedsCheck();
    opened.commit();
    opened.close();
    await data.grow(8 * BLOCK);
    const again = await ThinPool.open(metadata, data);
    expect(again.statusLine()).toContain(' 0/4 - ro ');
    const errors: string[] = [];
    again.on('error', ({ error }) => errors.push(`${error}`));
    await again.resume();
    expect(errors).toEqual(['ResizeError: unable to grow the data device until repaired.']);
    expect(again.statusLine()).toContain(' 0/4 - ro ');
    await again.close();
  });
});

describe('a read-only pool', () => {
  it('is read and written to where volumes have blocks, and changes nothing else (create_read_only, can_access_fully_mapped_device, cant_provision_new_blocks)', async () => {
    const { metadata, pool, data } = await newEnginePool();
    await pool.createThin(0);
    const before = await pool.openVolume(0, { size: 2 * BLOCK });
    await before.write(0, bytesOf(1, BLOCK));
    await pool.createSnapshot(1, 0);
    await before.write(512, bytesOf(2, 512));
    await pool.close();
    const bytes = metadata.bytes.slice();
    const readOnly = await ThinPool.open(metadata, data, { readOnly: true });
    expect(readOnly.statusLine()).toContain(' ro ');
    const [origin, snapshot] = [
      await readOnly.openVolume(0, { size: 2 * BLOCK }),
      await readOnly.openVolume(1, { size: 2 * BLOCK }),
    ];
    await origin.write(0, bytesOf(3, 512));
    await origin.flush();
    expect(await shown(origin, 0, 1024)).toEqual([
      [3, 512],
      [2, 512],
    ]);
    expect(await rejection(origin.write(BLOCK, bytesOf(3, 512)))).toMatchObject({ code: 'ERR_POOL_MODE' });
    expect(await rejection(snapshot.write(0, bytesOf(3, 512)))).toMatchObject({ code: 'ERR_POOL_MODE' });
    expect(await shown(snapshot)).toEqual([
      [1, BLOCK],
      [0, BLOCK],
    ]);
    await origin.writeZeroes(0, 2 * BLOCK); // in place, and where nothing is
    expect(await shown(origin)).toEqual([[0, 2 * BLOCK]]);
    await readOnly.close();
    expect(Buffer.compare(metadata.bytes, bytes)).toBe(0);
  });

  it('can be one on devices that are read-only, and is one on read-only metadata', async () => {
    const { metadata, pool, data } = await newEnginePool();
    await pool.createThin(0);
    await (await pool.openVolume(0, { size: BLOCK })).write(0, bytesOf(1, BLOCK));
    await pool.close();
    const readOnly = await ThinPool.open(
      new MemoryMetadataDevice({ bytes: metadata.bytes, readOnly: true }),
      new MemoryDataDevice({ bytes: data.bytes as Uint8Array, readOnly: true }),
    );
    const volume = await readOnly.openVolume(0, { size: BLOCK });
    expect([readOnly.mode, volume.readOnly]).toEqual(['read_only', true]);
    expect(await shown(volume)).toEqual([[1, BLOCK]]);
    await volume.flush();
    expect(await rejection(volume.write(0, bytesOf(2, 512)))).toBeInstanceOf(ReadOnlyError);
    await readOnly.commit();
    await readOnly.close();
  });

  it('is not formatted', async () => {
    const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
    const data = new MemoryDataDevice({ size: BLOCK });
    const error = await rejection(ThinPool.format(metadata, data, { dataBlockSize: 128, readOnly: true }));
    expect(error).toBeInstanceOf(ReadOnlyError);
    expect(await rejection(ThinPool.open(metadata, data))).toMatchObject({ code: 'ERR_NOT_FORMATTED' });
  });
});

describe('what goes alongside', () => {
  it('a change runs in its transaction, before its commit', async () => {
    const all = await newEnginePool();
    const happened: string[] = [];
    all.pool.on('commit', () => happened.push('commit'));
    const alongside = (): void => void happened.push('alongside');
    await all.pool.createThin(0, { alongside });
    await all.pool.createSnapshot(1, 0, { alongside });
    await all.pool.deleteThin(0, { alongside }); // what was not committed before is, first
    expect(happened.filter((what) => what === 'alongside').length).toBe(3);
    expect(happened.slice(0, 4)).toEqual(['alongside', 'commit', 'alongside', 'commit']);
    expect(happened.slice(-2)).toEqual(['alongside', 'commit']);
    await closeSound(all);
  });

  it('and fails takes the change back, and nothing else', async () => {
    const all = await newEnginePool();
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: BLOCK });
    await all.pool.createThin(5);
    await volume.write(0, bytesOf(1, 512));
    const alongside = (): void => {
      throw new Error('no room in the catalogue');
    };
    for (const change of [
      all.pool.createThin(1, { alongside }),
      all.pool.createSnapshot(2, 0, { alongside }),
      all.pool.deleteThin(5, { alongside }),
    ]) {
      expect((await rejection(change)).message).toBe('no room in the catalogue');
    }
    expect([...all.pool.thins()].map(({ thinId }) => thinId)).toEqual([0, 5]);
    expect(all.pool.mode).toBe('write');
    await volume.flush();
    expect(await shown(volume, 0, 1024)).toEqual([
      [1, 512],
      [0, 512],
    ]);
    await closeSound(all);
  });

  it('is not asked when the change is refused', async () => {
    const { pool } = await newEnginePool();
    let nrAsked = 0;
    const alongside = (): void => void nrAsked++;
    await pool.createThin(0);
    await rejection(pool.createThin(0, { alongside }));
    await rejection(pool.createSnapshot(1, 7, { alongside }));
    await rejection(pool.deleteThin(7, { alongside }));
    expect(nrAsked).toBe(0);
  });
});

describe('after close', () => {
  it('everything is refused, and the devices are the caller’s again', async () => {
    const { metadata, pool, data } = await newEnginePool();
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: BLOCK });
    const write = volume.write(0, bytesOf(1, 512));
    await pool.close();
    await write; // was in flight
    await pool.close();
    for (const request of [
      pool.createThin(1),
      pool.openVolume(0, { size: BLOCK }),
      pool.message('create_thin 1'),
      pool.resume(),
      pool.commit(),
      volume.read(0, new Uint8Array(512)),
      volume.flush(),
    ]) {
      expect(await rejection(request)).toBeInstanceOf(ClosedError);
    }
    expect(() => pool.status()).toThrow(ClosedError);
    const again = await ThinPool.open(metadata, data);
    expect(await shown(await again.openVolume(0, { size: BLOCK }), 0, 512)).toEqual([[1, 512]]);
    await again.close();
  });
});

describe('a listener', () => {
  it('that throws disturbs neither the pool nor other listeners, and one that is taken off is not told', async () => {
    const all = await newEnginePool();
    let nrTold = 0;
    all.pool.on('commit', () => {
      throw new Error('a bug');
    });
    const off = all.pool.on('commit', () => nrTold++);
    await all.pool.createThin(0);
    off();
    await all.pool.createThin(1);
    expect(nrTold).toBe(1);
    await closeSound(all);
  });
});

it('commits on time when something has changed, and only then', async () => {
  const timers = new ManualTimers();
  const { pool, metadata, data } = await newEnginePool({ timers, commitPeriod: 1000 });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: BLOCK });
  expect(timers.nrWaiting).toBe(0);
  await volume.write(0, bytesOf(1, 512));
  expect(timers.nrWaiting).toBe(1);
  timers.pass(1000);
  await quiet();
  expect(timers.nrWaiting).toBe(0);
  const found = await ThinPool.open(new MemoryMetadataDevice({ bytes: metadata.bytes.slice() }), data);
  expect(found.statusLine()).toContain(' 1/64 ');
  await pool.close();
});
