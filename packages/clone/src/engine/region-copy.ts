/**
 * Copying regions from the source to the destination, in pieces, a few of them at a time.
 *
 * What the source knows to be zeros is not read, and pieces full of zeros are not written where the destination has a quicker
 * way to zeros: the clone of a sparse image stays sparse.
 */
import { type BlockBuffers, inWords } from '@pdata/device/engine';
import type { CloneCore } from './clone-core.js';
import type { SourceExtents } from './source-extents.js';

/** Bytes; more are copied in several pieces. */
export const LARGEST_PIECE = 2 ** 20;
/** Pieces of one copy that are on their way at the same time. */
const LANES = 2;

/**
 * Copies regions `begin`..`end` (exclusive), and marks them hydrated. Rejects when any of it could not be copied.
 * @param extents whom to ask what need not be read; a copy that somebody waits for does not ask
 */
export async function copyRegions(
  core: CloneCore,
  begin: number,
  end: number,
  buffers: BlockBuffers,
  extents?: SourceExtents,
): Promise<void> {
  const last = core.endOf(end - 1);
  let next = begin * core.regionBytes;
  let hasFailed = false;
  const lane = async (): Promise<void> => {
    while (next < last && !hasFailed) {
      const at = next;
      next = Math.min(last, at + buffers.size);
      try {
        await copyPiece(core, at, next, buffers, extents);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  const nrPieces = Math.ceil((last - next) / buffers.size);
  const lanes = nrPieces === 1 ? [lane()] : Array.from({ length: Math.min(LANES, nrPieces) }, lane);
  // All of them have to end: nothing of a copy may land when it is over.
  for (const result of await Promise.allSettled(lanes)) if (result.status === 'rejected') throw result.reason;
  core.markHydrated(begin, end);
}

async function copyPiece(
  { source, destination }: CloneCore,
  begin: number,
  end: number,
  buffers: BlockBuffers,
  extents: SourceExtents | undefined,
): Promise<void> {
  if (extents !== undefined && (await extents.areZeros(begin, end))) {
    await destination.writeZeroes(begin, end - begin);
    return;
  }
  const buffer = await buffers.take();
  try {
    const piece = end - begin === buffer.length ? buffer : buffer.subarray(0, end - begin);
    await source.read(begin, piece);
    if (destination.hints.fastZeroes && isZero(piece)) await destination.writeZeroes(begin, piece.length);
    else await destination.write(begin, piece);
  } finally {
    buffers.giveBack(buffer);
  }
}

/** Most data show by their first word that they are none. Pieces are whole sectors at the start of a buffer of their own. */
function isZero(bytes: Uint8Array): boolean {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (let at = 0; at < words.length; at++) if (words[at] !== 0) return false;
  return true;
}

/** For messages. */
export const copyInWords = (begin: number, end: number, error: unknown): string =>
  `cannot hydrate ${end - begin === 1 ? `region ${begin}` : `regions ${begin} to ${end - 1}`}: ${inWords(error)}`;
