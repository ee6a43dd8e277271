/** docs/format/thin.md, section 9.1; scenarios of the kernel's test suites in brackets. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice, RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, newEnginePool, rejection, shown } from '../../test/engine-pools.js';
import { expectSound } from '../../test/pool.js';
import type { ThinPoolOptions } from './options.js';
import { ThinPool } from './thin-pool.js';
import type { ThinVolume } from './thin-volume.js';

/** For large volumes whose content does not matter. */
class Forgetful extends MemoryDataDevice {
  override async write(): Promise<void> {}
}

interface Recorded {
  readonly metadata: MemoryMetadataDevice;
  readonly pool: ThinPool;
  readonly volume: ThinVolume;
  readonly faulty: FaultyDataDevice;
  /** What was passed down to the data device since the last call, in blocks. */
  readonly passedDown: () => [begin: number, nr: number][];
}

/** A pool of 64 blocks with volume 0 of 8 blocks, each mapped to the data block of its number. */
async function recorded(options: Partial<ThinPoolOptions> = {}): Promise<Recorded> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
  const faulty = new FaultyDataDevice(new MemoryDataDevice({ bytes: bytesOf(0xff, 64 * BLOCK) }));
  const data = new RecordingDataDevice(faulty);
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0, ...options });
  await pool.createThin(0);
  const volume = await pool.openVolume(0, { size: 8 * BLOCK });
  await volume.write(0, bytesOf(1, 8 * BLOCK));
  await volume.flush();
  const passedDown = (): [number, number][] => {
    const discards = data.operations.flatMap((operation) =>
      operation.op === 'discard' ? [[operation.offset / BLOCK, operation.length / BLOCK] as [number, number]] : [],
    );
    data.clear();
    return discards;
  };
  passedDown();
  return { metadata, pool, volume, faulty, passedDown };
}

describe('a discard', () => {
  it('unmaps whole blocks only (discard_partial_blocks)', async () => {
    const { volume, metadata, pool } = await recorded();
    await volume.discard(4096, 3 * BLOCK);
    expect(volume.statusLine()).toBe(`${6 * 128} ${8 * 128 - 1}`);
    expect(await shown(volume, 0, 4 * BLOCK)).toEqual([
      [1, BLOCK],
      [0, 2 * BLOCK],
      [1, BLOCK],
    ]);
    await volume.discard(512, BLOCK);
    expect(volume.statusLine(), 'less than a block').toBe(`${6 * 128} ${8 * 128 - 1}`);
    await pool.close();
    expectSound(metadata);
  });

  it('is passed down when the commit is durable, in runs (discard_fully_provisioned_device, unmaps-passdown-discardable)', async () => {
    const { volume, passedDown } = await recorded();
    await volume.discard(0, 3 * BLOCK);
    await volume.discard(3 * BLOCK, 2 * BLOCK);
    await volume.discard(6 * BLOCK, BLOCK);
    expect(passedDown()).toEqual([]);
    await volume.flush();
    expect(passedDown()).toEqual([
      [0, 5],
      [6, 1],
    ]);
  });

  it('gives space that can be written to after a commit (discard_after_out_of_space, discard_triggers_commit)', async () => {
    const { volume, pool } = await recorded();
    await pool.createThin(1);
    const other = await pool.openVolume(1, { size: 64 * BLOCK });
    await other.write(0, bytesOf(2, 56 * BLOCK));
    await volume.discard(0, BLOCK);
    await other.write(56 * BLOCK, bytesOf(2, BLOCK)); // commits by itself
    expect(pool.statusLine()).toContain(' 64/64 - rw ');
    await other.flush();
    expect(await shown(other)).toEqual([
      [2, 57 * BLOCK],
      [0, 7 * BLOCK],
    ]);
  });

  it('of a shared block is not passed down (discard_to_a_shared_block_doesnt_get_passed_down, discard_origin_does_not_effect_snap)', async () => {
    const { volume, pool, passedDown } = await recorded();
    await pool.createSnapshot(1, 0);
    const snapshot = await pool.openVolume(1, { size: 8 * BLOCK });
    await volume.write(0, bytesOf(2, BLOCK)); // data block 8
    await volume.discard(0, 8 * BLOCK);
    await volume.flush();
    expect(passedDown()).toEqual([[8, 1]]);
    expect(await shown(snapshot)).toEqual([[1, 8 * BLOCK]]);
    expect(await shown(volume)).toEqual([[0, 8 * BLOCK]]);
  });

  it('of a block that was shared is passed down (discard_to_a_previously_shared_block_does_get_passed_down)', async () => {
    const { volume, pool, passedDown } = await recorded();
    await pool.createSnapshot(1, 0);
    await pool.deleteThin(1);
    await volume.discard(0, 8 * BLOCK);
    await volume.flush();
    expect(passedDown()).toEqual([[0, 8]]);
  });

  it('is not passed down while a metadata snapshot holds the block', async () => {
    const { volume, pool, passedDown, metadata } = await recorded();
    await pool.reserveMetadataSnapshot();
    await volume.discard(0, 8 * BLOCK);
    await volume.flush();
    expect(passedDown()).toEqual([]);
    expect(pool.statusLine()).toContain(' 8/64 ');
    await pool.releaseMetadataSnapshot();
    expect(pool.statusLine()).toContain(' 0/64 ');
    await pool.close();
    expectSound(metadata);
  });

  it('does not take from a block what it was used for anew in the same transaction', async () => {
    const { volume, passedDown } = await recorded();
    await volume.discard(0, 8 * BLOCK);
    await volume.flush();
    passedDown();
    await volume.write(0, bytesOf(2, BLOCK)); // free in the last commit: block 8 now, and the search goes on from there
    for (let nr = 0; nr < 70; nr++) {
      await volume.discard(0, BLOCK);
      await volume.write(0, bytesOf(3, BLOCK));
    }
    await volume.flush();
    expect(await shown(volume, 0, 2 * BLOCK)).toEqual([
      [3, BLOCK],
      [0, BLOCK],
    ]);
    expect(passedDown().every(([begin, nr]) => begin + nr <= 64 && nr < 64)).toBe(true);
  });

  it('succeeds when the data device refuses it', async () => {
    const { volume, faulty, pool } = await recorded();
    faulty.inject({ operation: 'discard', nth: 1 });
    await volume.discard(0, 8 * BLOCK);
    await volume.flush();
    expect([volume.statusLine(), pool.mode]).toEqual(['0 -', 'write']);
  });

  it.each<{ pool: string; options: Partial<ThinPoolOptions>; nrMapped: number; says: string; granularity: number }>([
    {
      pool: 'noDiscardPassdown',
      options: { noDiscardPassdown: true },
      nrMapped: 0,
      says: 'no_discard_passdown',
      granularity: BLOCK,
    },
    { pool: 'ignoreDiscard', options: { ignoreDiscard: true }, nrMapped: 8, says: 'ignore_discard', granularity: 0 },
  ])(
    'in a pool with $pool (disable_discard, discard_no_unmap_with_discard_disabled)',
    async ({ options, nrMapped, says, granularity }) => {
      const { volume, pool, passedDown } = await recorded(options);
      await volume.discard(0, 8 * BLOCK);
      await volume.flush();
      expect(passedDown()).toEqual([]);
      expect(volume.statusLine()).toMatch(new RegExp(`^${nrMapped * 128} `));
      expect(pool.statusLine()).toContain(` ${says} `);
      expect(volume.hints.discardGranularity, 'pool_granularity_matches_data_dev').toBe(granularity);
    },
  );

  it('is not passed down to a data device that cannot, or only in larger units', async () => {
    for (const discardGranularity of [0, 4 * BLOCK]) {
      const data = new MemoryDataDevice({ size: 64 * BLOCK });
      const hints = { ...data.hints, discardGranularity };
      const proxy = new Proxy(data, {
        get: (target, key) => {
          if (key === 'hints') return hints;
          const member = target[key as keyof MemoryDataDevice];
          return typeof member === 'function' ? member.bind(target) : member;
        },
      });
      const pool = await ThinPool.format(new MemoryMetadataDevice({ nrBlocks: 256 }), proxy, { dataBlockSize: 128 });
      expect(pool.statusLine()).toContain(' no_discard_passdown ');
      await pool.close();
    }
  });

  it('of every other block, then of the rest, leaves nothing (discard_alternate_blocks, discard_a_fragmented_device)', async () => {
    const all = await newEnginePool({ nrDataBlocks: 256 });
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 200 * BLOCK });
    for (let block = 199; block >= 0; block--) await volume.write(block * BLOCK, bytesOf(1, 512));
    for (let block = 0; block < 200; block += 2) await volume.discard(block * BLOCK, BLOCK);
    expect(volume.status().nrMappedBlocks).toBe(100);
    await volume.discard(0, 200 * BLOCK);
    expect(volume.statusLine()).toBe('0 -');
    await volume.discard(0, 200 * BLOCK); // discard_empty_device, discard_same_blocks
    await volume.flush();
    expect(all.pool.statusLine()).toContain(' 0/256 ');
    await closeSound(all);
  });

  it('of a large volume lets the program do something else meanwhile', async () => {
    const data = new Forgetful({ size: 20_000 * BLOCK });
    const pool = await ThinPool.format(new MemoryMetadataDevice({ nrBlocks: 2048 }), data, {
      dataBlockSize: 128,
      commitPeriod: 0,
    });
    await pool.createThin(0);
    const volume = await pool.openVolume(0, { size: 20_000 * BLOCK });
    for (let block = 0; block < 12_000; block++) await volume.write(block * BLOCK, bytesOf(1, 512));
    let nrTurns = 0;
    let over = false;
    const discard = volume.discard(0, 20_000 * BLOCK).then(() => {
      over = true;
    });
    while (!over) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      nrTurns++;
    }
    await discard;
    expect(volume.statusLine()).toBe('0 -');
    expect(nrTurns).toBeGreaterThan(2);
    await pool.close();
  });

  it('past the end is refused (discard_past_the_end_fails)', async () => {
    const { volume } = await recorded();
    expect(await rejection(volume.discard(7 * BLOCK, 2 * BLOCK))).toBeInstanceOf(RangeError);
  });

  it('does not disturb requests in flight beside it (discard_with_background_io)', async () => {
    const all = await newEnginePool({ nrDataBlocks: 128 });
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 64 * BLOCK });
    const work: Promise<void>[] = [];
    for (let round = 0; round < 8; round++) {
      for (let block = 0; block < 32; block++) work.push(volume.write(block * BLOCK, bytesOf(round + 1, BLOCK)));
      work.push(volume.discard(32 * BLOCK, 32 * BLOCK));
      for (let block = 32; block < 64; block += 3) work.push(volume.write(block * BLOCK, bytesOf(9, 512)));
    }
    await Promise.all(work);
    expect(await shown(volume, 0, 32 * BLOCK)).toEqual([[8, 32 * BLOCK]]);
    expect(await shown(volume, 32 * BLOCK, 1024)).toEqual([
      [9, 512],
      [0, 512],
    ]);
    await volume.flush();
    await closeSound(all);
  });
});

it('a loss of power before the commit leaves a snapshot what it had, when origin and snapshot let go of a block', async () => {
  const metadata = new MemoryMetadataDevice({ nrBlocks: 256 });
  const data = new RecordingDataDevice(new MemoryDataDevice({ size: 64 * BLOCK }));
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: 128, commitPeriod: 0 });
  await pool.createThin(0);
  const origin = await pool.openVolume(0, { size: BLOCK });
  await origin.write(0, bytesOf(1, BLOCK));
  await pool.createSnapshot(1, 0);
  const snapshot = await pool.openVolume(1, { size: BLOCK });
  await snapshot.write(0, bytesOf(2, BLOCK)); // not committed: after a crash it has the shared block again
  await origin.discard(0, BLOCK);
  const after = await ThinPool.open(
    new MemoryMetadataDevice({ bytes: metadata.bytes.slice() }), // memory loses nothing, so the metadata is as committed
    data.crash({ seed: 1, lands: 'all' }),
  );
  expect(await shown(await after.openVolume(1, { size: BLOCK }))).toEqual([[1, BLOCK]]);
});
