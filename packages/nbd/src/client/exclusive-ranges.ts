/**
 * Ranges of a device that one writer at a time may change.
 *
 * A server with blocks larger than a sector can only be sent whole blocks: who writes a part of one reads it first and
 * writes back what it does not change. Another write to that block in between would be undone, so writers of common blocks
 * go one after the other, in the order they came. With blocks of a sector nobody needs this, and nobody uses it.
 */
interface Claim {
  readonly begin: number;
  readonly end: number;
  /** Set while it waits. */
  start: (() => void) | undefined;
}

export class ExclusiveRanges {
  /** In the order they came: those that run, and those that wait for an earlier one that they overlap. */
  readonly #claims: Claim[] = [];

  /** Runs `work` when no earlier work on a byte of [begin, end) is left. */
  async run<Result>(begin: number, end: number, work: () => Promise<Result>): Promise<Result> {
    const claim: Claim = { begin, end, start: undefined };
    const blocked = this.#isBlocked(claim, this.#claims.length);
    this.#claims.push(claim);
    if (blocked) await new Promise<void>((resolve) => (claim.start = resolve));
    try {
      return await work();
    } finally {
      this.#claims.splice(this.#claims.indexOf(claim), 1);
      this.#claims.forEach((waiting, index) => {
        if (waiting.start === undefined || this.#isBlocked(waiting, index)) return;
        waiting.start();
        waiting.start = undefined;
      });
    }
  }

  #isBlocked({ begin, end }: Claim, nrEarlier: number): boolean {
    for (let index = 0; index < nrEarlier; index++) {
      const earlier = this.#claims[index]!;
      if (earlier.begin < end && begin < earlier.end) return true;
    }
    return false;
  }
}
