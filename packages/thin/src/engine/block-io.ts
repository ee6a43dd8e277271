/**
 * A request's part in one block: looked up, and read from or written to the data block, or provisioned.
 *
 * The part's place in the queue of its volume is held until it is done: so a block that is read is not replaced, and what
 * it had is not used for something else; and what overlaps is done in order.
 *
 * Format: docs/format/thin.md, section 9.
 */
import type { DataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import type { PoolCore } from './pool-core.js';
import { type BlockWrite, provision } from './provisioning.js';
import type { VolumeAccess } from './volume-access.js';

const FUA = { fua: true };

/** Reads `into.length` bytes from byte `at` of a virtual block. */
export async function readInBlock(
  volume: VolumeAccess,
  virtualBlock: number,
  at: number,
  into: Uint8Array,
): Promise<void> {
  const { core, thin, externalOrigin } = volume;
  const begin = virtualBlock * core.blockSize + at;
  const entry = thin.queue.enter(virtualBlock, begin, begin + into.length, false);
  try {
    if (!entry.granted) await thin.queue.granting(entry);
    core.refuseFailed();
    const mapping = core.metadata.find(thin.thinId, virtualBlock);
    if (mapping !== undefined) await core.data.read(mapping.dataBlock * core.blockSize + at, into);
    else if (externalOrigin === undefined) into.fill(0);
    else await readOrigin(externalOrigin, begin, into);
  } finally {
    thin.queue.leave(entry);
  }
}

/** What an origin has, and zeros past its end. */
async function readOrigin(origin: DataDevice, offset: number, into: Uint8Array): Promise<void> {
  const nrThere = Math.max(0, Math.min(into.length, origin.size - offset));
  if (nrThere > 0) await origin.read(offset, nrThere === into.length ? into : into.subarray(0, nrThere));
  into.fill(0, nrThere);
}

/**
 * Writes `from` at byte `at` of a virtual block; with `fua`, true says that it is durable already. The caller is behind
 * `thin.writers`, and is let out while it waits for space.
 */
export async function writeInBlock(
  volume: VolumeAccess,
  virtualBlock: number,
  at: number,
  from: Uint8Array,
  fua: boolean,
): Promise<boolean> {
  const { core, thin } = volume;
  const begin = virtualBlock * core.blockSize + at;
  const entry = thin.queue.enter(virtualBlock, begin, begin + from.length, true);
  let noSpace: NoSpaceError | undefined;
  try {
    if (!entry.granted) await thin.queue.granting(entry);
    core.refuseFailed();
    const mapping = core.metadata.find(thin.thinId, virtualBlock);
    if (mapping !== undefined && !mapping.shared) {
      const durable = fua && thin.abortedBy === undefined && !core.hasUncommitted(thin); // what leads to it is
      await core.data.write(mapping.dataBlock * core.blockSize + at, from, durable ? FUA : undefined);
      return durable;
    }
    thin.queue.widen(entry, virtualBlock * core.blockSize, (virtualBlock + 1) * core.blockSize);
    if (!entry.granted) await thin.queue.granting(entry);
    if (await provision(volume, { virtualBlock, at, length: from.length, from, keepAllocated: false })) return false;
  } catch (error) {
    if (!waitsForSpace(core, error)) throw error;
    noSpace = error;
  } finally {
    thin.queue.leave(entry);
  }
  if (noSpace !== undefined) await waitForSpace(volume);
  return writeInBlock(volume, virtualBlock, at, from, fua);
}

/** As {@link writeInBlock}, of zeros, for which an unmapped block is as good as a mapped one unless it is to be `provisioned`. */
export async function zeroInBlock(volume: VolumeAccess, write: BlockWrite, provisioned: boolean): Promise<void> {
  const { core, thin, externalOrigin } = volume;
  const { virtualBlock, at, length, keepAllocated } = write;
  const blockBegin = virtualBlock * core.blockSize;
  const entry = thin.queue.enter(virtualBlock, blockBegin + at, blockBegin + at + length, true);
  let noSpace: NoSpaceError | undefined;
  try {
    if (!entry.granted) await thin.queue.granting(entry);
    core.refuseFailed();
    const mapping = core.metadata.find(thin.thinId, virtualBlock);
    if (mapping === undefined && !provisioned && externalOrigin === undefined) return; // a hole is zeros
    if (mapping !== undefined && !mapping.shared) {
      await core.data.writeZeroes(mapping.dataBlock * core.blockSize + at, length, { keepAllocated });
      return;
    }
    thin.queue.widen(entry, blockBegin, blockBegin + core.blockSize);
    if (!entry.granted) await thin.queue.granting(entry);
    if (await provision(volume, write)) return;
  } catch (error) {
    if (!waitsForSpace(core, error)) throw error;
    noSpace = error;
  } finally {
    thin.queue.leave(entry);
  }
  if (noSpace !== undefined) await waitForSpace(volume);
  return zeroInBlock(volume, write, provisioned);
}

function waitsForSpace(core: PoolCore, error: unknown): error is NoSpaceError {
  return error instanceof NoSpaceError && error.of === 'data' && !core.errorIfNoSpace && !core.closed;
}

/** It has written nothing yet: so it does not hold up a snapshot, nor anybody who wants the same block. */
async function waitForSpace(volume: VolumeAccess): Promise<void> {
  const { core, thin } = volume;
  if (core.mode !== 'out_of_data_space') return; // there is some again already, or no hope of any
  thin.writers.leave();
  try {
    await core.space.wait(volume);
  } finally {
    await thin.writers.enter();
  }
}
