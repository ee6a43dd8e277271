/**
 * Data blocks that discards freed, to be passed down to the data device: after the commit that makes it durable, for until
 * then a crash can bring back whoever had them; and only what is still free then.
 *
 * Format: docs/format/thin.md, section 9.1.
 */
import type { DataDevice } from '@pdata/device';
import type { ThinMetadata } from '../metadata/thin-metadata.js';
import { type DataRun, unused } from './data-runs.js';

export class FreedBlocks {
  #runs: DataRun[] = [];
  #nr = 0;

  /** How many there are, about: one that was freed twice counts twice. */
  get nr(): number {
    return this.#nr;
  }

  add(runs: readonly DataRun[]): void {
    for (const run of runs) {
      this.#nr += run.end - run.begin;
      this.#runs.push(run);
    }
  }

  /** The transaction was thrown away. */
  forget(): void {
    this.#runs = [];
    this.#nr = 0;
  }

  /**
   * To be called right after the commit, before anybody is given a data block. A block that was free in the last commit, used
   * in this transaction and freed by it, may have been used again in it. What the data device refuses is ignored.
   */
  async passDown(metadata: ThinMetadata, data: DataDevice, blockSize: number): Promise<void> {
    if (this.#nr === 0) return;
    const free = unused(metadata, this.#runs);
    this.forget();
    for (const { begin, end } of free) {
      await data.discard(begin * blockSize, (end - begin) * blockSize).catch(() => {});
    }
  }
}
