/**
 * What of the source is known to be zeros, so that it need not be read: asked for in long pieces, for a source may be far away,
 * and copies go from the front to the end. The source does not change, so an answer stays true.
 */
import type { AllocationExtent, DataDevice } from '@pdata/device';

/** Bytes that one question is about. */
const PIECE = 64 * 2 ** 20;

/** Bytes; what holds less than that of zeros is copied in one. */
export const SHORTEST_ZEROS = 64 * 1024;

/** Bytes `begin`..`end` (exclusive) of a device that are all zeros, or not. */
export interface CopyPart {
  readonly begin: number;
  readonly end: number;
  readonly isZero: boolean;
}

/** Appends the part, or lengthens the last one by it. */
export function appendPart(parts: CopyPart[], part: CopyPart): void {
  const last = parts.at(-1);
  if (last?.isZero === part.isZero) parts[parts.length - 1] = { ...last, end: part.end };
  else parts.push(part);
}

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

  /**
   * Bytes `begin`..`end` (exclusive) in parts, in order: those that are known to read as zeros, and the others. Zeros of less than
   * {@link SHORTEST_ZEROS} are no part of their own. A source that cannot say is all data.
   */
  async parts(begin: number, end: number): Promise<CopyPart[]> {
    if (!this.#covers(begin, end)) {
      const { begin: from = 0, end: to = 0, answer } = this.#asking ?? {};
      if (answer === undefined || begin < from || end > to) await this.#ask(begin);
      else await answer;
    }
    if (!this.#covers(begin, end)) return [{ begin, end, isZero: false }]; // the answer ended earlier, or another one came
    const parts: CopyPart[] = [];
    for (const { offset, length, state } of this.#known) {
      const [from, to] = [Math.max(begin, offset), Math.min(end, offset + length)];
      if (to > from)
        appendPart(parts, { begin: from, end: to, isZero: state !== 'data' && to - from >= SHORTEST_ZEROS });
    }
    return parts;
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
