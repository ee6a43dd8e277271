/**
 * Which parts of a READ have been answered, so that each byte is answered exactly once.
 *
 * Servers answer in order, so there is nearly always one range that grows. A server may answer in any order; how many
 * separate ranges may be open at once has a bound, or a hostile one could make us keep a list as long as the data.
 */
const MAX_SEPARATE_RANGES = 4096;

export class CoveredRanges {
  /** Ascending, separate: begins[i] < ends[i] < begins[i + 1]. */
  readonly #begins: number[] = [];
  readonly #ends: number[] = [];

  /** Adds [begin, end). @returns what is wrong with it; undefined when nothing is */
  add(begin: number, end: number): 'answered twice' | 'answered in too many separate pieces' | undefined {
    const last = this.#ends.length - 1;
    if (last >= 0 && this.#ends[last] === begin) {
      this.#ends[last] = end;
      return undefined;
    }
    const at = this.#firstAfter(begin);
    if ((at > 0 && this.#ends[at - 1]! > begin) || (at <= last && this.#begins[at]! < end)) return 'answered twice';
    const joinsBefore = at > 0 && this.#ends[at - 1] === begin;
    const joinsAfter = at <= last && this.#begins[at] === end;
    if (joinsBefore && joinsAfter) {
      this.#ends[at - 1] = this.#ends[at]!;
      this.#begins.splice(at, 1);
      this.#ends.splice(at, 1);
    } else if (joinsBefore) this.#ends[at - 1] = end;
    else if (joinsAfter) this.#begins[at] = begin;
    else if (this.#begins.length === MAX_SEPARATE_RANGES) return 'answered in too many separate pieces';
    else {
      this.#begins.splice(at, 0, begin);
      this.#ends.splice(at, 0, end);
    }
    return undefined;
  }

  /** The first byte of [begin, end) that is not covered; undefined when all are. */
  firstMissing(begin: number, end: number): number | undefined {
    const at = this.#firstAfter(begin);
    const covered = at > 0 ? Math.max(begin, this.#ends[at - 1]!) : begin;
    return covered >= end ? undefined : covered;
  }

  /** Index of the first range that begins after `position`. */
  #firstAfter(position: number): number {
    let [low, high] = [0, this.#begins.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#begins[middle]! > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
