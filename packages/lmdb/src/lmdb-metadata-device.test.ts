/** The device on LMDB: the contract of every metadata device, and what is special about this one. */
import { BLOCK_SIZE } from '@pdata/device';
import { metadataDeviceConformance } from '@pdata/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { temporaryEnvironment } from '../test/temporary-environment.js';

describe('a device in an environment of many pools', () => {
  const { environment, end } = temporaryEnvironment();
  afterAll(end);
  let nrPools = 0;
  for (const { name, run } of metadataDeviceConformance({
    create: (nrBlocks) => environment.createPool(`pool ${++nrPools}`, { nrBlocks }),
    reopen: (closed, mode) => environment.openPool(/"(.*)"/.exec(closed.name)?.[1] ?? '', { mode }),
  })) {
    it(name, run);
  }
});

describe('a device that spills after every other block', () => {
  const { environment, end } = temporaryEnvironment();
  afterAll(end);
  let nrPools = 0;
  for (const { name, run } of metadataDeviceConformance({
    create: (nrBlocks) => environment.createPool(`pool ${++nrPools}`, { nrBlocks, maxStagedBytes: 2 * BLOCK_SIZE }),
    reopen: (closed, mode) => environment.openPool(/"(.*)"/.exec(closed.name)?.[1] ?? '', { mode }),
    nrRandomWorkloads: 10,
  })) {
    it(name, run);
  }
});

it('says that its flush is a transaction', () => {
  const { environment, end } = temporaryEnvironment();
  expect(environment.createPool('pool', { nrBlocks: 3 }).flushIsAtomic).toBe(true);
  return end();
});
