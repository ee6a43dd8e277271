/**
 * Reference counts of data blocks while a pool is restored: random access now, written out as a space map at the end.
 *
 * One byte a block, in chunks that each stand for one bitmap of the map to come (16 320 blocks) and exist only where
 * something is mapped. The few counts that a byte cannot hold are in a map besides.
 */
import { ENTRIES_PER_BITMAP } from '@pdata/persistent-data';

/** In a chunk: the count is in the map. */
const IN_MAP = 255;

export class DataCounts {
  readonly nrBlocks: number;
  readonly #chunks: (Uint8Array | undefined)[] = [];
  readonly #large = new Map<number, number>();

  constructor(nrBlocks: number) {
    this.nrBlocks = nrBlocks;
  }

  /** One more reference to each of `nr` blocks from `block` on; all must be below `nrBlocks`. */
  inc(block: number, nr: number): void {
    for (let at = block; at < block + nr; at++) {
      const chunkNr = Math.floor(at / ENTRIES_PER_BITMAP);
      const chunk = this.#chunks[chunkNr] ?? this.#newChunk(chunkNr);
      const entry = at - chunkNr * ENTRIES_PER_BITMAP;
      const count = (chunk[entry] as number) + 1;
      if (count < IN_MAP) chunk[entry] = count;
      else this.#set(at, this.count(at) + 1);
    }
  }

  /** One reference less to `block`, which must have one. */
  dec(block: number): void {
    this.#set(block, this.count(block) - 1);
  }

  count(block: number): number {
    const count = this.#chunks[Math.floor(block / ENTRIES_PER_BITMAP)]?.[block % ENTRIES_PER_BITMAP] ?? 0;
    return count === IN_MAP ? (this.#large.get(block) as number) : count;
  }

  /** The bytes of bitmap `bitmapNr`'s blocks: counts, or 255 for larger ones; undefined when all are 0. */
  chunk(bitmapNr: number): Uint8Array | undefined {
    return this.#chunks[bitmapNr];
  }

  #newChunk(chunkNr: number): Uint8Array {
    // Without holes the array stays one of plain elements, which is what makes `inc` cheap.
    while (this.#chunks.length <= chunkNr) this.#chunks.push(undefined);
    const chunk = new Uint8Array(ENTRIES_PER_BITMAP);
    this.#chunks[chunkNr] = chunk;
    return chunk;
  }

  #set(block: number, count: number): void {
    const chunk = this.#chunks[Math.floor(block / ENTRIES_PER_BITMAP)] as Uint8Array;
    chunk[block % ENTRIES_PER_BITMAP] = Math.min(count, IN_MAP);
    if (count >= IN_MAP) this.#large.set(block, count);
    else this.#large.delete(block);
  }
}
