/**
 * Changes of counts that wait for their turn, first in, first out: see metadata-space-map.ts.
 *
 * Format: docs/format/space-maps.md, section 5.
 */
interface PendingCount {
  readonly delta: 1 | -1;
  /** First block it still has to be applied to. */
  begin: number;
  readonly end: number;
}

export class PendingCounts {
  readonly #entries: PendingCount[] = [];
  #first = 0;

  get isEmpty(): boolean {
    return this.#first === this.#entries.length;
  }

  push(delta: 1 | -1, begin: number, end: number): void {
    this.#entries.push({ delta, begin, end });
  }

  /** The oldest entry; it stays, and keeps counting, until `shift`. */
  get oldest(): PendingCount {
    return this.#entries[this.#first] as PendingCount;
  }

  shift(): void {
    this.#first++;
    if (this.#first === this.#entries.length) this.clear();
  }

  /** What all pending changes add to the count of `blockNr`. */
  sum(blockNr: number): number {
    let sum = 0;
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { delta, begin, end } = this.#entries[i] as PendingCount;
      if (blockNr >= begin && blockNr < end) sum += delta;
    }
    return sum;
  }

  /** Whether an increment of `blockNr` is pending. */
  increments(blockNr: number): boolean {
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { delta, begin, end } = this.#entries[i] as PendingCount;
      if (delta === 1 && blockNr >= begin && blockNr < end) return true;
    }
    return false;
  }

  clear(): void {
    this.#entries.length = 0;
    this.#first = 0;
  }
}
