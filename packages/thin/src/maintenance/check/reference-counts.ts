/**
 * How often each block was found to be referred to, to be held against what a space map says.
 *
 * One byte a block, in chunks of as many blocks as a bitmap has entries (16 320), made when their first block is met: memory
 * follows the blocks in use, whatever size a superblock claims, and a chunk is compared with its bitmap in one go. The few
 * blocks with 255 references or more have the byte 255 and their count in a map.
 */
import { ENTRIES_PER_BITMAP } from '@pdata/persistent-data';

const IN_MAP = 255;

export class ReferenceCounts {
  /** Blocks that can be counted; the caller keeps to them. */
  readonly nrBlocks: number;
  /** One per bitmap; undefined while no block of it was counted. Read by the comparison, written here and by `countMappings`. */
  readonly chunks: (Uint8Array | undefined)[];
  readonly #large = new Map<number, number>();

  /** @param nrBitmaps bounds the chunks; the caller has made sure that the metadata could hold as many bitmaps */
  constructor(nrBlocks: number, nrBitmaps: number) {
    this.nrBlocks = Math.min(nrBlocks, nrBitmaps * ENTRIES_PER_BITMAP);
    this.chunks = new Array<Uint8Array | undefined>(nrBitmaps).fill(undefined);
  }

  inc(blockNr: number): void {
    const index = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    const chunk = this.chunks[index] ?? this.addChunk(index);
    const entry = blockNr - index * ENTRIES_PER_BITMAP;
    const count = chunk[entry] as number;
    if (count < IN_MAP - 1) chunk[entry] = count + 1;
    else this.incLarge(chunk, entry, blockNr);
  }

  count(blockNr: number): number {
    const index = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    const count = this.chunks[index]?.[blockNr - index * ENTRIES_PER_BITMAP] ?? 0;
    return count === IN_MAP ? (this.#large.get(blockNr) as number) : count;
  }

  /** @internal for the inner loop over mappings */
  addChunk(index: number): Uint8Array {
    const chunk = new Uint8Array(ENTRIES_PER_BITMAP);
    this.chunks[index] = chunk;
    return chunk;
  }

  /** @internal for the inner loop over mappings: the count is 254 or more */
  incLarge(chunk: Uint8Array, entry: number, blockNr: number): void {
    chunk[entry] = IN_MAP;
    this.#large.set(blockNr, (this.#large.get(blockNr) ?? IN_MAP - 1) + 1);
  }
}
