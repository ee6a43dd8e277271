/**
 * A clone in use under the error explorer: what requests do to regions that are not hydrated yet, each until it is durable. Each keeps to
 * one region: a request of several that fails may be there in part, as on any device.
 */
import { CloneDevice, checkClone } from '@pdata/clone';
import { SECTOR_SIZE } from '@pdata/device';
import { type ErrorSubject, sectorsOf, valuesIn } from '@pdata/testing';
import { allocationFaults } from './allocation-faults.js';
import { GARBAGE, MEDIA, NR_SECTORS, OPTIONS, REGION_SECTORS, SIZE, SOURCE } from './clone-subject.js';

const REGION = REGION_SECTORS * SECTOR_SIZE;

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

async function inWords(clone: CloneDevice): Promise<string> {
  const bytes = new Uint8Array(SIZE);
  await clone.read(0, bytes);
  return valuesIn(bytes).join(' ');
}
