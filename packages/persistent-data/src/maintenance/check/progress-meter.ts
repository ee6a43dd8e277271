/** Tells how far a check is, a hundred times a stage at most, and stops it when it was aborted. */
import type { WorkOptions } from '../work.js';

const STEPS = 100;

export class ProgressMeter {
  readonly #options: WorkOptions;
  #stage = '';
  #done = 0;
  #total = 0;
  #nextTold = 0;

  constructor(options: WorkOptions) {
    this.#options = options;
  }

  /** @param total in blocks; an estimate will do, 0 when unknown */
  stage(name: string, total: number): void {
    this.#stage = name;
    this.#done = 0;
    this.#total = total;
    this.#tell();
  }

  readonly advance = (nrBlocks: number): void => {
    this.#done += nrBlocks;
    if (this.#done >= this.#nextTold) this.#tell();
  };

  #tell(): void {
    const { signal, onProgress } = this.#options;
    signal?.throwIfAborted();
    this.#nextTold = this.#done + Math.max(1, this.#total / STEPS, this.#done / STEPS);
    // The total is an estimate: never show more than all of it.
    onProgress?.({
      stage: this.#stage,
      done: this.#done,
      total: this.#total === 0 ? 0 : Math.max(this.#total, this.#done),
    });
  }
}
