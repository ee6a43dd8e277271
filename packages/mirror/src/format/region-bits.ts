/**
 * One bit for each region, in the order of the log: bit i is bit i % 8 of byte i / 8. Works in place on bytes that somebody owns.
 *
 * A mirror of 1 TiB in regions of 512 KiB has 2 million of them, 256 KiB; so counting and searching go by bytes, skip what is
 * full or empty, and look at single bits at the ends only.
 */

/** Ones in a byte. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0;
  for (let rest = byte; rest > 0; rest >>>= 1) ones += rest & 1;
  return ones;
});

export class RegionBits {
  /** Live. Longer than the bits need where the format pads; what lies past `nrRegions` is not touched here. */
  readonly bytes: Uint8Array;
  readonly nrRegions: number;

  /** @param bytes used in place: at least one for every 8 regions begun */
  constructor(nrRegions: number, bytes: Uint8Array = new Uint8Array(Math.ceil(nrRegions / 8))) {
    this.nrRegions = nrRegions;
    this.bytes = bytes;
  }

  has(regionNr: number): boolean {
    // Division, not a shift: region numbers go up to 2^32 - 2.
    return (((this.bytes[Math.floor(regionNr / 8)] as number) >>> (regionNr % 8)) & 1) === 1;
  }

  /** @returns whether that changed the bit */
  set(regionNr: number, value: boolean): boolean {
    if (this.has(regionNr) === value) return false;
    const at = Math.floor(regionNr / 8);
    this.bytes[at] = (this.bytes[at] as number) ^ (1 << (regionNr % 8));
    return true;
  }

  /** Sets the bits from `begin` to before `end`. */
  setRange(begin: number, end: number, value: boolean): void {
    let at = begin;
    for (; at < end && at % 8 !== 0; at++) this.set(at, value);
    const wholeEnd = Math.floor(end / 8);
    if (at / 8 < wholeEnd) {
      this.bytes.fill(value ? 0xff : 0, at / 8, wholeEnd);
      at = wholeEnd * 8;
    }
    for (; at < end; at++) this.set(at, value);
  }

  fill(value: boolean): void {
    this.setRange(0, this.nrRegions, value);
  }

  /** Bits that are 1. */
  count(): number {
    const nrWhole = Math.floor(this.nrRegions / 8);
    let ones = 0;
    for (let at = 0; at < nrWhole; at++) ones += ONES[this.bytes[at] as number] as number;
    for (let nr = nrWhole * 8; nr < this.nrRegions; nr++) if (this.has(nr)) ones++;
    return ones;
  }

  /** The first region from `from` on whose bit is `value`; `nrRegions` when there is none. */
  next(value: boolean, from: number): number {
    const boring = value ? 0 : 0xff;
    for (let nr = from; nr < this.nrRegions; ) {
      if (nr % 8 === 0 && this.bytes[nr / 8] === boring) {
        nr += 8;
        continue;
      }
      if (this.has(nr) === value) return nr;
      nr++;
    }
    return this.nrRegions;
  }

  /** Runs of equal bits, in order, over all regions: each `end` is the next `begin`. */
  *runs(): Generator<RegionRun, void> {
    for (let begin = 0; begin < this.nrRegions; ) {
      const value = this.has(begin);
      const end = this.next(!value, begin);
      yield { begin, end, value };
      begin = end;
    }
  }

  /** Takes over the bits of another of the same size. */
  copyFrom(other: RegionBits): void {
    this.bytes.set(other.bytes.subarray(0, Math.ceil(this.nrRegions / 8)));
  }
}

/** Regions from `begin` to before `end` have the same bit. */
export interface RegionRun {
  readonly begin: number;
  readonly end: number;
  readonly value: boolean;
}
