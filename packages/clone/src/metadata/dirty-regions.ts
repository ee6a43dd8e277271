/**
 * Regions that were hydrated since some moment, and have to reach the disk: a bit each, and a bit for each word of 64 of them,
 * so that a commit finds the few words among many. There are two of these: one takes marks while the other is committed.
 *
 * Format: docs/format/clone.md, section 3.1.
 */
import type { BitRun } from '@pdata/persistent-data';
import { RegionMap } from './region-map.js';

export class DirtyRegions {
  readonly #regions: RegionMap;
  readonly #words: RegionMap;

  constructor(nrRegions: number) {
    this.#regions = new RegionMap(nrRegions);
    this.#words = new RegionMap(Math.ceil(nrRegions / 64));
  }

  /** Whether a commit of these would write anything. */
  get changed(): boolean {
    return this.#words.nrSet > 0;
  }

  /** Two halves a word, as {@link RegionMap.bits}. */
  get bits(): Uint32Array {
    return this.#regions.bits;
  }

  /** As {@link RegionMap.add}. */
  add(half: number, mask: number): void {
    this.#regions.add(half, mask);
    const wordNr = half >>> 1;
    this.#words.add(wordNr >>> 5, 1 << (wordNr & 31));
  }

  /** The words in which anything is dirty, in runs, in order. */
  *wordRuns(): Generator<BitRun> {
    for (let end = 0; ; ) {
      const begin = this.#words.nextSet(end);
      if (begin === this.#words.nrRegions) return;
      end = this.#words.nextClear(begin);
      yield { begin, end };
    }
  }

  clear(): void {
    if (!this.changed) return;
    for (const { begin, end } of this.wordRuns()) this.#regions.clearWords(begin, end);
    this.#words.clearWords(0, Math.ceil(this.#words.nrRegions / 64));
  }
}
