/**
 * Giving a virtual block a data block of its own, with what was written to it.
 *
 *   what was there                      what the new data block holds besides
 *   nothing                             zeros (or, with `skipBlockZeroing`, whatever it held before)
 *   nothing, over an external origin    the origin's data, and zeros past its end
 *   a data block shared with others     a copy of it
 *   all of it is written                nothing of it
 *
 * In this order: data block allocated; data written; mapping inserted. So whoever finds a mapping finds its data. All of it
 * is inside the pool's gate: no commit comes between. The caller has the whole virtual block to itself meanwhile.
 *
 * Format: docs/format/thin.md, section 9.
 */
import type { DataDevice } from '@pdata/device';
import { AbortedChangesError } from '@pdata/device/engine';
import { NoSpaceError } from '@pdata/persistent-data';
import type { Mapping } from '../metadata/mappings.js';
import type { PoolCore } from './pool-core.js';
import type { VolumeAccess } from './volume-access.js';

/** What is written into one virtual block. */
export interface BlockWrite {
  readonly virtualBlock: number;
  /** Bytes from the block's beginning on. */
  readonly at: number;
  readonly length: number;
  /** `length` bytes; undefined for zeros. */
  readonly from: Uint8Array | undefined;
  /** Of zeros: whether the data device is to keep space for them. */
  readonly keepAllocated: boolean;
}

/**
 * Gives the block a data block, unless it turns out to have one. False then: look again.
 * @throws {@link NoSpaceError} when there is none
 */
export async function provision(volume: VolumeAccess, write: BlockWrite): Promise<boolean> {
  const { core } = volume;
  for (let nrTries = 0; ; nrTries++) {
    try {
      return await core.changing(() => provisionInside(volume, write));
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw error;
      if (nrTries > 0) {
        if (error.of === 'data') core.outOfDataSpace();
        throw error;
      }
    }
    // What this transaction gave back can be had after a commit.
    if (core.mode === 'write') await core.commit();
  }
}

async function provisionInside(volume: VolumeAccess, write: BlockWrite): Promise<boolean> {
  const { core, thin } = volume;
  core.refuseUnchangeable();
  // An abort may have changed it while this waited at the gate.
  const old = core.metadata.find(thin.thinId, write.virtualBlock);
  if (old !== undefined && !old.shared) return false;
  const dataBlock = core.allocate();
  const { nrAborts } = core;
  try {
    await fill(volume, dataBlock, write, old);
  } catch (error) {
    if (nrAborts === core.nrAborts) giveBack(core, dataBlock);
    throw error;
  }
  if (nrAborts !== core.nrAborts)
    throw new AbortedChangesError('the write was lost with a transaction that was thrown away meanwhile');
  try {
    core.change('map a data block', thin, (metadata) => metadata.insert(thin.thinId, write.virtualBlock, dataBlock));
  } catch (error) {
    if (nrAborts === core.nrAborts) giveBack(core, dataBlock);
    throw error;
  }
  return true;
}

function giveBack(core: PoolCore, dataBlock: number): void {
  core.change('give back a data block', undefined, (metadata) => metadata.decDataBlocks(dataBlock, dataBlock + 1));
}

/** Writes all that `dataBlock` is to hold. */
async function fill(
  { core, externalOrigin }: VolumeAccess,
  dataBlock: number,
  write: BlockWrite,
  old: Mapping | undefined,
): Promise<void> {
  const { data, blockSize, settings } = core;
  const { at, length, from, virtualBlock, keepAllocated } = write;
  const begin = dataBlock * blockSize;
  if (length === blockSize) {
    if (from === undefined) await data.writeZeroes(begin, blockSize, { keepAllocated });
    else await data.write(begin, from);
    return;
  }
  if (old !== undefined) {
    await copy(core, begin, write, data, old.dataBlock * blockSize, blockSize);
    return;
  }
  const originBegin = virtualBlock * blockSize;
  if (externalOrigin !== undefined && originBegin < externalOrigin.size) {
    const nrThere = Math.min(blockSize, externalOrigin.size - originBegin);
    await copy(core, begin, write, externalOrigin, originBegin, nrThere);
    return;
  }
  if (settings.skipBlockZeroing) {
    if (from === undefined) await data.writeZeroes(begin + at, length, { keepAllocated });
    else await data.write(begin + at, from);
    return;
  }
  await writeAmongZeros(core, begin, write);
}

/**
 * The written part, zeros around it: in one write where a block fits a buffer. Unless zeroing is cheap: most blocks are fresh
 * from the data device, which then need not be told, and 4 KiB are written instead of 64.
 */
async function writeAmongZeros(core: PoolCore, begin: number, write: BlockWrite): Promise<void> {
  const { data, blockSize, zeroBuffers } = core;
  const { at, length, from, keepAllocated } = write;
  if (from === undefined) {
    await data.writeZeroes(begin, blockSize, { keepAllocated });
    return;
  }
  if (core.zeroesQuickly || blockSize > zeroBuffers.size) {
    await data.writeZeroes(begin, blockSize);
    await data.write(begin + at, from);
    return;
  }
  const buffer = await zeroBuffers.take();
  try {
    buffer.set(from, at);
    await data.write(begin, buffer);
  } finally {
    buffer.fill(0, at, at + length);
    zeroBuffers.giveBack(buffer);
  }
}

/** The block at `sourceBegin` of `source`, of which `nrThere` bytes are there and zeros follow, with the written part in it. */
async function copy(
  core: PoolCore,
  begin: number,
  { at, length, from }: BlockWrite,
  source: DataDevice,
  sourceBegin: number,
  nrThere: number,
): Promise<void> {
  const { data, blockSize, buffers } = core;
  const buffer = await buffers.take();
  try {
    for (let done = 0; done < blockSize; done += buffer.length) {
      const piece = done + buffer.length <= blockSize ? buffer : buffer.subarray(0, blockSize - done);
      const nrToRead = Math.max(0, Math.min(piece.length, nrThere - done));
      const nrNew = Math.min(at + length, done + piece.length) - Math.max(at, done);
      if (nrNew < piece.length) {
        if (nrToRead > 0) await source.read(sourceBegin + done, piece.subarray(0, nrToRead));
        piece.fill(0, nrToRead);
      }
      if (nrNew > 0) {
        const newAt = Math.max(at, done);
        if (from === undefined) piece.fill(0, newAt - done, newAt - done + nrNew);
        else piece.set(from.subarray(newAt - at, newAt - at + nrNew), newAt - done);
      }
      await data.write(begin + done, piece);
    }
  } finally {
    buffers.giveBack(buffer);
  }
}
