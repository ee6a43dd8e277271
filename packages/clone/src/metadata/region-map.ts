/**
 * A set of regions in memory, a bit each. Holds which regions are hydrated now (which may be ahead of the disk), and which have
 * yet to be written.
 *
 * Words of 64 regions, as on the disk: element 2w of `bits` is the low half of word w, 2w + 1 the high one. Bits past the last
 * region are always clear.
 */
import { lowestBit, popCount } from '@pdata/persistent-data';

export class RegionMap {
  readonly nrRegions: number;
  readonly bits: Uint32Array;
  #nrSet = 0;

  constructor(nrRegions: number) {
    this.nrRegions = nrRegions;
    this.bits = new Uint32Array(2 * Math.ceil(nrRegions / 64));
  }

  get nrSet(): number {
    return this.#nrSet;
  }

  get isFull(): boolean {
    return this.#nrSet === this.nrRegions;
  }

  has(regionNr: number): boolean {
    return (((this.bits[regionNr >>> 5] as number) >>> (regionNr & 31)) & 1) === 1;
  }

  /** Sets those of the 32 regions from 32 * `half` on that `mask` names; returns which of them were not set before. */
  add(half: number, mask: number): number {
    const added = mask & ~(this.bits[half] as number);
    if (added === 0) return 0;
    this.bits[half] = (this.bits[half] as number) | added;
    this.#nrSet += popCount(added);
    return added;
  }

  /** Sets regions `begin` to `end` (exclusive); `onAdded` is told which were not set before, by half words. */
  addRange(begin: number, end: number, onAdded: (half: number, mask: number) => void = () => {}): void {
    for (let from = begin; from < end; ) {
      const half = from >>> 5;
      const nextHalf = (half + 1) * 32;
      const below = end >= nextHalf ? 0xffffffff : (1 << (end & 31)) - 1;
      const added = this.add(half, below & (0xffffffff << (from & 31)));
      if (added !== 0) onAdded(half, added);
      from = nextHalf;
    }
  }

  /** Clears all regions of words `begin` to `end` (exclusive). */
  clearWords(begin: number, end: number): void {
    for (let half = 2 * begin; half < 2 * end; half++) this.#nrSet -= popCount(this.bits[half] as number);
    this.bits.fill(0, 2 * begin, 2 * end);
  }

  /** The first region from `from` on that is not set; `nrRegions` when there is none. */
  nextClear(from: number): number {
    return this.#next(from, 0xffffffff);
  }

  /** The first region from `from` on that is set; `nrRegions` when there is none. */
  nextSet(from: number): number {
    return this.#next(from, 0);
  }

  /** The first bit from `from` on that is set after `flip` has been applied to its half word. */
  #next(from: number, flip: number): number {
    const { bits, nrRegions } = this;
    if (from >= nrRegions) return nrRegions;
    let half = from >>> 5;
    let wanted = ((bits[half] as number) ^ flip) & (0xffffffff << (from & 31));
    while (wanted === 0) {
      if (++half >= bits.length) return nrRegions;
      wanted = (bits[half] as number) ^ flip;
    }
    return Math.min(half * 32 + lowestBit(wanted), nrRegions);
  }
}
