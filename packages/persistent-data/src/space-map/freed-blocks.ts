/** A set of block numbers, one bit each, that takes memory only where it has some: two KiB for 16 320 neighbours. */
import { ENTRIES_PER_BITMAP } from './bitmap.js';

export class FreedBlocks {
  readonly #parts = new Map<number, Uint8Array>();

  add(blockNr: number): void {
    const partNr = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    let part = this.#parts.get(partNr);
    if (part === undefined) {
      part = new Uint8Array(ENTRIES_PER_BITMAP / 8);
      this.#parts.set(partNr, part);
    }
    const bit = blockNr % ENTRIES_PER_BITMAP;
    part[bit >>> 3] = (part[bit >>> 3] as number) | (1 << (bit & 7));
  }

  has(blockNr: number): boolean {
    const bit = blockNr % ENTRIES_PER_BITMAP;
    const part = this.#parts.get(Math.floor(blockNr / ENTRIES_PER_BITMAP));
    return part !== undefined && ((part[bit >>> 3] as number) & (1 << (bit & 7))) !== 0;
  }
}
