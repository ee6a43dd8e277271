import { rejection } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { bytesOf, newClone, REGION } from '../../test/engine-clones.js';
import type { CloneMessageError } from './errors.js';

describe('a message', () => {
  it.each([
    ['hydration_threshold 7', { hydrationThreshold: 7 }],
    ['hydration_threshold +7', { hydrationThreshold: 7 }],
    ['HYDRATION_BATCH_SIZE 4294967295', { hydrationBatchSize: 4_294_967_295 }],
    ['hydration_batch_size 0', { hydrationBatchSize: 0 }],
    ['  enable_hydration  ', { hydrationEnabled: true }],
    ['enable_hydration and more', { hydrationEnabled: true }],
    ['disable_hydration', { hydrationEnabled: false }],
    ['disable_hydration 1 2 3', { hydrationEnabled: false }],
  ])('"%s" does it', async (line, becomes) => {
    const { clone } = await newClone({ hydrationThreshold: 0 });
    await clone.message(line);
    expect(clone.status()).toMatchObject(becomes);
  });

  it.each([
    ['', []],
    ['hydrate', []],
    ['hydrate now', ["Unsupported message `hydrate'"]],
    ['Hydrate now', ["Unsupported message `Hydrate'"]],
    ['hydrate it now', []],
    ['hydration_threshold', []],
    ['hydration_threshold x', []],
    ['hydration_threshold -1', []],
    ['hydration_threshold 4294967296', []],
    ['hydration_threshold 1 2', []],
    ['hydration_batch_size 1.5', []],
    ['hydration_batch_size 0x10', []],
  ])('"%s" is refused, and nothing changes', async (line, log) => {
    const { clone } = await newClone();
    const before = clone.status();
    const error = (await rejection(clone.message(line))) as CloneMessageError;
    expect([error.code, error.errno, error.log]).toEqual(['ERR_CLONE_MESSAGE', 'EINVAL', log]);
    expect(error.message).toMatch(
      log.length > 0 ? /^Unsupported message `[Hh]ydrate' \(EINVAL\)$/ : /^cannot understand the message /,
    );
    expect(clone.status()).toEqual(before);
  });
});

describe('the status line', () => {
  it('says what the kernel says', async () => {
    const { clone } = await newClone({ nrRegions: 100, hydrationThreshold: 0 });
    expect(clone.statusLine()).toBe(
      '8 6/64 8 0/100 0 1 no_hydration 4 hydration_threshold 0 hydration_batch_size 1 rw',
    );
    clone.enableHydration();
    await clone.write(0, bytesOf(0x91, 20 * REGION));
    clone.setHydrationBatchSize(16);
    expect(clone.statusLine()).toBe('8 6/64 8 20/100 0 0 4 hydration_threshold 0 hydration_batch_size 16 rw');
  });

  it('counts what is on its way', async () => {
    const { clone, source } = await newClone();
    const held = source.hold('read');
    const write = clone.write(512, bytesOf(0x91, 512));
    await held.untilHeld();
    expect(clone.statusLine()).toContain(' 0/64 1 1 no_hydration ');
    held.release();
    await write;
  });
});
