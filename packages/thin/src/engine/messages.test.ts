/** docs/format/thin.md, section 4: each message, and each error with its errno and its lines. */
import { describe, expect, it } from 'vitest';
import { BLOCK, bytesOf, closeSound, newEnginePool, rejection } from '../../test/engine-pools.js';
import type { PoolMessageError } from './errors.js';

describe('messages', () => {
  it('do what the kernel does, names in any case', async () => {
    const all = await newEnginePool();
    const { pool } = all;
    await pool.message('create_thin 0');
    await pool.message('CREATE_SNAP 16777215 0'); // largest-thin-id-succeeds
    await pool.message('  Set_Transaction_Id 0   18446744073709551615 ');
    expect([...pool.thins()].map(({ thinId }) => thinId)).toEqual([0, 16777215]);
    expect(pool.statusLine()).toMatch(/^18446744073709551615 /);
    await pool.message('reserve_metadata_snap');
    expect(pool.status().heldRoot).toBeGreaterThan(0);
    await pool.message('release_metadata_snap');
    expect(pool.status().heldRoot).toBeUndefined();
    await pool.message('delete 16777215');
    expect([...pool.thins()].map(({ thinId }) => thinId)).toEqual([0]);
    await closeSound(all);
  });

  it.each([
    ['create_thin 0', 'EEXIST', ['Creation of new thinly-provisioned device with id 0 failed.']],
    ['create_snap 0 0', 'EEXIST', ['Creation of new snapshot 0 of device 0 failed.']],
    ['create_snap 5 4', 'ENODATA', ['Creation of new snapshot 5 of device 4 failed.']],
    ['delete 4', 'ENODATA', ['Deletion of thin device 4 failed.']], // delete-unknown-id-fails
    ['delete 0', 'EBUSY', ['Deletion of thin device 0 failed.']], // delete-active-id-fails
    ['create_thin 16777216', 'EINVAL', ['Message received with invalid device id: 16777216']], // too-large-a-thin-id-fails
    ['create_thin -1', 'EINVAL', ['Message received with invalid device id: -1']],
    ['create_snap 1 x', 'EINVAL', ['Message received with invalid device id: x']],
    ['create_thin', 'EINVAL', ['Message received with 1 arguments instead of 2.']],
    ['create_snap 1 0 2', 'EINVAL', ['Message received with 4 arguments instead of 3.']],
    ['set_transaction_id a 1', 'EINVAL', ['set_transaction_id message: Unrecognised id a.']],
    [
      'set_transaction_id 0 18446744073709551616',
      'EINVAL',
      ['set_transaction_id message: Unrecognised new id 18446744073709551616.'],
    ],
    ['set_transaction_id 7 8', 'EINVAL', ['mismatched transaction id', 'Failed to change transaction id from 7 to 8.']], // set_trans_id_check_first_arg
    [
      'release_metadata_snap',
      'EINVAL',
      ['No pool metadata snapshot found: nothing to release.', 'release_metadata_snap message failed.'],
    ],
    ['create_pool 1', 'EINVAL', ['Unrecognised thin pool target message received: create_pool']],
    ['constructor', 'EINVAL', ['Unrecognised thin pool target message received: constructor']],
    ['', 'EINVAL', ['Unrecognised thin pool target message received: ']],
  ])('`%s` is refused with %s, and changes nothing', async (line, errno, log) => {
    const { pool } = await newEnginePool();
    await pool.message('create_thin 0');
    await pool.openVolume(0, { size: BLOCK });
    const before = pool.statusLine();
    const error = (await rejection(pool.message(line))) as PoolMessageError;
    expect(error).toMatchObject({ code: 'ERR_POOL_MESSAGE', errno, log });
    expect(error.message).toContain(log.at(-1));
    expect(pool.statusLine()).toBe(before);
  });

  it('refuse a second metadata snapshot (cannot_hold_twice, cannot_release_twice, no_initial_hold)', async () => {
    const all = await newEnginePool();
    expect(all.pool.status().heldRoot).toBeUndefined();
    await all.pool.message('reserve_metadata_snap');
    expect(await rejection(all.pool.message('reserve_metadata_snap'))).toMatchObject({
      errno: 'EBUSY',
      log: [
        'Pool metadata snapshot already exists: release this before taking another.',
        'reserve_metadata_snap message failed.',
      ],
    });
    await all.pool.message('release_metadata_snap');
    expect(await rejection(all.pool.message('release_metadata_snap'))).toMatchObject({ errno: 'EINVAL' });
    await closeSound(all);
  });

  it('are refused in a read-only pool, whatever they say (cant_create_new_thins, cant_delete_thins)', async () => {
    const { metadata, data, pool } = await newEnginePool();
    await pool.createThin(0);
    await pool.close();
    const { ThinPool } = await import('./thin-pool.js');
    const readOnly = await ThinPool.open(metadata, data, { readOnly: true });
    for (const line of ['create_thin 1', 'delete 0', 'nonsense', 'set_transaction_id 0 1']) {
      expect(await rejection(readOnly.message(line))).toMatchObject({
        errno: 'EOPNOTSUPP',
        log: ['unable to service pool target messages in READ_ONLY or FAIL mode'],
      });
    }
    expect(await rejection(readOnly.createThin(1))).toMatchObject({ code: 'ERR_POOL_MODE' });
    await readOnly.close();
  });

  it('are still served when the pool has no data block left (delete-after-out-of-space)', async () => {
    const all = await newEnginePool({ nrDataBlocks: 4, errorIfNoSpace: true });
    await all.pool.createThin(0);
    const volume = await all.pool.openVolume(0, { size: 8 * BLOCK });
    expect(await rejection(volume.write(0, bytesOf(1, 8 * BLOCK)))).toMatchObject({ code: 'ERR_NO_SPACE', of: 'data' });
    expect(all.pool.mode).toBe('out_of_data_space');
    await volume.close();
    await all.pool.message('create_thin 1');
    await all.pool.message('delete 0');
    expect(all.pool.mode).toBe('write');
    expect(all.pool.statusLine()).toContain(' 0/4 ');
    await closeSound(all);
  });
});
