/**
 * Blocks that were written and not committed yet: the newest bytes of each, in memory of their own.
 *
 * The memory comes in segments, of one block at first and of 256 (1 MiB) in the end, because the library asks once for the
 * address of each array buffer. It is left to the garbage collector with the whole stage: a queued transaction may still
 * be reading it when the stage is not needed any more.
 */
import { BLOCK_SIZE } from '@pdata/device';

const LARGEST_SEGMENT = 256;

export class StagedBlocks {
  readonly #views = new Map<number, Uint8Array>();
  #segment = new Uint8Array(0);
  #used = 0;

  get nrBlocks(): number {
    return this.#views.size;
  }

  get(blockNr: number): Uint8Array | undefined {
    return this.#views.get(blockNr);
  }

  /** Copies block `index` of `run`. */
  set(blockNr: number, run: Uint8Array, index: number): void {
    let view = this.#views.get(blockNr);
    if (view === undefined) {
      view = this.#newBlock();
      this.#views.set(blockNr, view);
    }
    view.set(run.subarray(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE));
  }

  delete(blockNr: number): void {
    this.#views.delete(blockNr);
  }

  entries(): Iterable<[number, Uint8Array]> {
    return this.#views;
  }

  #newBlock(): Uint8Array {
    if (this.#used === this.#segment.byteLength) {
      const nrBlocks = Math.min(LARGEST_SEGMENT, Math.max(1, this.#views.size));
      this.#segment = new Uint8Array(nrBlocks * BLOCK_SIZE);
      this.#used = 0;
    }
    const view = this.#segment.subarray(this.#used, this.#used + BLOCK_SIZE);
    this.#used += BLOCK_SIZE;
    return view;
  }
}
