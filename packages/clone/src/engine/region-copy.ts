/**
 * Copying regions from the source to the destination, in pieces, a few of them at a time.
 *
 * What the source knows to be zeros is not read, and 64 KiB full of zeros are not written where the destination has a quicker way to
 * zeros: the clone of a sparse image stays sparse.
 */
import { type BlockBuffers, inWords } from '@pdata/device/engine';
import type { CloneCore } from './clone-core.js';
import { appendPart, type CopyPart, SHORTEST_ZEROS, type SourceExtents } from './source-extents.js';

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
  core: CloneCore,
  begin: number,
  end: number,
  buffers: BlockBuffers,
  extents: SourceExtents | undefined,
): Promise<void> {
  const parts = extents === undefined ? [{ begin, end, isZero: false }] : await extents.parts(begin, end);
  for (const part of parts) {
    if (part.isZero) await core.destination.writeZeroes(part.begin, part.end - part.begin);
    else await copyData(core, part.begin, part.end, buffers);
  }
}

async function copyData(
  { source, destination }: CloneCore,
  begin: number,
  end: number,
  buffers: BlockBuffers,
): Promise<void> {
  const buffer = await buffers.take();
  try {
    const bytes = end - begin === buffer.length ? buffer : buffer.subarray(0, end - begin);
    await source.read(begin, bytes);
    const parts = destination.hints.fastZeroes ? partsOf(bytes) : [{ begin: 0, end: bytes.length, isZero: false }];
    for (const part of parts) {
      if (part.isZero) await destination.writeZeroes(begin + part.begin, part.end - part.begin);
      else if (part.end - part.begin === bytes.length) await destination.write(begin, bytes);
      else await destination.write(begin + part.begin, bytes.subarray(part.begin, part.end));
    }
  } finally {
    buffers.giveBack(buffer);
  }
}

/** What is zeros and what is not, in units of {@link SHORTEST_ZEROS}. Most data show by their first word that they are none. */
function partsOf(bytes: Uint8Array): CopyPart[] {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4); // whole sectors, from a buffer's beginning on
  const parts: CopyPart[] = [];
  for (let begin = 0; begin < bytes.length; begin += SHORTEST_ZEROS) {
    const end = Math.min(bytes.length, begin + SHORTEST_ZEROS);
    let word = begin / 4;
    while (word < end / 4 && words[word] === 0) word++;
    appendPart(parts, { begin, end, isZero: word === end / 4 });
  }
  return parts;
}

/** For messages. */
export const copyInWords = (begin: number, end: number, error: unknown): string =>
  `cannot hydrate ${end - begin === 1 ? `region ${begin}` : `regions ${begin} to ${end - 1}`}: ${inWords(error)}`;
