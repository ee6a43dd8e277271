/**
 * Which units of 64 KiB of a file are known to be holes: one bit each, made where they are needed.
 *
 * Node cannot ask a file for its holes (no SEEK_HOLE), so what is known is remembered: a new file is all hole, a punched
 * unit is one, a written unit is none. Everything else is called data, which is never wrong. A bit that says hole must be
 * right: what is copied, zeroed or sent is left out on its word.
 *
 * The bits lie in leaves of 4096 bytes (2 GiB of file); where all units of a leaf are alike it is a word instead of bits.
 * So a new file of 16 TiB costs nothing and one written at random 1 MiB for every 512 GiB. Past 4096 leaves (16 MiB, for
 * 8 TiB) a leaf that would need bits is forgotten, that is, called data.
 *
 * Units are also what is punched: a pool's data blocks are multiples of them.
 */
import { appendExtent } from '../allocation-extents.js';
import type { AllocationExtent } from '../data-device.js';

export const UNIT_SIZE = 64 * 1024;

const LEAF_BYTES = 4096;
const UNITS_PER_LEAF = LEAF_BYTES * 8;
const MOST_LEAVES = 4096;
/** An answer ends after so many extents or leaves. */
const MOST_STEPS = 4096;

type Uniform = 'hole' | 'data';

interface Leaf {
  /** 1 for a hole, lowest bit first. */
  readonly bits: Uint8Array;
  nrHoles: number;
}

export class HoleMap {
  #nrUnits: number;
  readonly #mostLeaves: number;
  /** By number; what is missing is data. */
  readonly #leaves = new Map<number, Leaf | 'hole'>();
  #nrWithBits = 0;

  /** @param mostLeaves that may have bits of their own; for tests */
  constructor(nrUnits: number, initial: Uniform, mostLeaves = MOST_LEAVES) {
    this.#nrUnits = 0;
    this.#mostLeaves = mostLeaves;
    this.grow(nrUnits, initial);
  }

  /** Bytes of memory that the bits take. */
  get nrBytes(): number {
    return this.#nrWithBits * LEAF_BYTES;
  }

  /** Appends units that are all holes or all data. Never shrinks. */
  grow(nrUnits: number, added: Uniform): void {
    const first = this.#nrUnits;
    this.#nrUnits = Math.max(first, nrUnits);
    // Bits behind the last unit are data, so that appending data is nothing to do.
    if (added === 'hole') this.set(first, nrUnits, 'hole');
  }

  isHole(unitNr: number): boolean {
    const leaf = this.#leaves.get(Math.floor(unitNr / UNITS_PER_LEAF));
    return leaf === 'hole' || (leaf !== undefined && isSet(leaf.bits, unitNr % UNITS_PER_LEAF));
  }

  /** Whether all units of first..end-1 are holes. */
  areHoles(first: number, end: number): boolean {
    return first >= end || this.#runFrom(first, end, 'hole') === end;
  }

  /** Whether any unit of first..end-1 may be a hole; cheap, and wrong only by saying true. */
  mayHaveHoles(first: number, end: number): boolean {
    if (this.#leaves.size === 0) return false;
    const last = Math.floor((end - 1) / UNITS_PER_LEAF);
    for (let nr = Math.floor(first / UNITS_PER_LEAF); nr <= last; nr++) if (this.#leaves.has(nr)) return true;
    return false;
  }

  /** Notes that the units first..end-1 are all `state` now. */
  set(first: number, end: number, state: Uniform): void {
    if (state === 'data' && this.#leaves.size === 0) return;
    for (let at = first; at < end; ) {
      const leafNr = Math.floor(at / UNITS_PER_LEAF);
      const start = leafNr * UNITS_PER_LEAF;
      const to = Math.min(end, start + UNITS_PER_LEAF);
      this.#setInLeaf(leafNr, at - start, to - start, state);
      at = to;
    }
  }

  /** The units from `first` on as extents of bytes; ends at `end` or earlier. */
  extents(first: number, end: number): AllocationExtent[] {
    const extents: AllocationExtent[] = [];
    for (let at = first, nrSteps = 0; at < end && nrSteps < MOST_STEPS; nrSteps++) {
      const state = this.isHole(at) ? 'hole' : 'data';
      const to = this.#runFrom(at, end, state);
      appendExtent(extents, at * UNIT_SIZE, (to - at) * UNIT_SIZE, state);
      at = to;
    }
    return extents;
  }

  #setInLeaf(leafNr: number, from: number, to: number, state: Uniform): void {
    const found = this.#leaves.get(leafNr);
    if (found === (state === 'hole' ? 'hole' : undefined)) return;
    if (from === 0 && to === UNITS_PER_LEAF) {
      this.#forget(leafNr);
      if (state === 'hole') this.#leaves.set(leafNr, 'hole');
      return;
    }
    const leaf = found === undefined || found === 'hole' ? this.#withBits(leafNr, found) : found;
    if (leaf === undefined) return; // no room for its bits: it is data from now on
    for (let unit = from; unit < to; unit++) {
      if (isSet(leaf.bits, unit) === (state === 'hole')) continue;
      leaf.bits[unit >>> 3] = (leaf.bits[unit >>> 3] ?? 0) ^ (1 << (unit & 7));
      leaf.nrHoles += state === 'hole' ? 1 : -1;
    }
    if (leaf.nrHoles === 0) this.#forget(leafNr);
    else if (leaf.nrHoles === UNITS_PER_LEAF) {
      this.#forget(leafNr);
      this.#leaves.set(leafNr, 'hole');
    }
  }

  /** Gives a leaf that was all hole or all data bits of its own. */
  #withBits(leafNr: number, uniform: 'hole' | undefined): Leaf | undefined {
    if (this.#nrWithBits >= this.#mostLeaves) {
      this.#leaves.delete(leafNr);
      return undefined;
    }
    const bits = new Uint8Array(LEAF_BYTES).fill(uniform === 'hole' ? 0xff : 0);
    const leaf = { bits, nrHoles: uniform === 'hole' ? UNITS_PER_LEAF : 0 };
    this.#leaves.set(leafNr, leaf);
    this.#nrWithBits++;
    return leaf;
  }

  #forget(leafNr: number): void {
    const leaf = this.#leaves.get(leafNr);
    if (leaf !== undefined && leaf !== 'hole') this.#nrWithBits--;
    this.#leaves.delete(leafNr);
  }

  /** Where the units that are `state` from `first` on end; at `end` at the latest. */
  #runFrom(first: number, end: number, state: Uniform): number {
    for (let at = first; at < end; ) {
      const leafNr = Math.floor(at / UNITS_PER_LEAF);
      const leaf = this.#leaves.get(leafNr);
      const start = leafNr * UNITS_PER_LEAF;
      const leafEnd = Math.min(end, start + UNITS_PER_LEAF);
      if (leaf === undefined || leaf === 'hole') {
        if ((leaf ?? 'data') !== state) return at;
        at = leafEnd;
        continue;
      }
      const uniformByte = state === 'hole' ? 0xff : 0;
      while (at < leafEnd) {
        if ((at & 7) === 0 && at + 8 <= leafEnd && leaf.bits[(at - start) >>> 3] === uniformByte) at += 8;
        else if (isSet(leaf.bits, at - start) === (state === 'hole')) at++;
        else return at;
      }
    }
    return end;
  }
}

function isSet(bits: Uint8Array, unit: number): boolean {
  return (((bits[unit >>> 3] ?? 0) >>> (unit & 7)) & 1) === 1;
}
