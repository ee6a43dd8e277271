/**
 * A clone in use under the error explorer: what requests do to regions that are not hydrated yet, each until it is durable. Each keeps to
 * one region: a request of several that fails may be there in part, as on any device.
 */
import { CloneDevice, checkClone } from '@pdata/clone';
import { SECTOR_SIZE } from '@pdata/device';
import { type ErrorSubject, sectorsOf, turned, valuesIn } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';
import { GARBAGE, MEDIA, NR_SECTORS, OPTIONS, REGION_SECTORS, SIZE, SOURCE } from './clone-subject.js';

const REGION = REGION_SECTORS * SECTOR_SIZE;
const MOST_TURNS = 200;

const flushed = (work: (clone: CloneDevice) => Promise<void>) => async (clone: CloneDevice) => {
  await work(clone);
  await clone.flush();
};

export const subject: ErrorSubject<CloneDevice, typeof MEDIA> = {
  name: 'clone',
  media: MEDIA,
  async prepare({ metadata, destination }) {
    await destination.write(0, sectorsOf(GARBAGE, NR_SECTORS));
    const clone = await CloneDevice.format(metadata, { source: SOURCE, destination }, OPTIONS);
    await clone.write(0, sectorsOf(1, REGION_SECTORS));
    await clone.close();
  },
  open: ({ metadata, destination }) => CloneDevice.open(metadata, { source: SOURCE, destination }, OPTIONS),
  operations: {
    'write to a part of a region': flushed((clone) => clone.write(2 * REGION + SECTOR_SIZE, sectorsOf(2, 1))),
    'write of a whole region': flushed((clone) => clone.write(3 * REGION, sectorsOf(3, REGION_SECTORS))),
    'zeroes over a region': flushed((clone) => clone.writeZeroes(6 * REGION, REGION)),
    'write with force unit access': (clone) => clone.write(7 * REGION, sectorsOf(5, 1), { fua: true }),
    'write, then commit': async (clone) => {
      await clone.write(9 * REGION, sectorsOf(7, 1));
      await clone.commit();
    },
    'write, suspend and resume': async (clone) => {
      await clone.write(9 * REGION, sectorsOf(8, 1));
      await clone.suspend().finally(() => clone.resume());
    },
    'write to the last region, which is short': flushed((clone) => clone.write(11 * REGION, sectorsOf(6, 1))),
  },
  inspect: inWords,
  close: (clone) => clone.close(),
  async recover({ metadata, destination }) {
    for (const { message } of checkClone(metadata)) throw new Error(`the check says: ${message}`);
    const clone = await CloneDevice.open(metadata, { source: SOURCE, destination }, OPTIONS);
    const state = await inWords(clone);
    await clone.close();
    return state;
  },
  sources: allocationFaults,
};

/** What is discarded shows what the destination holds, and nobody empties that. */
export const keepingDiscarded: typeof subject = {
  ...subject,
  name: 'clone, discards not passed down',
  open: ({ metadata, destination }) =>
    CloneDevice.open(metadata, { source: SOURCE, destination }, { ...OPTIONS, noDiscardPassdown: true }),
  operations: { discard: flushed((clone) => clone.discard(4 * REGION, 2 * REGION)) },
};

/** What the background could not copy it tries again. */
export const copying: typeof subject = {
  ...subject,
  name: 'clone, copying',
  operations: {
    'copying of all that is left, then a write': flushed(async (clone) => {
      clone.enableHydration();
      for (let turn = 0; !clone.isComplete && turn < MOST_TURNS; turn++) await turned();
      await clone.write(10 * REGION, sectorsOf(9, 1));
    }),
  },
  mayFail: ['destination write'],
};

async function inWords(clone: CloneDevice): Promise<string> {
  const bytes = new Uint8Array(SIZE);
  await clone.read(0, bytes);
  return valuesIn(bytes).join(' ');
}
