/**
 * How often each block was found to be referred to, to be held against what a space map says.
 *
 * One byte a block. The few blocks with 255 references or more have the byte 255 and their count in a map. Blocks come in
 * bitmaps' worth (16 320), so that a bitmap is compared with its counts in one go:
 *
 *   the first 2056 bitmaps (33 million blocks, 2 TiB of 64 KiB)   one array; the system backs only the pages that are used
 *   what lies behind                                               an array per bitmap, made when its first block is met
 *
 * One array is what makes counting fast: through an array per bitmap 4 million blocks took 1.6 times as long (Node 20,
 * 2026-11). It ends where a claim that nothing backs would begin to cost.
 */
import { ENTRIES_PER_BITMAP } from '../../space-map/bitmap.js';

const IN_MAP = 255;
const MAX_FLAT_BITMAPS = Math.floor(2 ** 25 / ENTRIES_PER_BITMAP);

export class ReferenceCounts {
  /** Blocks that can be counted; the caller keeps to them. */
  readonly nrBlocks: number;
  /** Counts of the first blocks, none behind `nrBlocks`, for the inner loop over mappings: below 255 exact, else see {@link count}. */
  readonly flat: Uint8Array;
  /** The same, to the end of the last bitmap. */
  readonly #firstBitmaps: Uint8Array;
  readonly #chunks = new Map<number, Uint8Array>();
  readonly #large = new Map<number, number>();

  /** @param nrBitmaps bounds what can be counted; the caller has made sure that the metadata could hold as many bitmaps */
  constructor(nrBlocks: number, nrBitmaps: number) {
    this.nrBlocks = Math.min(nrBlocks, nrBitmaps * ENTRIES_PER_BITMAP);
    this.#firstBitmaps = new Uint8Array(Math.min(nrBitmaps, MAX_FLAT_BITMAPS) * ENTRIES_PER_BITMAP);
    this.flat = this.#firstBitmaps.subarray(0, this.nrBlocks);
  }

  inc(blockNr: number): void {
    let counts = this.flat;
    let at = blockNr;
    if (blockNr >= counts.length) {
      const bitmapNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
      counts = this.#chunks.get(bitmapNr) ?? this.#addChunk(bitmapNr);
      at = blockNr - bitmapNr * ENTRIES_PER_BITMAP;
    }
    const count = counts[at] as number;
    if (count < IN_MAP - 1) {
      counts[at] = count + 1;
      return;
    }
    counts[at] = IN_MAP;
    this.#large.set(blockNr, (this.#large.get(blockNr) ?? IN_MAP - 1) + 1);
  }

  count(blockNr: number): number {
    const bitmapNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    const count =
      blockNr < this.flat.length
        ? (this.flat[blockNr] as number)
        : (this.#chunks.get(bitmapNr)?.[blockNr - bitmapNr * ENTRIES_PER_BITMAP] ?? 0);
    return count === IN_MAP ? (this.#large.get(blockNr) as number) : count;
  }

  /** The counts of the blocks of one bitmap, 255 for all above; undefined when all are 0. */
  ofBitmap(bitmapNr: number): Uint8Array | undefined {
    const first = bitmapNr * ENTRIES_PER_BITMAP;
    return first < this.#firstBitmaps.length
      ? this.#firstBitmaps.subarray(first, first + ENTRIES_PER_BITMAP)
      : this.#chunks.get(bitmapNr);
  }

  #addChunk(bitmapNr: number): Uint8Array {
    const chunk = new Uint8Array(ENTRIES_PER_BITMAP);
    this.#chunks.set(bitmapNr, chunk);
    return chunk;
  }
}
