/**
 * Tells once when free blocks run low, and again only after there were more than the mark in between.
 *
 * The caller is told when the change that reached the mark is complete, never in its middle: so it may change the pool
 * itself, which is what most want to do then (grow it).
 *
 * Format: docs/format/thin.md, section 7.
 */
export class LowWaterMark {
  readonly #nrFree: number;
  readonly #reached: () => void;
  #told = false;

  constructor(nrFree: number, reached: () => void) {
    this.#nrFree = nrFree;
    this.#reached = reached;
  }

  /** Takes notice of free blocks that came back, without telling anybody of those that are missing. */
  rearm(nrFree: number): void {
    if (nrFree > this.#nrFree) this.#told = false;
  }

  /** To be called after every change of the number of free blocks. */
  look(nrFree: number): void {
    this.rearm(nrFree);
    if (this.#told || nrFree > this.#nrFree) return;
    this.#told = true;
    this.#reached();
  }
}
