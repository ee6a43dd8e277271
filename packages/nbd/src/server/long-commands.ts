/**
 * Commands that take more than one call of the device: long ranges in pieces, ranges that are not whole sectors, reads with holes.
 *
 * Between pieces the event loop has its turn, and a client that has left stops them: what it asked for may be undone in part, as it
 * would be after a crash. All ranges have been checked against the size of the device before.
 */
import { ClosedError, type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { COMMAND_FLAG, NBD_ERROR } from '../protocol/constants.js';
import { RequestRefused } from './error-numbers.js';

/** Bytes of one call of `discard` or `writeZeroes`. */
const PIECE = 64 * 2 ** 20;

/** Tells that nobody waits any more. */
export type IsAbandoned = () => boolean;

export const sectorFloor = (at: number): number => at - (at % SECTOR_SIZE);
export const sectorCeil = (at: number): number => at + ((SECTOR_SIZE - (at % SECTOR_SIZE)) % SECTOR_SIZE);

/** Writes bytes that begin or end inside a sector. The caller keeps other writes off these sectors. */
export async function writeInsideSectors(
  device: DataDevice,
  offset: number,
  from: Uint8Array,
  fua: boolean,
): Promise<void> {
  const begin = sectorFloor(offset);
  const end = sectorCeil(offset + from.length);
  const whole = Buffer.allocUnsafe(end - begin);
  const lastSector = end - SECTOR_SIZE;
  await device.read(begin, whole.subarray(0, SECTOR_SIZE));
  if (lastSector > begin) await device.read(lastSector, whole.subarray(lastSector - begin));
  whole.set(from, offset - begin);
  await device.write(begin, whole, { fua });
}

/** WRITE_ZEROES. The caller keeps other writes off the sectors that the range covers in part. */
export async function writeZeroes(
  device: DataDevice,
  range: { readonly offset: number; readonly length: number },
  flags: number,
  isAbandoned: IsAbandoned,
): Promise<void> {
  const keepAllocated = (flags & COMMAND_FLAG.NO_HOLE) !== 0;
  const fua = (flags & COMMAND_FLAG.FUA) !== 0;
  // `fastZeroes` says nothing of zeros that keep their space, so for those the answer is the safe one.
  if ((flags & COMMAND_FLAG.FAST_ZERO) !== 0 && (keepAllocated || !device.hints.fastZeroes)) {
    throw new RequestRefused(NBD_ERROR.ENOTSUP, 'zeros are not faster than data here');
  }
  const end = range.offset + range.length;
  const begin = Math.min(sectorCeil(range.offset), end);
  const wholeEnd = Math.max(sectorFloor(end), begin);
  const isOneCall = begin === range.offset && wholeEnd === end && range.length <= PIECE;
  if (isOneCall) return device.writeZeroes(range.offset, range.length, { fua, keepAllocated });

  if (begin > range.offset) await zeroInsideSectors(device, range.offset, begin);
  await inPieces(begin, wholeEnd, isAbandoned, (at, length) => device.writeZeroes(at, length, { keepAllocated }));
  if (end > wholeEnd) await zeroInsideSectors(device, wholeEnd, end);
  if (fua) await device.flush();
}

/** TRIM of whole sectors. */
export async function trim(
  device: DataDevice,
  begin: number,
  end: number,
  fua: boolean,
  isAbandoned: IsAbandoned,
): Promise<void> {
  if (end - begin <= PIECE) return device.discard(begin, end - begin, { fua });
  await inPieces(begin, end, isAbandoned, (at, length) => device.discard(at, length));
  if (fua) await device.flush();
}

/** What a READ finds: zeros, or data to be read. In order, without gaps. */
export interface ReadPart {
  readonly offset: number;
  readonly length: number;
  readonly isZero: boolean;
}

/** So many parts are worth a chunk each; a range in more crumbs is read as data. */
const MAX_PARTS = 64;

/**
 * Where a range of whole sectors holds zeros that need not be read; undefined when it is all data, or nothing is known.
 * Who asks has to ask before the read, not during it: a part called zero is not looked at again.
 */
export async function partsWithHoles(
  device: DataDevice,
  offset: number,
  length: number,
): Promise<ReadPart[] | undefined> {
  const end = offset + length;
  const parts: ReadPart[] = [];
  let at = offset;
  try {
    for (const extent of await device.allocation(offset, length)) {
      const isZero = extent.state !== 'data';
      const extentEnd = Math.min(extent.offset + extent.length, end);
      if (extentEnd <= at) continue;
      if (parts.length === MAX_PARTS) return undefined;
      parts.push({ offset: at, length: extentEnd - at, isZero });
      at = extentEnd;
    }
  } catch {
    return undefined; // then the read says what is wrong, if it is still
  }
  if (!parts.some(({ isZero }) => isZero)) return undefined;
  if (at < end) parts.push({ offset: at, length: end - at, isZero: false });
  return parts;
}

/** Calls `work` for one piece after the other. */
async function inPieces(
  begin: number,
  end: number,
  isAbandoned: IsAbandoned,
  work: (at: number, length: number) => Promise<void>,
): Promise<void> {
  for (let at = begin; at < end; at += PIECE) {
    if (isAbandoned()) throw new ClosedError('the client left before its request was done');
    await work(at, Math.min(PIECE, end - at));
    if (at + PIECE < end) await new Promise(setImmediate);
  }
}

/** Zeros from `begin` to `end`, inside one sector or across one border between two. */
const zeroInsideSectors = (device: DataDevice, begin: number, end: number): Promise<void> =>
  writeInsideSectors(device, begin, new Uint8Array(end - begin), false);
