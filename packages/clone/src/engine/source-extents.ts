/**
 * What of the source is known to be zeros, so that it need not be read: asked for in long pieces, for a source may be far away,
 * and copies go from the front to the end. The source does not change, so an answer stays true.
 */
import type { AllocationExtent, DataDevice } from '@pdata/device';

/** Bytes that one question is about. */
const PIECE = 64 * 2 ** 20;

export class SourceExtents {
  readonly #source: DataDevice;
  /** Bytes; nothing behind it is asked about. */
  readonly #size: number;
  #known: readonly AllocationExtent[] = [];
  #asking: { readonly begin: number; readonly end: number; readonly answer: Promise<void> } | undefined;

  constructor(source: DataDevice, size: number) {
    this.#source = source;
    this.#size = size;
  }

  /** Whether bytes `begin`..`end` (exclusive) are known to read as zeros. A source that cannot say has none. */
  async areZeros(begin: number, end: number): Promise<boolean> {
    if (!this.#covers(begin, end)) {
      const { begin: from = 0, end: to = 0, answer } = this.#asking ?? {};
      if (answer === undefined || begin < from || end > to) await this.#ask(begin);
      else await answer;
    }
    if (!this.#covers(begin, end)) return false; // the answer ended earlier, or another one came
    return this.#known.every(
      ({ offset, length, state }) => state !== 'data' || offset >= end || offset + length <= begin,
    );
  }

  #covers(begin: number, end: number): boolean {
    const [first, last] = [this.#known[0], this.#known.at(-1)];
    return first !== undefined && last !== undefined && first.offset <= begin && last.offset + last.length >= end;
  }

  #ask(begin: number): Promise<void> {
    const end = Math.min(begin + PIECE, this.#size);
    const answer = this.#source.allocation(begin, end - begin).then(
      (extents) => {
        this.#known = extents;
      },
      () => {}, // then it is read, and the reading fails with a better reason, or does not
    );
    this.#asking = { begin, end, answer };
    return answer;
  }
}
